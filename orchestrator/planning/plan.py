"""What a sweep will do and what it may cost, computed from its configuration alone.

Costs are estimates; `orchestrator.planning.cost` says what they rest on. What is not known without building the
backbone or reading the data is None, never 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import Allocation, SweepConfig
from orchestrator.planning.cache import Boundary
from orchestrator.planning.cost import (
    FLOPS_PER_S,
    block_flops,
    cache_bytes,
    measured_samples,
    step_flops,
    study_boundaries,
    study_epochs,
    trained_on,
)
from orchestrator.planning.notes import notes
from orchestrator.workers.request import study_key
from trainables.catalog import BackboneSpec, lookup
from trainables.config import TaskSpec

__all__ = ["Plan", "StudyPlan", "plan", "plan_to_dict"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan:
    """One backbone on one task."""

    key: str
    """``task:backbone``, the backbone with its weights."""

    task: TaskSpec
    backbone: BackboneSpec
    trials: int
    random_trials: int
    confirmations: int
    train_fracs: tuple[float, ...]
    """Shares of the training samples on which the chosen configuration is trained as well, with the seeds of
    the confirmations."""

    max_epochs: int
    grace_epochs: int
    reduction_factor: int
    epochs_expected: float
    """Of all runs, with halving as expected."""

    forward_flops: float | None
    """Of all blocks for one sample of the task's size."""

    train_flops: float | None
    """Of the training steps of all runs, with epochs as expected and without the cache."""

    eval_flops: float | None
    """Of the validation after every epoch, without the cache."""

    measure_flops: float | None
    """Of the test scores of all runs, and of what is measured of confirmations, without explanations."""

    cache_bytes: tuple[int, ...] | None
    """Size of the cached activations behind block 0, 1, ... for the training, validation and (where
    its size is given) test samples."""

    boundaries: tuple[Boundary, ...] | None
    """What may be cached behind the depths that the space may draw."""

    @property
    def flops(self) -> float | None:
        """Of training, validation and measuring, without the cache."""
        return _total([self.train_flops, self.eval_flops, self.measure_flops])

    @property
    def saved_flops(self) -> float | None:
        """Of `train_flops` and `eval_flops`, what the cache is expected to save."""
        return _of_all(self.boundaries, lambda boundary: boundary.saved_flops)

    @property
    def moving_s(self) -> float | None:
        """Seconds of writing and reading the cache."""
        return _of_all(self.boundaries, lambda boundary: boundary.moving_s)

    @property
    def cached_bytes_expected(self) -> float | None:
        """Of what is stored, given the depths that are likely to be drawn."""
        return _of_all(self.boundaries, lambda boundary: boundary.expected_bytes)

    @property
    def cached_bytes_max(self) -> float | None:
        """If every boundary that pays is drawn."""
        return _of_all(self.boundaries, lambda boundary: boundary.stored_bytes)

    @property
    def num_blocks(self) -> int | None:
        return self.backbone.num_blocks

    @property
    def reduced_runs(self) -> int:
        """On fewer training samples."""
        return self.confirmations * len(self.train_fracs)

    @property
    def runs(self) -> int:
        """Trials, confirmations and those on fewer samples."""
        return self.trials + self.confirmations + self.reduced_runs

    @property
    def epochs_max(self) -> int:
        """If no trial is stopped."""
        return self.runs * self.max_epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every study of a sweep, in the order they are listed: by task, then by backbone."""

    name: str
    allocation: Allocation
    studies: tuple[StudyPlan, ...]
    flops_per_s: float
    """Assumed throughput of one trial."""

    notes: tuple[str, ...]
    """What is allowed, but worth a second thought."""

    @property
    def runs(self) -> int:
        return sum(study.runs for study in self.studies)

    @property
    def epochs_max(self) -> int:
        return sum(study.epochs_max for study in self.studies)

    @property
    def epochs_expected(self) -> float:
        return sum(study.epochs_expected for study in self.studies)

    @property
    def train_flops(self) -> float | None:
        return _total(study.train_flops for study in self.studies)

    @property
    def eval_flops(self) -> float | None:
        return _total(study.eval_flops for study in self.studies)

    @property
    def measure_flops(self) -> float | None:
        return _total(study.measure_flops for study in self.studies)

    @property
    def flops(self) -> float | None:
        """Of training, validation and measuring, without the cache."""
        return _total(study.flops for study in self.studies)

    @property
    def saved_flops(self) -> float | None:
        return _total(study.saved_flops for study in self.studies)

    @property
    def cached_bytes_expected(self) -> float | None:
        return _total(study.cached_bytes_expected for study in self.studies)

    @property
    def cached_bytes_max(self) -> float | None:
        return _total(study.cached_bytes_max for study in self.studies)

    @property
    def compute_s(self) -> float | None:
        """Seconds of training, validation and measuring, one run after another, at `flops_per_s` and with the cache."""
        return _total(self.seconds(study) for study in self.studies)

    def seconds(self, study: StudyPlan) -> float | None:
        """The part of `compute_s` that is one study's."""
        flops = study.flops
        if flops is None or study.saved_flops is None or study.moving_s is None:
            return None
        return (flops - study.saved_flops) / self.flops_per_s + study.moving_s


