"""What runs are expected to cost, from the configuration and the catalogue's facts alone.

Costs are estimates, and rest on these statements:

* A forward pass of one sample costs the catalogue's FLOPs of each block, scaled from the size they
  were measured at: by the square of the image's side (convolutions and patches; the attention of a
  transformer grows faster), by the most tokens of a text, by the longest seconds of a sound. Shorter
  texts and sounds cost less: the estimate is high. Without a limit on them it is not known.
* A training step costs one forward pass, another one of the blocks from the first tuned one to the end
  (gradients of inputs) and another one of the tuned blocks (gradients of weights), averaged over the
  depths or windows the space may draw, all equally likely. The head is left out.
* What the cache of frozen activations saves is estimated with the rule that workers follow, and with speeds
  that nobody measured here (`orchestrator.planning.cache`).
* Of the trials that may be stopped, one in `reduction_factor` goes on at each rung. Asynchronous
  halving lets early trials through, so that the truth lies between `epochs_expected` and `epochs_max`.
* Runs on fewer samples cost their share of an epoch. What the cache saves them is left out.
* What is measured of confirmations is counted in forward passes: of the perturbed samples under every perturbation
  and severity, of attacks, of drift, of both splits before and after tuning; explanations are left out. A test
  split of unknown size counts as `num_perturbed` samples.
* Trials of a race are not stopped, but it ends when it can: `RACE_TRIALS` after the random ones are expected
  of a study on average, and every study is counted as confirmed.

What is not known without building the backbone or reading the data is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from orchestrator.config import Budget, SweepConfig
from orchestrator.planning.cache import BYTES_PER_ELEMENT, Boundary, boundaries
from trainables.catalog import BackboneSpec
from trainables.config import TaskSpec
from trainables.evaluation import Evaluation

__all__ = [
    "FLOPS_PER_S",
    "block_flops",
    "cache_bytes",
    "expected_epochs",
    "measured_samples",
    "step_flops",
    "study_boundaries",
    "study_epochs",
    "trained_on",
]

FLOPS_PER_S: Final = {"image": 20e9, "text": 30e9, "audio": 30e9}
"""Sustained float32 FLOPs per second of one trial on one CPU core. Measured per second of CPU time: 18 to 24e9 of
EfficientNet-Lite0 at 128 px, 28 to 37e9 of MiniLM-L6, 31 to 32e9 of wav2vec2-base, whose matrix products keep a core
busier."""

FILLED: Final = {"text": 0.3, "audio": 0.4}
"""Mean length of samples over the limit that cuts none, or few, of them. Measured: 0.35 of tweets at 64 tokens, 0.22
of news at 256, 0.18 of spoken digits at 2.3 s; sounds cut to one length have 1."""

_PERTURBATIONS: Final = {"image": 8, "text": 5, "audio": 5}
_SEVERITIES: Final = 3
_ATTACK_PASSES: Final = 50
"""Forward passes that FGSM and ten steps of PGD within two ε come to, per sample."""

_MEASURED_TRAIN: Final = 10_000
"""Training samples that are measured before and after tuning, or a few more."""

RACE_TRIALS: Final = 12
"""After the random ones, per study: what races of 8 simulated backbones took on average, dropped ones
included."""


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


def study_epochs(budget: Budget, num_confirmations: int) -> float:
    """Of all runs of a study, as expected."""
    whole = budget.random_trials + num_confirmations
    searched = budget.trials - budget.random_trials
    if budget.allocation == "race":
        return (whole + min(searched, RACE_TRIALS)) * budget.max_epochs
    return whole * budget.max_epochs + searched * expected_epochs(budget)


def trained_on(task: TaskSpec) -> TaskSpec:
    """`task` with `num_train` as `train_frac` leaves it."""
    if task.num_train is None or task.train_frac == 1:
        return task
    return replace(task, num_train=max(1, round(task.train_frac * task.num_train)), train_frac=1.0)


def measured_samples(config: SweepConfig, task: TaskSpec, backbone: BackboneSpec) -> float:
    """How many forward passes of one sample test scores and evaluations of a study come to."""
    wanted, seeds = config.evaluation, config.confirmation.seeds
    num_test = task.num_test or (wanted or Evaluation()).num_perturbed
    runs = config.budget.trials + seeds * (1 + len(config.confirmation.train_fracs))
    if wanted is None:
        return runs * num_test
    kinds = _PERTURBATIONS[backbone.modality or "image"] if wanted.perturbations == "all" else 0
    each = kinds * _SEVERITIES * min(wanted.num_perturbed, num_test)
    each += _ATTACK_PASSES * min(wanted.num_attacked, num_test) + 2 * min(wanted.num_drifted, num_test)
    each += 2 * (num_test + min(task.num_train or _MEASURED_TRAIN, _MEASURED_TRAIN))
    return runs * num_test + seeds * each


def _windows(config: SweepConfig, num_blocks: int) -> tuple[tuple[int, int], ...]:
    fixed = config.finetune
    return config.space.windows(num_blocks, freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)


def block_flops(task: TaskSpec, backbone: BackboneSpec) -> list[float] | None:
    """Of a forward pass of one sample of the task's size."""
    scale = _scale(task, backbone)
    if backbone.block_flops is None or scale is None:
        return None
    return [scale * flops for flops in backbone.block_flops]


def step_flops(config: SweepConfig, blocks: Sequence[float]) -> float:
    """Of a training step of one sample, at the mean over what may be tuned."""
    windows = _windows(config, len(blocks))
    backward = sum(sum(blocks[start:]) + sum(blocks[start:stop]) for start, stop in windows) / len(windows)
    return sum(blocks) + backward


def study_boundaries(
    config: SweepConfig, task: TaskSpec, backbone: BackboneSpec, epochs: float, flops_per_s: float
) -> tuple[Boundary, ...] | None:
    blocks, num_bytes = block_flops(task, backbone), cache_bytes(config, task, backbone)
    if blocks is None or num_bytes is None:
        return None
    return boundaries(
        task,
        config.finetune,
        config.execution,
        depths=[start for start, _ in _windows(config, len(blocks))],
        block_flops=blocks,
        cache_bytes=num_bytes,
        num_runs=config.budget.trials + config.confirmation.seeds,
        num_epochs=epochs,
        flops_per_s=flops_per_s,
    )


def _scale(task: TaskSpec, backbone: BackboneSpec) -> float | None:
    """Cost of one sample of the task over that of one of the size the facts were measured at."""
    if backbone.modality == "text":
        if task.max_length is None or backbone.input_size is None:
            return None
        return FILLED["text"] * task.max_length / backbone.input_size
    if backbone.modality == "audio":
        # The facts are those of one second.
        return None if task.max_duration_s is None else FILLED["audio"] * task.max_duration_s
    if task.image_size is None or backbone.input_size is None:
        return 1.0
    return (task.image_size / backbone.input_size) ** 2


def cache_bytes(config: SweepConfig, task: TaskSpec, backbone: BackboneSpec) -> tuple[int, ...] | None:
    scale = _scale(task, backbone)
    if backbone.boundary_elements is None or scale is None or task.num_train is None or task.num_val is None:
        return None
    samples = task.num_train + task.num_val + (task.num_test or 0)
    width = BYTES_PER_ELEMENT[config.execution.activation_dtype]
    # The last block pools: its features have the same width at every size.
    *inner, features = backbone.boundary_elements
    return tuple(round(n) * samples * width for n in (*(n * scale for n in inner), features))
