"""Suggestions that follow a draw of the study's response surface: the search of a race."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from orchestrator.ranking.race import propose
from orchestrator.ranking.study import Run
from orchestrator.ranking.surface import embed
from orchestrator.workers.request import tuned_blocks
from trainables.config import FinetuneConfig

__all__ = ["ThompsonSampler"]

NUM_CANDIDATES: Final = 128


class ThompsonSampler(BaseSampler):
    """Of random configurations, the one that is best on a draw of the surface, of which a race decides.

    TPE's trials are where it believes good ones to be; those of a race are to tell how good the backbone can
    be, so they go where the maximum may lie by the very posterior that its probabilities come from. Trials
    that run in parallel differ as they follow different draws.

    Args:
        runs: the study's trials so far; without a completed one the suggestion is random.
        sample: draws a configuration of the study's space.
        num_blocks: of the backbone.
        seed: of the candidates and of the draw, >= 0.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        sample: Callable[[optuna.Trial], FinetuneConfig],
        num_blocks: int,
        *,
        seed: int,
    ) -> None:
        study = optuna.create_study(sampler=RandomSampler(seed=seed))
        trials = [study.ask() for _ in range(NUM_CANDIDATES if any(run.scored for run in runs) else 1)]
        configs = [sample(trial) for trial in trials]
        chosen = 0
        if len(configs) > 1:
            windows = np.array([tuned_blocks(config, num_blocks) for config in configs], dtype=np.float64)
            is_tuned = windows[:, 0] < num_blocks
            candidates = embed(
                windows[:, 0] / num_blocks,
                [config.learning_rate if tuned else None for config, tuned in zip(configs, is_tuned, strict=True)],
                [config.head_learning_rate for config in configs],
                windows[:, 1] / num_blocks,
            )
            chosen = propose(runs, candidates, np.random.default_rng(seed))
        self._params = trials[chosen].params

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Empty: what is asked for depends on what was drawn before, and all of it is known."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The chosen candidate's value."""
        return self._params[param_name]
