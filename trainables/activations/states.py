"""What crosses a boundary, taken apart: which parts are rows, sequences or constants, and whether they can be kept."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from trainables.activations.chain import Chain
from trainables.activations.layout import Kind, Layout, NotCacheable, part_like
from trainables.preprocessing import State, parts_of

__all__ = ["describe", "lengths_of", "require_like"]

_TOLERANCE: Final = {2: 5e-2, 4: 1e-3, 8: 1e-3}
"""By bytes of the numbers computed in, and as a share of the largest: what other kernels may round differently."""


def describe(chain: Chain, depth: int, rounding: torch.dtype | None) -> Layout:
    """How to keep what crosses boundary `depth`, found out by running a short and a long sample, alone and together.

    Args:
        rounding: see `part_like`.

    Raises:
        NotCacheable: a sample's values depend on the batch it is in.
    """
    short, long = chain.batches[0][:1], chain.batches[-1][-1:]
    together, *alone = (
        chain.run(chain.inputs(positions), 0, depth) for positions in (torch.cat([short, long]), short, long)
    )
    whole, *single = map(parts_of, (together, *alone))
    if any(len(parts) != len(whole) for parts in single):
        raise NotCacheable("the number of its parts depends on the batch")
    shapes = [{part.shape[1:] for part in (whole[k], *(parts[k] for parts in single))} for k in range(len(whole))]
    varying = {k for k, seen in enumerate(shapes) if len(seen) > 1}
    mask = _mask(whole, single, varying) if varying else None
    kinds: list[Kind] = []
    for k, part in enumerate(whole):
        if part.ndim == 0 or len(part) != 2 or part.numel() == 0:
            raise NotCacheable(f"part {k} of shape {tuple(part.shape)} has not one entry per sample of a batch of 2")
        if k == mask:
            kinds.append("mask")
        elif k in varying:
            _require_tokens(k, whole, single, mask)
            kinds.append("tokens")
        else:
            kinds.append("constant" if part.stride(0) == 0 else "rows")
    layout = Layout(
        parts=tuple(part_like(kind, part, rounding) for kind, part in zip(kinds, whole, strict=True)),
        is_tuple=not isinstance(together, Tensor),
        constants={k: whole[k][0].clone().cpu() for k, kind in enumerate(kinds) if kind == "constant"},
    )
    _require_independent(layout, whole, single, _TOLERANCE[chain.precision.itemsize])
    return layout


def lengths_of(layout: Layout, parts: tuple[Tensor, ...]) -> Tensor | None:
    """Real tokens of each sample, int64 (batch,); None where every sample has one size.

    Raises:
        NotCacheable: the mask is not one of tokens that are padded on the right.
    """
    for k in layout.of_kind("mask"):
        if not _is_mask(parts[k]):
            raise NotCacheable(f"part {k} is no mask of tokens padded on the right in every batch")
        return parts[k].sum(dim=1)
    return None


def require_like(layout: Layout, state: State) -> tuple[Tensor, ...]:
    """The parts of `state`, which must be as `layout` describes them. Raises NotCacheable where they are not."""
    parts = parts_of(state)
    if len(parts) != len(layout.parts) or isinstance(state, Tensor) is layout.is_tuple:
        raise NotCacheable("the number of its parts depends on the batch")
    lengths = lengths_of(layout, parts)
    for k, (part, described) in enumerate(zip(parts, layout.parts, strict=True)):
        behind = part.shape[2:] if described.kind == "tokens" else part.shape[1:]
        if described.kind != "mask" and (part.dtype != described.dtype or behind != described.shape):
            raise NotCacheable(
                f"part {k} is {part.dtype} of shape {tuple(behind)} in one batch, and {described.dtype} of shape "
                f"{described.shape} in another"
            )
        if described.kind == "tokens" and lengths is not None and part.shape[1] < int(lengths.max()):
            raise NotCacheable(f"part {k} is shorter than its mask")
        if described.kind == "constant" and not torch.equal(part[0].cpu(), layout.constants[k]):
            raise NotCacheable(f"part {k} is the same for all samples of a batch and differs between batches")
    return parts


def _mask(whole: tuple[Tensor, ...], single: list[tuple[Tensor, ...]], varying: set[int]) -> int:
    """Which part says how many tokens each sample has."""
    for k in sorted(varying):
        sizes = [parts[k].shape[1] if _is_mask(parts[k]) else -1 for parts in single]
        if _is_mask(whole[k]) and whole[k].sum(dim=1).tolist() == sizes:
            return k
    raise NotCacheable(
        "its size depends on the longest sample of the batch, and no mask among its parts says how long each sample is"
    )


def _is_mask(part: Tensor) -> bool:
    """int64 (batch, length): at least one 1 per sample, then zeros."""
    if part.dtype != torch.int64 or part.ndim != 2 or not part.shape[1]:
        return False
    numbers = torch.arange(part.shape[1], device=part.device)
    return bool((part == (numbers < part.sum(dim=1, keepdim=True))).all() and (part[:, 0] == 1).all())


def _require_tokens(k: int, whole: tuple[Tensor, ...], single: list[tuple[Tensor, ...]], mask: int | None) -> None:
    for parts in (whole, *single):
        length = None if mask is None else parts[mask].shape[1]
        if parts[k].ndim < 2 or parts[k].shape[1] != length or parts[k].shape[2:] != whole[k].shape[2:]:
            raise NotCacheable(
                f"part {k} of shape {tuple(parts[k].shape)} depends on the longest sample of the batch elsewhere "
                "than in its second dimension"
            )


def _require_independent(
    layout: Layout, whole: tuple[Tensor, ...], single: list[tuple[Tensor, ...]], tolerance: float
) -> None:
    lengths = lengths_of(layout, whole)
    for k, part in enumerate(layout.parts):
        for row, parts in enumerate(single):
            alone, among = parts[k][0], whole[k][row]
            if part.kind == "tokens" and lengths is not None:
                among = among[: int(lengths[row])]
            if part.kind != "mask" and not _close(alone, among, tolerance):
                raise NotCacheable(f"part {k} of a sample depends on the other samples of its batch")


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if not a.is_floating_point() or torch.equal(a, b):
        return torch.equal(a, b)
    scale = float(a.abs().max())
    return float((a.double() - b.double()).abs().max()) <= tolerance * scale
