"""The heads of many linear probes trained together on features that are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from trainables.backbones import Backbone, replace_head
from trainables.batches import batch_sizes, epoch_batches, epoch_seed
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.frozen_features import FrozenFeatures
from trainables.objective import loss_weight
from trainables.optimization import make_optimizer, make_schedule
from trainables.precision import autocast
from trainables.probe import fit_head
from trainables.stacked import Hyperparameters, StackedHead, StackedOptimizer, dropouts, stack

__all__ = ["ProbeTraining"]


class ProbeTraining:
    """Trains one head per configuration as `trainables.finetune.Finetuner` would train it alone.

    Each member sees its own order of samples and its own dropout; all take a step at once.

    Args:
        configs: of one `trainables.probes.probe_group`.
        backbone: frozen to its end, on `device`; its head is made new for each member in turn.
        features: of all its blocks.
    """

    def __init__(
        self,
        configs: Sequence[FinetuneConfig],
        backbone: Backbone,
        features: FrozenFeatures,
        task: Task,
        device: torch.device,
    ) -> None:
        self.num_epochs = 0
        self._configs = configs
        self._backbone = backbone
        self._features = features
        self._task = task
        self._device = device
        self._weight = loss_weight(configs[0], task.objective, task.train.targets, device)
        self._targets = task.train.targets.to(device)
        made = [self._make_member(config) for config in configs]
        self._parameters = stack([parameters for parameters, _ in made])
        self._optimizer = StackedOptimizer(configs[0].optimizer, [member for _, member in made], self._parameters)
        self._context = partial(autocast, configs[0].precision, device)
        self._head = StackedHead(backbone.head, partial(task.objective.loss, weight=self._weight), self._context)
        self._generators = _Generators(device)
        self._dropouts: dict[int, list[Callable[[], Tensor]]] = {}

    @property
    def steps_per_epoch(self) -> int:
        return len(batch_sizes(len(self._task.train), self._configs[0].batch_size))

    @property
    def num_bytes(self) -> int:
        """Of the heads as they are now and of their optimizer."""
        return sum(p.nbytes for p in self._parameters.values()) + self._optimizer.num_bytes

    def train_pass(self) -> list[float]:
        """One pass over the training split; of each member the mean loss over its samples, as it moved."""
        train = self._task.train
        with self._generators.forked():
            orders = []
            for member, config in enumerate(self._configs):
                torch.manual_seed(epoch_seed(config.seed, self.num_epochs))
                orders.append(epoch_batches(train, config.batch_size))
                self._generators.save(member)
            total = torch.zeros(len(self._configs), device=self._device)
            for batches in zip(*orders, strict=True):
                total += self._step(batches)
        self.num_epochs += 1
        return [loss / len(train) for loss in total.tolist()]

    def parameters(self, member: int) -> dict[str, Tensor]:
        """Of a member's head as it is now, by name; a copy."""
        return {name: stacked[member].clone() for name, stacked in self._parameters.items()}

    def _make_member(self, config: FinetuneConfig) -> tuple[dict[str, Tensor], Hyperparameters]:
        """The head that this configuration starts from, and how it is to be trained."""
        backbone, task = self._backbone, self._task
        replace_head(backbone, task.objective.num_outputs, config.seed)
        head = backbone.head.to(self._device)
        head.requires_grad_(True)
        if config.head_init == "probe":
            train, val = (
                (self._features.of(split).float(), split.targets.to(self._device)) for split in (task.train, task.val)
            )
            fit_head(head, task.objective, train, val, self._weight)
        optimizer = make_optimizer(config, backbone)
        num_steps = self.steps_per_epoch * config.max_epochs
        hyperparameters = Hyperparameters.of(head, optimizer, make_schedule(config, optimizer, num_steps), num_steps)
        return {name: p.detach().clone() for name, p in head.named_parameters()}, hyperparameters

    def _step(self, batches: Sequence[Tensor]) -> Tensor:
        """Train each member on its own batch; the sums of their losses over it, shape (members,)."""
        parts = [(rows, *self._part(rows, batches)) for rows in _of_equal_size(batches)]
        if len(parts) == 1:
            [(_, gradients, sums)] = parts
        else:
            back = torch.tensor([row for rows, _, _ in parts for row in rows]).argsort().to(self._device)
            gradients = {
                name: torch.cat([gradients[name] for _, gradients, _ in parts])[back] for name in self._parameters
            }
            sums = torch.cat([sums for _, _, sums in parts])[back]
        self._optimizer.step(gradients)
        return sums

    def _part(self, rows: list[int], batches: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients and summed losses of the members `rows`, whose batches have one size."""
        positions = torch.stack([batches[row] for row in rows]).to(self._device)
        features = self._features.of(self._task.train)
        taken = features.index_select(0, positions.flatten()).view(*positions.shape, *features.shape[1:])
        parameters = self._parameters
        if len(rows) < len(batches):
            parameters = {name: stacked[rows] for name, stacked in parameters.items()}
        num = positions.shape[1]
        gradients, losses = self._head.gradients(parameters, taken, self._targets[positions], self._masks(rows, num))
        return gradients, losses * num

    def _masks(self, rows: list[int], num: int) -> list[Tensor]:
        """Of each call of a dropout: what the members `rows` draw for a batch of `num`, stacked."""
        if num not in self._dropouts:
            features = self._features.batch(self._task.train, torch.arange(num))
            with self._context():
                self._dropouts[num] = dropouts(self._backbone.head, features)
        draws = self._dropouts[num]
        if not draws:
            return []
        drawn = []
        for row in rows:
            with self._generators.of(row):
                drawn.append([draw() for draw in draws])
        return [torch.stack(masks) for masks in zip(*drawn, strict=True)]


class _Generators:
    """Torch's global generators as each member's own run would find them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._states: dict[int, tuple[Tensor, ...]] = {}

    @contextmanager
    def forked(self) -> Iterator[None]:
        """What is drawn inside changes nothing outside."""
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            yield

    @contextmanager
    def of(self, member: int) -> Iterator[None]:
        """What is drawn inside is drawn by one member."""
        cpu, *cuda = self._states[member]
        torch.set_rng_state(cpu)
        for state in cuda:
            torch.cuda.set_rng_state(state, self._device)
        yield
        self.save(member)

    def save(self, member: int) -> None:
        """The generators are now this member's."""
        cuda = (torch.cuda.get_rng_state(self._device),) if self._device.type == "cuda" else ()
        self._states[member] = torch.get_rng_state(), *cuda


def _of_equal_size(batches: Sequence[Tensor]) -> list[list[int]]:
    """Members whose batches have one size, for each size."""
    rows: dict[int, list[int]] = {}
    for row, batch in enumerate(batches):
        rows.setdefault(len(batch), []).append(row)
    return list(rows.values())
