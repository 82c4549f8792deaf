"""What each piece of a sample adds to a network's answer, by captum's LIME, KernelSHAP, integrated gradients and
Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from trainables.explain.question import Question
from trainables.preprocessing import parts_of

__all__ = [
    "EXPLAINERS",
    "Attribution",
    "Explainer",
    "Fit",
    "explainers_for",
    "grad_cam",
    "integrated_gradients",
    "kernel_shap",
    "lime",
    "num_drawn",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How well an explainer's own model describes the network, on perturbed samples that it was not fitted to and
    with the weights of the fit: R² is 1 - error / deviation."""

    squared_error: float
    squared_deviation: float
    """Of the network's answers from their weighted mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """What each piece adds to the answer."""

    values: Tensor
    """Float32 (pieces,), on the CPU; more is more of the answer."""

    fit: Fit | None = None
    """Of LIME."""


Explainer: TypeAlias = Callable[[Question], Attribution]
"""Explains an answer to a sample of at least two pieces; leaves the global random generators as they are."""

KERNEL_WIDTH: Final = 0.25
"""Of LIME's kernel over the cosine distance, as its authors' package has it for images and texts."""

NUM_STEPS: Final = 32
"""Of integrated gradients, by Gauss-Legendre."""

_STEPS_AT_ONCE: Final = 8
"""Samples whose activations are kept for a backward pass through all blocks."""


def num_drawn(num_pieces: int) -> int:
    """Perturbed samples that LIME and KernelSHAP each look at: four per piece, at least 64."""
    return max(64, 4 * num_pieces)


def lime(question: Question) -> Attribution:
    """LIME (Ribeiro et al. 2016, arXiv:1602.04938): a ridge regression (alpha 1) of the answer on which pieces are
    there, each with probability one half, near samples counting more.

    Takes `num_drawn` forward passes, and a quarter as many for the error.
    """
    from captum._utils.models.linear_model import SkLearnLinearModel
    from captum.attr import Lime

    num, num_pieces = num_drawn(question.pieces.num), question.pieces.num
    drawn = _drawn(num + num // 4, num_pieces, question.seed)

    def draw(_: Tensor, **__: Any) -> Iterator[Tensor]:
        yield from torch.split(drawn[:num], 1)

    def near(_: Tensor, __: Tensor, present: Tensor, **___: Any) -> Tensor:
        return _nearness(present)

    line = SkLearnLinearModel("linear_model.Ridge", alpha=1.0)
    explainer = Lime(_shares(question), interpretable_model=line, similarity_func=near, perturb_func=draw)
    with _own_generator(question.seed):
        weights = explainer.attribute(
            torch.ones(1, num_pieces), baselines=0.0, n_samples=num, perturbations_per_eval=num
        )
    held = drawn[num:]
    truth, fitted, weight = question.shares(held > 0), line(held.float()).detach().flatten(), _nearness(held)
    mean = (weight * truth).sum() / weight.sum()
    fit = Fit(
        squared_error=float((weight * (truth - fitted) ** 2).sum()),
        squared_deviation=float((weight * (truth - mean) ** 2).sum()),
    )
    return Attribution(values=weights[0].detach().float(), fit=fit)


def kernel_shap(question: Question) -> Attribution:
    """Shapley values by KernelSHAP (Lundberg & Lee 2017, arXiv:1705.07874); takes `num_drawn` forward passes."""
    from captum.attr import KernelShap

    num = num_drawn(question.pieces.num)
    with _own_generator(question.seed):
        values = KernelShap(_shares(question)).attribute(
            torch.ones(1, question.pieces.num), baselines=0.0, n_samples=num, perturbations_per_eval=num
        )
    return Attribution(values=values[0].detach().float())


def integrated_gradients(question: Question) -> Attribution:
    """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) from the sample without any piece to the
    whole one, summed over each piece: they add up to the difference of the two shares.

    Texts are integrated over what leaves block 0, the embeddings. So are waveforms where that is frames: networks
    of sound take the volume out of a waveform at once, so that on the way from silence the answer jumps at its very
    beginning, where no step sees it. Takes 32 forward and backward passes.
    """
    from captum.attr import IntegratedGradients

    network, pieces = question.network, question.pieces
    nothing, whole = (pieces.with_only(torch.full((1, pieces.num), fill)) for fill in (False, True))
    start = 0
    if pieces.sample[0].ndim == 2:
        behind = network.behind_block_0(whole)
        if behind[0].ndim == 3 or not pieces.sample[0].is_floating_point():
            start, nothing, whole = 1, network.behind_block_0(nothing), behind
    absent, (first, *others) = parts_of(nothing)[0], parts_of(whole)

    def share(value: Tensor) -> Tensor:
        # A view, since a block may work in place, which a leaf of the graph does not allow.
        state = (value.view_as(value), *(part.expand(len(value), *part.shape[1:]) for part in others))
        return question.answer.share(network.outputs(state if others else state[0], start))

    values: Tensor = IntegratedGradients(share).attribute(
        first.float(), baselines=absent.float(), n_steps=NUM_STEPS, internal_batch_size=_STEPS_AT_ONCE
    )
    return Attribution(values=pieces.summed(values[0]))


def grad_cam(question: Question) -> Attribution:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) at the last block with feature maps, enlarged to the
    image and averaged over each cell. Negative evidence is kept, so that the order of cells has no ties.

    Takes two forward passes and one backward pass.

    Raises:
        ValueError: no block has feature maps.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    network = question.network
    image = question.pieces.with_only(torch.ones(1, question.pieces.num, dtype=torch.bool))
    block = network.last_spatial_block(image)
    if block is None or not isinstance(image, Tensor):
        raise ValueError("Grad-CAM needs a block with feature maps")
    explainer = LayerGradCam(lambda pixels: question.answer.score(network.outputs(pixels)), block)
    # Of the input too, since a frozen block's own parameters ask for no gradient.
    coarse = explainer.attribute(image.detach().requires_grad_())
    values = LayerAttribution.interpolate(coarse.float(), tuple(image.shape[-2:]), interpolate_mode="bilinear")
    sizes = question.pieces.summed(torch.ones_like(values[0]))
    return Attribution(values=question.pieces.summed(values[0]) / sizes)


EXPLAINERS: Final[Mapping[str, Explainer]] = MappingProxyType(
    {
        "lime": lime,
        "kernel_shap": kernel_shap,
        "integrated_gradients": integrated_gradients,
        "grad_cam": grad_cam,
    }
)
"""By the names that measures carry."""


def explainers_for(question: Question) -> dict[str, Explainer]:
    """Those that fit the network: Grad-CAM explains images by feature maps, which only some networks have."""
    sample = question.pieces.sample[0]
    has_maps = sample.ndim == 4 and question.network.last_spatial_block(sample) is not None
    return {name: explainer for name, explainer in EXPLAINERS.items() if has_maps or name != "grad_cam"}


def _shares(question: Question) -> Callable[[Tensor], Tensor]:
    """The question as captum's explainers take it: a function of float (n, pieces), 1 where a piece is there."""
    return lambda present: question.shares(present > 0.5)


@contextmanager
def _own_generator(seed: int) -> Iterator[None]:
    """The global generator of the CPU, which captum draws from, seeded for as long as this lasts. Those of GPUs are
    not drawn from, since all that captum sees here is on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _nearness(present: Tensor) -> Tensor:
    """LIME's weights of perturbed samples, float32 (n,): by the cosine distance to the whole sample of the vectors
    (n, pieces) that say which pieces are there."""
    distance = 1 - present.float().mean(dim=1).sqrt()
    return torch.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))


def _drawn(num: int, num_pieces: int, seed: int) -> Tensor:
    """Which pieces are there in each perturbed sample, int64 (num, num_pieces); all of them in the first."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(2, (num, num_pieces), generator=generator)
    drawn[0] = 1
    return drawn