def plan(config: SweepConfig, *, flops_per_s: float | None = None) -> Plan:
    """Cross the tasks with the backbones: one study each, all with the same budget.

    Args:
        flops_per_s: throughput of one trial, > 0, that seconds are estimated with; None is that of one CPU core
            (`orchestrator.planning.cost.FLOPS_PER_S`).

    Raises:
        ValueError: `flops_per_s` is not positive.
    """
    if flops_per_s is None:
        # One modality per sweep; what only the built backbone knows is taken for images.
        flops_per_s = FLOPS_PER_S[lookup(config.backbones[0]).modality or "image"]
    if not flops_per_s > 0:
        raise ValueError(f"flops_per_s must be > 0, got {flops_per_s}")
    studies = tuple(
        _study(config, task, lookup(name), flops_per_s) for task in config.tasks for name in config.backbones
    )
    return Plan(
        name=config.name,
        allocation=config.budget.allocation,
        studies=studies,
        flops_per_s=flops_per_s,
        notes=tuple(notes(config)),
    )


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """`plan` as JSON takes it; what is not known is null."""
    studies = [
        {
            **dataclasses.asdict(study),
            "task": study.task.name,
            "backbone": study.backbone.name,
            "num_blocks": study.num_blocks,
            "reduced_runs": study.reduced_runs,
            "runs": study.runs,
            "epochs_max": study.epochs_max,
            "saved_flops": study.saved_flops,
            "moving_s": study.moving_s,
            "cached_bytes_expected": study.cached_bytes_expected,
            "cached_bytes_max": study.cached_bytes_max,
            "compute_s": plan.seconds(study),
            "cache_bytes": None if study.cache_bytes is None else list(study.cache_bytes),
            "boundaries": None if study.boundaries is None else [_boundary(one) for one in study.boundaries],
        }
        for study in plan.studies
    ]
    totals = {
        name: getattr(plan, name)
        for name in (
            *("runs", "epochs_max", "epochs_expected", "train_flops", "eval_flops", "measure_flops", "saved_flops"),
            "compute_s",
            *("cached_bytes_expected", "cached_bytes_max"),
        )
    }
    return {
        "name": plan.name,
        "allocation": plan.allocation,
        "studies": studies,
        "totals": totals,
        "flops_per_s": plan.flops_per_s,
        "notes": list(plan.notes),
    }


def _boundary(boundary: Boundary) -> dict[str, Any]:
    return {**dataclasses.asdict(boundary), "pays": boundary.stored_bytes > 0}


def _study(config: SweepConfig, task: TaskSpec, backbone: BackboneSpec, flops_per_s: float) -> StudyPlan:
    budget, confirmation, whole = config.budget, config.confirmation, task
    task = trained_on(task)
    epochs = study_epochs(budget, confirmation.seeds)
    reduced = confirmation.seeds * budget.max_epochs  # epochs, per share of the training samples
    num_epochs = epochs + reduced * len(confirmation.train_fracs)
    num_passes = epochs + reduced * sum(confirmation.train_fracs)
    blocks = block_flops(task, backbone)
    forward = None if blocks is None else sum(blocks)
    return StudyPlan(
        key=study_key(task.name, backbone.name),
        task=whole,
        backbone=backbone,
        trials=budget.trials,
        random_trials=budget.random_trials,
        confirmations=confirmation.seeds,
        train_fracs=confirmation.train_fracs,
        max_epochs=budget.max_epochs,
        grace_epochs=budget.grace_epochs,
        reduction_factor=budget.reduction_factor,
        epochs_expected=num_epochs,
        forward_flops=forward,
        train_flops=_times(None if blocks is None else step_flops(config, blocks), task.num_train, num_passes),
        eval_flops=_times(forward, task.num_val, num_epochs),
        measure_flops=_times(forward, measured_samples(config, task, backbone), 1),
        cache_bytes=cache_bytes(config, task, backbone),
        boundaries=study_boundaries(config, task, backbone, epochs, flops_per_s),
    )


def _times(flops: float | None, samples: float | None, epochs: float) -> float | None:
    return None if flops is None or samples is None else flops * samples * epochs


def _of_all(found: Sequence[Boundary] | None, value: Callable[[Boundary], float]) -> float | None:
    return None if found is None else sum(map(value, found))


def _total(values: Iterable[float | None]) -> float | None:
    """The sum, or None where a part is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
