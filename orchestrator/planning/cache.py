"""What the cache of frozen activations is expected to hold, and what it is expected to save.

An estimate: the worker decides by costs that it measures, with the same rule (`trainables.activations.cost`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from trainables.activations.cost import ASSUMED, pays, read_seconds
from trainables.config import FinetuneConfig, TaskSpec
from trainables.execution import Execution

__all__ = ["BYTES_PER_ELEMENT", "Boundary", "boundaries", "num_sharing"]

BYTES_PER_ELEMENT: Final = {"exact": 4, "bf16": 2, "fp16": 2}
"""By `Execution.activation_dtype`; exact is float32 here, as it is on CPUs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """What leaves the frozen blocks of a study at one depth. Expectations are over the depths a run draws,
    all equally likely."""

    depth: int
    """Frozen leading blocks, >= 1."""

    num_bytes: int
    """Of the activations of every split whose size is known."""

    stored_bytes: int
    """Of the splits for which the cache is expected to pay; 0 where it does not."""

    prefix_flops: float
    """Of the frozen blocks, for one sample."""

    p_drawn: float
    """Probability that any run of the study freezes so many blocks."""

    saved_flops: float
    """Of all runs of the study together, expected."""

    moving_s: float
    """Seconds of writing and reading for it, of all runs together, expected."""

    @property
    def expected_bytes(self) -> float:
        """Stored, times the probability that anything is."""
        return self.p_drawn * self.stored_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Split:
    """Samples that a run asks for over and over."""

    num_samples: int
    num_passes: float
    """Of one run."""

    num_views: int = 1
    """What is stored of each sample; passes take them in turn."""

    keeps: bool = True
    """Whether the same is asked for again; False of views that are drawn anew."""

    counts: bool = True
    """Whether its forward passes are part of the plan's FLOPs."""

    @property
    def num_stored(self) -> int:
        return self.num_samples * self.num_views


def num_sharing(num_runs: int, depths: Sequence[int]) -> int:
    """How many of a study's runs are expected to share the activations behind one of `depths`, >= 1."""
    return max(1, round(num_runs / len(set(depths))))


def boundaries(
    task: TaskSpec,
    fixed: FinetuneConfig,
    execution: Execution,
    *,
    depths: Sequence[int],
    block_flops: Sequence[float],
    cache_bytes: Sequence[int],
    num_runs: int,
    num_epochs: float,
    flops_per_s: float,
) -> tuple[Boundary, ...]:
    """Every boundary that a study's space may draw, shallowest first; none at depth 0, where nothing is frozen.

    Args:
        task: with known sizes of the training and validation splits.
        fixed: the values that are not searched.
        depths: of every window the space may draw, equal ones as often as they are drawn.
        block_flops: of each block for one sample.
        cache_bytes: behind each block, of all samples of known splits, without views.
        num_runs: of the study.
        num_epochs: of all its runs together, expected.
        flops_per_s: throughput of one trial.
    """
    if execution.activation_cache == "off":
        return ()
    splits = list(_splits(task, fixed, num_epochs / num_runs))
    num_samples = sum(split.num_samples for split in splits)
    found = []
    for depth, count in sorted(Counter(depth for depth in depths if depth > 0).items()):
        share = count / len(depths)
        drawn = _Drawn(
            runs=share * num_runs,
            sharing=num_sharing(num_runs, depths),
            probability=1 - (1 - share) ** num_runs,
            sample_bytes=cache_bytes[depth - 1] / num_samples,
            sample_s=sum(block_flops[:depth]) / flops_per_s,
            always=execution.activation_cache == "always",
        )
        stored = [split for split in splits if _is_stored(split, drawn)]
        costs = [_costs(split, drawn) for split in stored if split.counts]
        found.append(
            Boundary(
                depth=depth,
                num_bytes=round(sum(split.num_stored for split in splits) * drawn.sample_bytes),
                stored_bytes=round(sum(split.num_stored for split in stored) * drawn.sample_bytes),
                prefix_flops=sum(block_flops[:depth]),
                p_drawn=drawn.probability,
                saved_flops=sum(saved_s for saved_s, _ in costs) * flops_per_s,
                moving_s=sum(moving_s for _, moving_s in costs),
            )
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    """One depth, and how often runs come to it."""

    runs: float
    """Of the study, expected."""

    sharing: int
    """Runs that are taken to share it when it is decided whether to store anything."""

    probability: float
    """That any run comes."""

    sample_bytes: float
    sample_s: float
    """Of computing one sample."""

    always: bool
    """Whether it is stored whatever it costs."""


def _is_stored(split: _Split, drawn: _Drawn) -> bool:
    if drawn.always or not split.keeps:
        return split.keeps
    num_bytes = split.num_samples * drawn.sample_bytes
    return pays(
        forward_s=split.num_samples * drawn.sample_s,
        read_s=read_seconds(num_bytes, ASSUMED),
        write_s=num_bytes / ASSUMED.write,
        num_passes=drawn.sharing * split.num_passes / split.num_views,
    )


def _costs(split: _Split, drawn: _Drawn) -> tuple[float, float]:
    """Seconds of forward passes saved, and of moving bytes for it, expected over the study's runs."""
    num_bytes = split.num_samples * drawn.sample_bytes
    passes, written = drawn.runs * split.num_passes, drawn.probability * split.num_views
    saved_s = max(passes - written, 0.0) * split.num_samples * drawn.sample_s
    return saved_s, passes * read_seconds(num_bytes, ASSUMED) + written * num_bytes / ASSUMED.write


def _splits(task: TaskSpec, fixed: FinetuneConfig, num_epochs: float) -> Iterator[_Split]:
    """The splits of known size, with what one run of so many epochs asks of them."""
    augmented = fixed.augmentation != "none"
    views = fixed.augment_views if augmented else 1
    if task.num_train is not None:
        yield _Split(num_samples=task.num_train, num_passes=num_epochs, num_views=max(views, 1), keeps=views > 0)
    if task.num_val is not None:
        yield _Split(num_samples=task.num_val, num_passes=num_epochs)
    if task.num_test is not None:
        yield _Split(num_samples=task.num_test, num_passes=1, counts=False)
