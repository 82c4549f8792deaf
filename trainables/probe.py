"""Fit a head to frozen features: the linear probe that LP-FT starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from trainables.objective import Objective

__all__ = ["fit_head"]

Labelled: TypeAlias = tuple[Tensor, Tensor]
"""Features (n, ...) and targets (n, ...)."""

STRENGTHS: Final = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""L2 penalties tried, from strong to weak, on weights in units of standardised features."""

TOLERANCE: Final = 1.01
"""Rise of the validation loss, as a factor, beyond which weaker penalties are not tried."""

MAX_STEPS: Final = 100
"""L-BFGS iterations per penalty."""


def fit_head(head: nn.Module, objective: Objective, train: Labelled, val: Labelled, weight: Tensor | None) -> None:
    """Fit `head` to features, in place, deterministically.

    L2-regularised (logistic) regression by L-BFGS on standardised features; the penalty is the one with
    the least validation loss, searched from strong to weak until that loss rises. The standardisation is
    folded into the head's weights. A head of several layers is fitted the same way, on its features as
    they are.

    Args:
        head: in any mode; dropout is off while it is fitted, and the mode is kept.
        train: features, as the last block gives them (n, ...), and targets (n, ...), on the head's device.
        val: the same of the validation split.
        weight: of the loss, as `Objective.balanced_weight` gives it, or None.
    """
    was_training = head.training
    head.eval()
    with torch.enable_grad():
        layers = [module for module in head.modules() if next(module.parameters(recurse=False), None) is not None]
        if len(layers) == 1 and isinstance(layers[0], nn.Linear | nn.Conv2d):
            centre, scale = _moments(train[0])
            scaled = [((features - centre) / scale, targets) for features, targets in (train, val)]
            _search(head, objective, scaled[0], scaled[1], weight)
            _fold(layers[0], centre.flatten(), scale.flatten())
        else:
            _search(head, objective, train, val, weight)
    head.train(was_training)


def _search(head: nn.Module, objective: Objective, train: Labelled, val: Labelled, weight: Tensor | None) -> None:
    def val_loss() -> float:
        with torch.no_grad():
            return float(objective.loss(head(val[0]).float(), val[1]))

    start = best = _copy(head)
    least = float("inf")
    for strength in STRENGTHS:
        # Always from the start: a strong penalty leaves hidden layers at zero, where no gradient gets them away.
        head.load_state_dict(start)
        _minimise(head, lambda: objective.loss(head(train[0]).float(), train[1], weight), strength)
        loss = val_loss()
        if not loss < TOLERANCE * least:
            break
        if loss < least:
            best, least = _copy(head), loss
    head.load_state_dict(best)


def _minimise(head: nn.Module, loss: Callable[[], Tensor], strength: float) -> None:
    parameters = list(head.parameters())
    optimizer = torch.optim.LBFGS(parameters, max_iter=MAX_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        penalty = torch.stack([p.square().sum() for p in parameters if p.ndim > 1]).sum()
        total = loss() + strength / 2 * penalty
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    optimizer.zero_grad()


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, shaped to broadcast.

    No channel is scaled up more than a thousandfold against the typical one: what varies less than that is
    dead, or rounding, and its weights would be so large that the first tuned step explodes.
    """
    over = [axis for axis in range(features.ndim) if axis != 1]
    std, mean = torch.std_mean(features.float(), dim=over, keepdim=True, correction=0)
    alive = std[std > 0]
    return mean, std.clamp(min=1e-3 * float(alive.median())) if len(alive) else torch.ones_like(std)


def _fold(layer: nn.Linear | nn.Conv2d, centre: Tensor, scale: Tensor) -> None:
    """Make `layer` give on plain features what it gave on standardised ones."""
    with torch.no_grad():
        shape = (1, -1) + (1,) * (layer.weight.ndim - 2)
        layer.weight /= scale.view(shape)
        if layer.bias is not None:
            layer.bias -= (layer.weight * centre.view(shape)).flatten(1).sum(dim=1)


def _copy(head: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}
