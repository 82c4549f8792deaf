"""How much each searched parameter mattered, beside one that cannot have mattered.

Importances of a few dozen trials are mostly noise: a parameter that does nothing outranks one that does in 12 to
35 of 100 studies of 24 to 48 trials. So there is no importance here without that of a dummy: a random number that
no trial ever saw.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import optuna
import pyarrow as pa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.ranking.study import REPEATS

__all__ = ["MIN_TRIALS", "Importance", "importances"]

MIN_TRIALS: Final = 12
"""With fewer completed trials nothing is said: their best tenth is one trial."""

_DUMMIES: Final = tuple(f"dummy {index}" for index in range(20))
_DUMMIES_ABOVE: Final = 0.05  # share of dummies that may matter as much as a parameter of which something is known
_LOGARITHMIC: Final = ("learning_rate", "head_learning_rate", "weight_decay", "layer_decay", "stay_near")
_CATEGORIES: Final = ("head_init", "batch_size")
_PARAMETERS: Final = ("freeze_frac", *_LOGARITHMIC, *_CATEGORIES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """PED-ANOVA's share of one parameter, and of the dummies in its place."""

    task: str
    backbone: str
    parameter: str
    """A column of TRIALS."""
    importance: float
    """In [0, 1]; those of a study and `dummy_mean` sum to 1."""
    dummy_mean: float
    """Of a parameter that no trial ever saw: the mean over twenty of them."""
    p_dummy: float
    """Share of the dummies that matter as much or more."""
    num_trials: int
    """Completed search trials that it was computed from."""

    @property
    def is_shown(self) -> bool:
        """Whether it is more than what a dummy may have."""
        return self.p_dummy <= _DUMMIES_ABOVE


def importances(trials: pa.Table, *, seed: int = 0) -> list[Importance]:
    """PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv:2304.10255) of each study, with a dummy as control.

    By validation score of completed search trials. A linear probe has no learning rate, which PED-ANOVA allows
    for (Conditional PED-ANOVA, arXiv:2601.20800). Parameters that a study did not vary are left out, and
    so are studies with fewer than MIN_TRIALS completed trials.

    Args:
        trials: columns of TRIALS, any number of studies.
        seed: of the dummies.
    """
    by_study: dict[str, list[dict[str, Any]]] = {}
    for row in trials.to_pylist():
        if row["phase"] not in REPEATS and row["state"] == "completed" and row["val_score"] is not None:
            by_study.setdefault(row["study"], []).append(row)
    found = []
    for name in sorted(by_study):
        if len(by_study[name]) >= MIN_TRIALS:
            found += _of_study(sorted(by_study[name], key=lambda row: int(row["number"])), seed)
    return found


def _of_study(rows: list[dict[str, Any]], seed: int) -> list[Importance]:
    space = {name: kind for name in _PARAMETERS if (kind := _distribution(name, rows)) is not None}
    if not space:
        return []
    values = np.random.default_rng(seed).uniform(size=(len(rows), len(_DUMMIES)))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study it makes
    study = optuna.create_study(storage=InMemoryStorage(), direction="maximize")
    study.add_trials([_trial(row, space, of_row) for row, of_row in zip(rows, values, strict=True)])
    with warnings.catch_warnings():
        # With few probes among the trials it warns of inaccuracy, which the dummies put a number to.
        warnings.filterwarnings("ignore", message="Some regimes for parameter", category=UserWarning)
        # All trials scored the same: everything then matters as much as a dummy, which is what is said.
        warnings.filterwarnings("ignore", message="Target and region quantiles", category=UserWarning)
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=[*space, *_DUMMIES])
    dummies = np.array([found[name] for name in _DUMMIES])
    total = sum(found[name] for name in space) + float(dummies.mean())
    return [
        Importance(
            task=rows[0]["task"],
            backbone=rows[0]["backbone"],
            parameter=name,
            importance=found[name] / total,
            dummy_mean=float(dummies.mean()) / total,
            p_dummy=float(np.mean(dummies >= found[name])),
            num_trials=len(rows),
        )
        for name in space
    ]


def _trial(row: Mapping[str, Any], space: Mapping[str, BaseDistribution], dummies: Iterable[float]) -> FrozenTrial:
    params = {name: row[name] for name in space if row[name] is not None}
    kinds = {name: space[name] for name in params}
    return create_trial(
        state=TrialState.COMPLETE,
        value=row["val_score"],
        params={**params, **dict(zip(_DUMMIES, map(float, dummies), strict=True))},
        distributions={**kinds, **dict.fromkeys(_DUMMIES, FloatDistribution(0.0, 1.0))},
    )


def _distribution(name: str, rows: list[dict[str, Any]]) -> BaseDistribution | None:
    """The range that a parameter was searched in, as its values show it; None where it was not."""
    values = [row[name] for row in rows if row[name] is not None]
    if len(set(values)) < 2:
        return None
    if name in _CATEGORIES:
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(values), max(values)
    logarithmic = name in _LOGARITHMIC and low > 0 and math.isfinite(high)
    return FloatDistribution(low, high, log=logarithmic)
