"""What one fine-tuning run is given and what it gives back, as plain values (no torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from trainables.errors import InvalidConfig

__all__ = ["EpochMetrics", "FinetuneConfig", "Optimizer", "Precision", "Schedule", "TaskSpec"]

_Rule: TypeAlias = tuple[str, str, bool]
"""A field, what it must be, whether it is."""

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """One configuration of one fine-tuning run: everything that may change its result.

    Raises:
        InvalidConfig: a value is outside its range; all broken rules are listed at once.
    """

    backbone: str
    """``source/name[@weights]``, e.g. ``timm/tf_efficientnet_lite0`` or
    ``torchvision/mobilenet_v2@IMAGENET1K_V1``; ``@random`` is an untrained control."""

    freeze_depth: int = 0
    """Number of leading blocks frozen, in [0, num_blocks]: 0 tunes everything, num_blocks is a
    linear probe."""

    learning_rate: float = 1e-3
    """Peak learning rate of the last tuned block. Unused when every block is frozen."""

    head_learning_rate: float = 1e-2
    """Peak learning rate of the head."""

    weight_decay: float = 1e-2
    """Weight decay of matrices and filters, decoupled under ``adamw``; tensors of one dimension (biases,
    norms) are never decayed."""

    layer_decay: float = 1.0
    """Factor in (0, 1] applied to the learning rate once per block, from the last block towards the
    input (ELECTRA, arXiv 2003.10555). Unused when every block is frozen."""

    batch_size: int = 32
    """Samples per optimizer step. The last, smaller batch of an epoch is kept, but for a single sample:
    that joins the batch before it, since BatchNorm can normalise no single value."""

    max_epochs: int = 4
    """Passes over the training split."""

    optimizer: Optimizer = "adamw"
    """``sgd`` has Nesterov momentum 0.9."""

    schedule: Schedule = "cosine"
    """Of the learning rate after the warm-up."""

    warmup_frac: float = 0.1
    """Share of all steps in [0, 1) over which the learning rate rises linearly from 0."""

    precision: Precision = "auto"
    """``bf16`` is autocast (parameters stay in fp32); ``auto`` is bf16 on CUDA and fp32 elsewhere."""

    seed: int = 0
    """Of the head's initial weights, the order of samples and dropout; >= 0."""

    def __post_init__(self) -> None:
        _require(self, self._rules())

    def _rules(self) -> list[_Rule]:
        def finite(value: float) -> bool:
            return math.isfinite(value)

        return [
            ("backbone", "a non-empty name", bool(self.backbone)),
            ("freeze_depth", ">= 0", self.freeze_depth >= 0),
            ("learning_rate", "finite and >= 0", finite(self.learning_rate) and self.learning_rate >= 0),
            (
                "head_learning_rate",
                "finite and >= 0",
                finite(self.head_learning_rate) and self.head_learning_rate >= 0,
            ),
            ("weight_decay", "finite and >= 0", finite(self.weight_decay) and self.weight_decay >= 0),
            ("layer_decay", "in (0, 1]", 0 < self.layer_decay <= 1),
            ("batch_size", ">= 1", self.batch_size >= 1),
            ("max_epochs", ">= 1", self.max_epochs >= 1),
            ("seed", ">= 0", self.seed >= 0),
            ("warmup_frac", "in [0, 1)", 0 <= self.warmup_frac < 1),
            ("optimizer", f"one of {get_args(Optimizer)}", self.optimizer in get_args(Optimizer)),
            ("schedule", f"one of {get_args(Schedule)}", self.schedule in get_args(Schedule)),
            ("precision", f"one of {get_args(Precision)}", self.precision in get_args(Precision)),
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """A dataset with its splits. Validation chooses, test only measures.

    Raises:
        InvalidConfig: a value is outside its range; all broken rules are listed at once.
    """

    name: str
    """Names the MLflow experiment and the study; letters, digits, ``-`` and ``_``."""

    data: str = "digits"
    """``digits`` (bundled with scikit-learn) or the path of an image folder: either one folder per
    class, or ``train/`` and ``test/`` (and optionally ``val/``) with one folder per class each."""

    image_size: int | None = None
    """Side in pixels the images are resized to; None is the checkpoint's own."""

    num_train: int | None = None
    """Training samples to keep, stratified; None keeps all that validation and test leave."""

    num_val: int | None = None
    """Validation samples; None is the given ``val/`` folder, or 20 % of what is not test."""

    num_test: int | None = None
    """Test samples; None is the given ``test/`` folder, or all that is left when `num_train` and
    `num_val` are given, or 20 % of the data."""

    split_seed: int = 0
    """Of the split, apart from every training seed; >= 0."""

    def __post_init__(self) -> None:
        rules = [("name", "a non-empty name", bool(self.name)), ("split_seed", ">= 0", self.split_seed >= 0)]
        for count in ("image_size", "num_train", "num_val", "num_test"):
            value = getattr(self, count)
            rules.append((count, ">= 1 or None", value is None or value >= 1))
        _require(self, rules)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """What one completed epoch measured. Losses are means over samples, in nats."""

    epoch: int
    """Completed passes, 1-based."""

    step: int
    """Optimizer updates so far."""

    train_loss: float
    """Mean over the epoch's samples, in train mode, as the weights moved."""

    val_loss: float
    val_accuracy: float
    """In [0, 1]."""

    val_f1_macro: float
    """Mean of the per-class F1, in [0, 1]."""

    val_score: float
    """The task's main metric on validation: accuracy, or macro F1 for an unbalanced task."""

    train_s: float
    """Wall seconds of this epoch's training steps."""

    eval_s: float
    """Wall seconds of this epoch's validation."""

    is_best: bool = field(default=False)
    """Whether `val_score` is the highest so far (the first of equals)."""


def _require(config: object, rules: list[_Rule]) -> None:
    broken = [f"{name} must be {rule}, got {getattr(config, name)!r}" for name, rule, ok in rules if not ok]
    if broken:
        raise InvalidConfig("; ".join(broken))
