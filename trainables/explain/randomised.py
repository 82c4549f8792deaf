"""A copy of a network that has learned nothing: what its explanations have in common with the network's own
cannot come from what was learned (Adebayo et al. 2018, arXiv:1810.03292)."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.explain.question import Network
from trainables.preprocessing import State

__all__ = ["randomised"]


def randomised(network: Network, batches: Iterable[State], seed: int) -> Network:
    """A copy in which every parameter, of the head too, is drawn anew.

    Each tensor is normal with the mean and standard deviation that it had: the scale at which the architecture
    works, whatever its layers are, with nothing learned left in it. A tensor of one value everywhere (a fresh
    norm's) stays. Running statistics of batch norm are taken from `batches` anew, since those of other weights
    would blow activations up or out; other buffers are constants and stay.

    Args:
        batches: of samples as they enter block 0, each of two or more.
        seed: of the weights alone; the global generators are neither read nor moved.
    """
    generator = torch.Generator().manual_seed(seed)
    backbone = copy.deepcopy(network.backbone).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.copy_(parameter.mean() + parameter.std(correction=0) * noise)
    drawn = Network(backbone, network.precision, network.device)
    _measure_again(drawn, batches)
    return drawn


def _measure_again(network: Network, batches: Iterable[State]) -> None:
    norms = [module for module in network.backbone.modules() if isinstance(module, _BatchNorm)]
    tracking = [norm for norm in norms if norm.track_running_stats]
    if not tracking:
        return
    momenta = [norm.momentum for norm in tracking]
    for norm in tracking:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.training = True
    with torch.no_grad():
        for batch in batches:
            network.outputs(batch)
    for norm, momentum in zip(tracking, momenta, strict=True):
        norm.momentum = momentum
        norm.training = False
