"""What a sweep is, as frozen values. `orchestrator.config` reads and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from search_spaces import SEARCHABLE, SearchSpace, load_space
from trainables.config import FinetuneConfig, TaskSpec
from trainables.evaluation import Evaluation
from trainables.execution import Execution

__all__ = [
    "Allocation",
    "Auto",
    "Budget",
    "Component",
    "Confirmation",
    "Preset",
    "Resources",
    "SweepConfig",
    "Weighting",
]

Auto = Literal["auto"]
Allocation = Literal["equal", "race"]
Component = Literal["quality", "ease", "data_efficiency", "robustness"]
Preset = Literal["default", "accuracy_only", "few_trials", "few_labels"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What every study may spend. Equal for all, so that the ranking compares equal effort."""

    allocation: Allocation = "equal"
    """``equal`` gives every study all its trials: needed to rank them all. ``race`` looks for the best
    alone: studies that can no longer be it are dropped, and the search ends once it is found."""

    trials: int = 8
    """Configurations per study, in [1, 100000]; in a race the most that one study may take."""

    random_trials: int = 5
    """Of which the first so many are drawn at random and always trained to `max_epochs`; the others
    are suggested by the sampler and may be stopped early. In [0, trials]."""

    max_epochs: int = 3
    """Epochs of a trial that is not stopped, and of a confirmation, in [1, 10000]."""

    grace_epochs: int = 1
    """Epochs before a trial may be stopped, in [1, max_epochs]."""

    reduction_factor: int = 3
    """Of the trials at a rung, one in so many goes on, in [2, 100]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """How the chosen configuration of a study is trained again."""

    seeds: int = 3
    """Fresh training seeds, in [1, 100]. Fewer than 3 give no useful interval."""

    train_fracs: tuple[float, ...] = ()
    """Shares of the training samples, each in (0, 1), on which the configuration is trained as well, with the
    same seeds: the ranking's condition *few labels*. E.g. ``[0.1, 0.3]``; empty leaves it unmeasured."""

    keep_model: bool = True
    """Keep each backbone's tuned network, of its confirmations the one that is best on validation, as a model that
    predicts by itself: in the sweep's folder, in MLflow and for ``export``. It takes as much disk as the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighting:
    """What the ranking's score is made of: the same test metric under four conditions."""

    preset: Preset = "default"
    """``default`` weighs full tuning .6, few trials .2, few labels .1 and perturbed inputs .1;
    ``accuracy_only`` full tuning alone; ``few_trials`` and ``few_labels`` lean to that side."""

    weights: Mapping[Component, float] = field(default_factory=dict)
    """In place of the preset's, each in [0, 1000]: ``quality`` (full tuning), ``ease`` (few trials),
    ``data_efficiency`` (few labels) and ``robustness`` (perturbed inputs). Their sum does not matter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one trial takes, and how many run at a time."""

    cpus_per_trial: int = 1
    """CPU cores, and threads, of one trial, in [1, 1024]."""

    gpus_per_trial: float | Auto = "auto"
    """``auto`` measures the memory of each kind of run and gives it an eighth, a quarter, a half or the whole
    of a GPU; 0 uses none; a fraction below 1 shares one GPU; above that a whole number, at most 64."""

    max_concurrent: int | Auto = "auto"
    """Trials at a time, in [1, 10000]; ``auto`` is as many as fit."""

    max_retries: int = 2
    """How often in a row a run is tried again that broke without completing another epoch, as when its worker
    died, in [0, 10]. What would break again the same way, such as training that diverges, is not tried again."""

    epoch_timeout_s: float | Auto | None = "auto"
    """Seconds that one epoch of a run may take before the run counts as hung and fails, > 0 and at most a year;
    null is no limit. ``auto`` is 6 h up to the end of its first epoch, then 20 times its longest epoch, and at
    least 600 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """Everything a sweep is asked to do: each backbone adapts to each task within the same budget.

    Values are taken as they are; `load_sweep` and `sweep_from_mapping` are what checks them.
    """

    name: str
    """Names the results: a letter, digit or ``_``, then up to 79 of these, ``.`` and ``-``."""

    tasks: tuple[TaskSpec, ...]
    """What to adapt to; names are unique."""

    backbones: tuple[str, ...]
    """What is ranked, as ``source/architecture[@weights]``; unique."""

    space: SearchSpace = field(default_factory=lambda: load_space("default"))
    """What each trial samples: in a file the name of a shipped space, a mapping of parameters, or
    ``base`` with changes."""

    finetune: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(backbone="any"))
    """Holds the values that are not searched; see `finetune_config`. In a file only those, as the
    others are set by the space and by the plan."""

    budget: Budget = field(default_factory=Budget)
    """What every study may spend."""

    confirmation: Confirmation = field(default_factory=Confirmation)
    """How the chosen configuration is trained again."""

    resources: Resources = field(default_factory=Resources)
    """What one trial takes."""

    execution: Execution = field(default_factory=Execution)
    """How trials are computed: the cache of frozen activations, memory and compilation."""

    evaluation: Evaluation | None = field(default_factory=Evaluation)
    """What is measured of confirmations beyond their score; null is nothing."""

    screen: bool = False
    """Before the first trial, score every backbone without training it (LogME, H-score and the like, from its
    frozen features), to be shown beside the ranking. Nothing is chosen or left out by these scores."""

    ranking: Weighting = field(default_factory=Weighting)
    """What the ranking's score is made of; ``rank`` can weigh a finished sweep anew."""

    tracking_uri: str = "auto"
    """Of MLflow: a server or a database; ``auto`` is a SQLite database in `storage`."""

    storage: str = "sweeps"
    """Folder of the results, or ``s3://``, ``gs://`` or ``abfs://``. A leading ``~`` in a file is the
    home folder of whoever loads it."""

    seed: int = 0
    """Of everything drawn: configurations, head weights and sample orders. In [0, 2**31 - 1]."""

    @property
    def fixed(self) -> dict[str, Any]:
        """The fine-tuning values that are not searched, by field name."""
        return {name: getattr(self.finetune, name) for name in SEARCHABLE if name not in self.space.names}

    def finetune_config(
        self, backbone: str, sampled: Mapping[str, Any], *, seed: int, max_epochs: int | None = None
    ) -> FinetuneConfig:
        """The configuration of one run: the fixed values with `sampled` on top.

        Args:
            max_epochs: None is the budget's.

        Raises:
            InvalidConfig: a sampled value is outside its field's range.
        """
        epochs = self.budget.max_epochs if max_epochs is None else max_epochs
        values = {**self.fixed, **sampled}
        return FinetuneConfig(backbone=backbone, seed=seed, max_epochs=epochs, **values)
