"""What one fine-tuning run is given and what it gives back, as plain values (no torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from trainables.modality import Modality
from trainables.rules import Rule, one_of_rules, require

__all__ = [
    "AugmentationName",
    "ClassWeight",
    "EpochMetrics",
    "FinetuneConfig",
    "HeadInit",
    "Kind",
    "OnBadSample",
    "Optimizer",
    "Precision",
    "Schedule",
    "TaskSpec",
]

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant", "step"]
Precision = Literal["auto", "fp32", "bf16"]
HeadInit = Literal["random", "probe"]
ClassWeight = Literal["none", "balanced"]
AugmentationName = Literal["none", "flip", "crop_flip"]
Kind = Literal["classification", "multilabel", "regression"]
OnBadSample = Literal["stop", "skip"]


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

    tune_window: tuple[int, int] | None = None
    """``(i, j)`` with i < j: only blocks i to j - 1 and the head are tuned (surgical fine-tuning, arXiv
    2210.11466). None is the window from `freeze_depth` to the end; given, `freeze_depth` must be 0."""

    head_init: HeadInit = "random"
    """``probe`` fits the head to the frozen features before anything is tuned (LP-FT, arXiv 2202.10054)."""

    stay_near: float = 0.0
    """Pull of tuned blocks towards their pretrained weights, >= 0: the loss gains ``stay_near / 2`` times
    the squared distance from them, in place of their weight decay (L2-SP, arXiv 1802.01483). Unused
    when every block is frozen."""

    learning_rate: float = 1e-3
    """Peak learning rate of the last tuned block. Unused when every block is frozen."""

    head_learning_rate: float = 1e-2
    """Peak learning rate of the head."""

    weight_decay: float = 1e-2
    """Weight decay of matrices and filters, decoupled under ``adamw`` and added to the gradient under
    ``adam`` and ``sgd``; tensors of one dimension (biases, norms) are never decayed."""

    layer_decay: float = 1.0
    """Factor in (0, 1] applied to the learning rate once per block, from the last block towards the
    input (ELECTRA, arXiv 2003.10555). Unused when every block is frozen."""

    batch_size: int = 32
    """Samples per optimizer step, at least 2 where BatchNorm is tuned. The last, smaller batch of an epoch is
    kept, but for a single sample: that joins the batch before it, since BatchNorm can normalise no single value."""

    max_epochs: int = 4
    """Passes over the training split."""

    optimizer: Optimizer = "adamw"
    """``sgd`` has Nesterov momentum 0.9."""

    schedule: Schedule = "cosine"
    """Of the learning rate after the warm-up: ``cosine`` falls to 0, ``step`` is divided by 10 after one
    half and again after three quarters of the steps."""

    warmup_frac: float = 0.1
    """Share of all steps in [0, 1) over which the learning rate rises linearly from 0."""

    class_weight: ClassWeight = "none"
    """``balanced`` weighs each class in the loss by the inverse of its share of the training samples, and
    each label of a multi-label task's positives by negatives over positives. Metrics are never weighted."""

    augmentation: AugmentationName = "none"
    """Of training images: ``flip`` mirrors one half of them, ``crop_flip`` shifts all by up to an eighth of the
    side as well."""

    augment_views: int = 0
    """0 draws new views in every epoch; k > 0 shows each image in the same k views in turn, whatever the
    seed, so that the activations of frozen blocks can be kept. Unused without augmentation."""

    precision: Precision = "auto"
    """``bf16`` is autocast (parameters stay in fp32); ``auto`` is bf16 on CUDA and fp32 elsewhere."""

    seed: int = 0
    """Of the head's initial weights, the order of samples and dropout; >= 0."""

    def __post_init__(self) -> None:
        if self.tune_window is not None:
            # JSON knows lists only; equal configurations must be equal and hashable.
            object.__setattr__(self, "tune_window", tuple(self.tune_window))
        require(self, self._rules())

    def _rules(self) -> list[Rule]:
        def finite(value: float) -> bool:
            return math.isfinite(value)

        return [
            ("backbone", "a non-empty name", bool(self.backbone)),
            ("freeze_depth", ">= 0", self.freeze_depth >= 0),
            (
                "tune_window",
                "two block numbers (i, j) with 0 <= i < j, or None",
                self.tune_window is None
                or (len(self.tune_window) == 2 and 0 <= self.tune_window[0] < self.tune_window[1]),
            ),
            ("freeze_depth", "0 where tune_window is given", self.tune_window is None or self.freeze_depth == 0),
            ("stay_near", "finite and >= 0", finite(self.stay_near) and self.stay_near >= 0),
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
            ("augment_views", ">= 0", self.augment_views >= 0),
            ("seed", ">= 0", self.seed >= 0),
            ("warmup_frac", "in [0, 1)", 0 <= self.warmup_frac < 1),
            *one_of_rules(self),
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
    """``digits`` (bundled with scikit-learn); a folder of class folders, or of ``train/``, ``test/`` (and
    ``val/``) with class folders each; a CSV, TSV, JSONL or Parquet file; ``torchvision/<dataset>``;
    ``hf/<dataset>[@configuration]`` of the hub or ``hf/./folder``."""

    val_data: str | None = None
    test_data: str | None = None
    """Validation and test samples, where they are kept apart from `data`: same form, same columns."""

    kind: Kind = "classification"
    """``multilabel``: any number of labels per sample; ``regression``: a number, or several."""

    modality: Modality | None = None
    """None is found out: by the suffixes of the files, or by the values of a table's input column."""

    input_columns: tuple[str, ...] = ()
    """Of a table: the text (two: a pair), or the path or bytes of an image or sound. Empty is found out."""

    label_columns: tuple[str, ...] = ()
    """Of a table: the label; for ``multilabel`` one column of lists or separated text, or a 0/1 column per
    label; for ``regression`` one column per number. Empty is ``label``, else the nearest to it."""

    split_column: str | None = None
    """Of a table: says ``train``, ``val`` or ``test`` of each row."""

    group_column: str | None = None
    """Of a table: rows with equal values (a patient, a speaker) never part between splits."""

    image_size: int | None = None
    """Side in pixels that images are resized to; None is the checkpoint's own."""

    max_length: int | None = None
    """Tokens that texts are cut to; None is the checkpoint's own limit."""

    max_duration_s: float | None = None
    """Seconds that sounds are cut to, > 0; None is the checkpoint's own limit."""

    num_train: int | None = None
    """Labelled samples to learn from, stratified; None keeps all that validation and test leave. Where
    neither `num_val` nor a validation split is given they pay for validation too: 1000 are 800 to train
    on and 200 to validate (VTAB, arXiv 1910.04867)."""

    num_val: int | None = None
    """Validation samples; None is the given validation split, or 20 % of `num_train`, or 20 % of what is
    not test."""

    num_test: int | None = None
    """Test samples; None is the given test split, or all that is left when `num_train` is given, or 20 %
    of the data."""

    few_shot: int | None = None
    """Training samples per class, in place of `num_train`; classification only."""

    train_frac: float = 1.0
    """Share in (0, 1] of the training samples that is kept, stratified, whatever chose them: equal seeds
    give nested sets, so that a curve over it (data efficiency) adds samples and replaces none."""

    on_bad_sample: OnBadSample = "stop"
    """What to do about samples that cannot be read: stop and name all of them, or skip them, counted."""

    split_seed: int = 0
    """Of the split, apart from every training seed; >= 0."""

    def __post_init__(self) -> None:
        for columns in ("input_columns", "label_columns"):
            object.__setattr__(self, columns, tuple(getattr(self, columns)))
        rules = [("name", "a non-empty name", bool(self.name)), ("split_seed", ">= 0", self.split_seed >= 0)]
        for count in ("image_size", "max_length", "num_train", "num_val", "num_test", "few_shot"):
            value = getattr(self, count)
            rules.append((count, ">= 1 or None", value is None or value >= 1))
        rules += [
            ("data", "a non-empty text", bool(self.data)),
            *one_of_rules(self),
            ("max_duration_s", "> 0 or None", self.max_duration_s is None or self.max_duration_s > 0),
            ("train_frac", "in (0, 1]", 0 < self.train_frac <= 1),
            ("input_columns", "at most two names", len(self.input_columns) <= 2),
            ("few_shot", "None where num_train is given", self.few_shot is None or self.num_train is None),
            ("few_shot", "None but for classification", self.few_shot is None or self.kind == "classification"),
        ]
        require(self, rules)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """What one completed epoch measured. Losses are means over samples: cross-entropy in nats, of a
    multi-label task the mean over its labels, of a regression squared errors over the variance of the
    training targets. A metric that the kind of task does not have is None."""

    epoch: int
    """Completed passes, 1-based."""

    step: int
    """Optimizer updates so far."""

    train_loss: float
    """Mean over the epoch's samples, in train mode, as the weights moved."""

    val_loss: float
    val_accuracy: float | None
    """In [0, 1]; of a multi-label task the share of samples with every label right."""

    val_f1_macro: float | None
    """Mean of the per-class F1, in [0, 1]."""

    val_r2: float | None
    """Coefficient of determination, at most 1; the mean over targets."""

    val_mae: float | None
    """Mean absolute error, in the units of the target."""

    val_score: float
    """The task's main metric on validation: accuracy, macro F1 (unbalanced or multi-label) or R²."""

    train_s: float
    """Wall seconds of this epoch's training steps."""

    eval_s: float
    """Wall seconds of this epoch's validation."""

    is_best: bool = field(default=False)
    """Whether `val_score` is the highest so far (the first of equals)."""
