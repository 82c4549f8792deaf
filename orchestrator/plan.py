"""What a sweep will do and what it may cost, computed from its configuration alone.

Costs are estimates, and rest on three statements:

* A forward pass of one sample costs the catalogue's FLOPs of each block, scaled from the size they
  were measured at: by the square of the image's side (convolutions and patches; the attention of a
  transformer grows faster), by the most tokens of a text, by the longest seconds of a sound. Shorter
  texts and sounds cost less: the estimate is high. Without a limit on them it is not known.
* A training step costs one forward pass, another one of the blocks from the first tuned one to the end
  (gradients of inputs) and another one of the tuned blocks (gradients of weights), averaged over the
  depths or windows the space may draw, all equally likely. The head is left out, and so is what the
  cache of frozen prefixes saves: the estimate is high.
* Of the trials that may be stopped, one in `reduction_factor` goes on at each rung. Asynchronous
  halving lets early trials through, so that the truth lies between `epochs_expected` and `epochs_max`.

What is not known without building the backbone or reading the data is None, never 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.config import Budget, SweepConfig
from orchestrator.request import study_key
from trainables.catalog import BackboneSpec, lookup
from trainables.config import TaskSpec

__all__ = ["Plan", "StudyPlan", "expected_epochs", "plan", "plan_to_dict"]

ASSUMED_FLOPS_PER_S: Final = 20e9
"""Sustained float32 FLOPs per second of one trial: about what one CPU core reaches on convolutions."""

BYTES_PER_ELEMENT: Final = 4


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
    max_epochs: int
    grace_epochs: int
    reduction_factor: int
    epochs_expected: float
    """Of all runs, with halving as expected."""

    forward_flops: float | None
    """Of all blocks for one sample of the task's size."""

    train_flops: float | None
    """Of the training steps of all runs, with epochs as expected."""

    eval_flops: float | None
    """Of the validation after every epoch."""

    cache_bytes: tuple[int, ...] | None
    """Size of the cached activations behind block 0, 1, ... for the training, validation and (where
    its size is given) test samples."""

    @property
    def num_blocks(self) -> int | None:
        return self.backbone.num_blocks

    @property
    def runs(self) -> int:
        """Trials and confirmations."""
        return self.trials + self.confirmations

    @property
    def epochs_max(self) -> int:
        """If no trial is stopped."""
        return self.runs * self.max_epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every study of a sweep, in the order they are listed: by task, then by backbone."""

    name: str
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
    def compute_s(self) -> float | None:
        """Seconds of training and validation, one run after another, at `flops_per_s`."""
        return self.seconds(_total([self.train_flops, self.eval_flops]))

    def seconds(self, flops: float | None) -> float | None:
        """How long `flops` take one trial."""
        return None if flops is None else flops / self.flops_per_s


def plan(config: SweepConfig, *, flops_per_s: float = ASSUMED_FLOPS_PER_S) -> Plan:
    """Cross the tasks with the backbones: one study each, all with the same budget.

    Args:
        flops_per_s: throughput of one trial, > 0, that seconds are estimated with.

    Raises:
        ValueError: `flops_per_s` is not positive.
    """
    if not flops_per_s > 0:
        raise ValueError(f"flops_per_s must be > 0, got {flops_per_s}")
    studies = tuple(_study(config, task, lookup(name)) for task in config.tasks for name in config.backbones)
    return Plan(name=config.name, studies=studies, flops_per_s=flops_per_s, notes=tuple(_notes(config)))


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """`plan` as JSON takes it; what is not known is null."""
    studies = [
        {
            **dataclasses.asdict(study),
            "task": study.task.name,
            "backbone": study.backbone.name,
            "num_blocks": study.num_blocks,
            "runs": study.runs,
            "epochs_max": study.epochs_max,
            "compute_s": plan.seconds(_total([study.train_flops, study.eval_flops])),
            "cache_bytes": None if study.cache_bytes is None else list(study.cache_bytes),
        }
        for study in plan.studies
    ]
    totals = {
        name: getattr(plan, name)
        for name in ("runs", "epochs_max", "epochs_expected", "train_flops", "eval_flops", "compute_s")
    }
    return {
        "name": plan.name,
        "studies": studies,
        "totals": totals,
        "flops_per_s": plan.flops_per_s,
        "notes": list(plan.notes),
    }


def expected_epochs(budget: Budget) -> float:
    """Of one trial that may be stopped: at each rung ``grace * reduction_factor ** k`` below
    `max_epochs`, one in `reduction_factor` goes on."""
    epochs = 0.0
    share, before, rung = 1.0, 0, budget.grace_epochs
    while rung < budget.max_epochs:
        epochs += share * (rung - before)
        share /= budget.reduction_factor
        before, rung = rung, rung * budget.reduction_factor
    return epochs + share * (budget.max_epochs - before)


def _study(config: SweepConfig, task: TaskSpec, backbone: BackboneSpec) -> StudyPlan:
    budget = config.budget
    whole = (budget.random_trials + config.confirmation.seeds) * budget.max_epochs
    epochs = whole + (budget.trials - budget.random_trials) * expected_epochs(budget)
    forward, step = _flops(config, task, backbone)
    return StudyPlan(
        key=study_key(task.name, backbone.name),
        task=task,
        backbone=backbone,
        trials=budget.trials,
        random_trials=budget.random_trials,
        confirmations=config.confirmation.seeds,
        max_epochs=budget.max_epochs,
        grace_epochs=budget.grace_epochs,
        reduction_factor=budget.reduction_factor,
        epochs_expected=epochs,
        forward_flops=forward,
        train_flops=_times(step, task.num_train, epochs),
        eval_flops=_times(forward, task.num_val, epochs),
        cache_bytes=_cache_bytes(task, backbone),
    )


def _flops(config: SweepConfig, task: TaskSpec, backbone: BackboneSpec) -> tuple[float | None, float | None]:
    """Of one sample: a forward pass, and a training step at the mean over what may be tuned."""
    blocks, scale = backbone.block_flops, _scale(task, backbone)
    if blocks is None or scale is None:
        return None, None
    fixed = config.finetune
    windows = config.space.windows(len(blocks), freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)
    backward = sum(sum(blocks[start:]) + sum(blocks[start:stop]) for start, stop in windows) / len(windows)
    forward = scale * sum(blocks)
    return forward, forward + scale * backward


def _scale(task: TaskSpec, backbone: BackboneSpec) -> float | None:
    """Cost of one sample of the task over that of one of the size the facts were measured at."""
    if backbone.modality == "text":
        if task.max_length is None or backbone.input_size is None:
            return None
        return task.max_length / backbone.input_size
    if backbone.modality == "audio":
        return task.max_duration_s  # the facts are those of one second
    if task.image_size is None or backbone.input_size is None:
        return 1.0
    return (task.image_size / backbone.input_size) ** 2


def _cache_bytes(task: TaskSpec, backbone: BackboneSpec) -> tuple[int, ...] | None:
    scale = _scale(task, backbone)
    if backbone.boundary_elements is None or scale is None or task.num_train is None or task.num_val is None:
        return None
    samples = task.num_train + task.num_val + (task.num_test or 0)
    # The last block pools: its features have the same width at every size.
    *inner, features = backbone.boundary_elements
    return tuple(round(n) * samples * BYTES_PER_ELEMENT for n in (*(n * scale for n in inner), features))


def _notes(config: SweepConfig) -> Iterable[str]:
    gpus = config.resources.gpus_per_trial
    if isinstance(gpus, float) and 0 < gpus < 1 and round(1 % gpus, 6) not in (0, round(gpus, 6)):
        fits = int(1 / gpus)
        yield (
            f"gpus_per_trial {gpus:g}: {fits} trials fit one GPU and leave {1 - fits * gpus:.0%} of it idle; "
            f"{1 / fits:.4g} would use all of it"
        )
    if config.confirmation.seeds < 3:
        yield f"confirmation.seeds {config.confirmation.seeds}: too few for an interval; 3 or more give one"
    if config.budget.random_trials == 0:
        yield "budget.random_trials 0: no random trials, so no tuning curve can be estimated"
    if config.finetune.batch_size == 1 and "batch_size" not in config.space.names:
        yield "finetune.batch_size 1: layers that normalise over the batch cannot train on one sample"


def _times(flops: float | None, samples: int | None, epochs: float) -> float | None:
    return None if flops is None or samples is None else flops * samples * epochs


def _total(values: Iterable[float | None]) -> float | None:
    """The sum, or None where a part is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
