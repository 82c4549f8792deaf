"""The score of one study, from that study's own runs alone, and the variance of each kind of luck in it.

Nothing here sees another backbone: adding one to a table, or dropping it, moves nobody's score. Z-scores,
min-max scaling and mean ranks do not have that property.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from orchestrator.ranking.choice import coordinates, even_share
from orchestrator.ranking.confirmed import MIN_CONFIRMATIONS, confirmed
from orchestrator.ranking.curve import random_configurations, replay
from orchestrator.ranking.interval import run_noise
from orchestrator.ranking.runs import Run, Runs, TestResult, collapsed
from orchestrator.ranking.scale import FLOOR, lowest
from orchestrator.ranking.study import Study
from orchestrator.ranking.surface import Array, Surface, fit

__all__ = [
    "MIN_COMPLETED",
    "MIN_CONFIRMATIONS",
    "Estimate",
    "Evidence",
    "estimate",
    "fit_evidence",
    "gather",
    "normalise",
    "validation_noise",
]

MIN_COMPLETED = 3

_DRAWS = 1_000
_CANDIDATES = 128  # random configurations: where draws are searched and random search is replayed


def normalise(value: npt.ArrayLike, chance: float) -> Array:
    """(value - chance) / (1 - chance), clipped below at -0.2: 0 is the best constant answer, 1 is perfect."""
    return np.maximum((np.asarray(value, dtype=np.float64) - chance) / (1.0 - chance), FLOOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a study has to show for its chosen configuration."""

    study: Study  # without what is superseded
    superseded: Runs  # confirmations and reduced runs of a configuration that was chosen before
    chosen: Run | None  # None when no search trial completed
    awaited: Run | None  # chosen on validation by now, and not confirmed yet; None as a rule
    confirmed: tuple[Run, ...]  # confirmations of `chosen` that count
    num_confirmations: int  # measured, collapsed ones included
    num_collapsed: int
    reason: str | None  # why the study cannot be ranked; None where it can

    @property
    def results(self) -> list[TestResult]:
        return [self.study.tests[run.number] for run in self.confirmed]

    @property
    def example_scores(self) -> Array:
        """Of the confirmations that count, shape (r, num_test)."""
        return np.stack([result.example_scores for result in self.results])


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Score of one study. Chance-normalised fractions and variances of those."""

    quality: float
    ease: float
    score: float
    seed_variance: float  # of the score: seeds, and a surface known from few runs
    regret_square: float  # mean square of how much better the backbone could be than what was found
    quality_variance: float  # of the quality alone, as seed_variance


def gather(study: Study) -> Evidence:
    """Find the chosen configuration and the confirmations that count for it."""
    found = confirmed(study.runs)
    study, chosen = replace(study, runs=found.counted), found.chosen
    if chosen is None:
        return Evidence(
            study=study,
            superseded=found.superseded,
            chosen=None,
            awaited=None,
            confirmed=(),
            num_confirmations=0,
            num_collapsed=0,
            reason="no search trial completed",
        )
    measured = [run for run in study.confirmations if run.state == "completed" and run.number in study.tests]
    here = [run for run in measured if run.configuration == chosen.configuration]
    fell = collapsed([study.tests[run.number].score for run in here])
    usable = tuple(run for run, out in zip(here, fell, strict=True) if not out)
    num_completed = len(study.search.scored)
    reasons = []
    if num_completed < MIN_COMPLETED:
        reasons.append(f"{num_completed} completed search trials, at least {MIN_COMPLETED} are needed")
    if len(usable) < MIN_CONFIRMATIONS:
        reasons.append(
            f"{len(usable)} usable confirmations of the chosen configuration "
            f"({len(here)} measured, {int(fell.sum())} collapsed), at least {MIN_CONFIRMATIONS} are needed"
        )
    return Evidence(
        study=study,
        superseded=found.superseded,
        chosen=chosen,
        awaited=found.awaited,
        confirmed=usable,
        num_confirmations=len(here),
        num_collapsed=int(fell.sum()),
        reason="; ".join(reasons) or None,
    )


def estimate(evidence: Evidence, shares: Mapping[str, float], seed: int) -> Estimate:
    """Score a study whose evidence is sufficient (`reason` is None).

    shares: weights of "quality" and "ease" in the score, summing to at most 1; the rest of it belongs to other
    conditions, which a better configuration would raise as it raises quality. The same seed serves every study:
    equal tables give equal scores, and differences between studies carry less Monte-Carlo noise.

    Quality is the posterior mean of the test surface at the chosen configuration, from the confirmations and
    the search trials around it. Ease is the mean of the replayed tuning curve at 1, 2, 4 and 8 random trials.
    Both come from one set of posterior draws, so their covariance is in `seed_variance`.
    """
    study, chosen = evidence.study, evidence.chosen
    assert chosen is not None  # what `reason is None` says, for the type checker
    chance = evidence.results[0].chance
    here = coordinates([chosen])
    surface = fit_evidence(evidence)
    tried = coordinates(even_share(study.search.scored))
    drawn = study.search.at(study.search.among("phase", ["random"])) or study.search
    candidates = random_configurations(even_share(drawn), _CANDIDATES, np.random.default_rng([seed, 2]))
    rng = np.random.default_rng([seed, 3])
    draws, seed_sds = surface.draw(np.vstack([here, tried, candidates]), _DRAWS, rng)

    at_chosen = draws[:, 0]
    regret = (1.0 - shares["ease"]) * (draws.max(axis=1) - at_chosen) / (1.0 - chance)
    curve = replay(draws[:, 1 + len(tried) :], seed_sds, validation_noise(evidence), rng)
    ease_draws = normalise(curve, chance).mean(axis=1)
    quality_draws = normalise(at_chosen, chance)
    score_draws = shares["quality"] * quality_draws + shares["ease"] * ease_draws

    quality = float(normalise(surface.mean(here)[0], chance))
    ease = float(ease_draws.mean())
    return Estimate(
        quality=quality,
        ease=ease,
        score=shares["quality"] * quality + shares["ease"] * ease,
        seed_variance=float(np.var(score_draws)),
        regret_square=float(np.mean(regret**2)),
        quality_variance=float(np.var(quality_draws)),
    )


def fit_evidence(evidence: Evidence) -> Surface:
    """The surface of test scores of a study whose evidence is sufficient."""
    runs, scores = _pooled(evidence)
    examples = evidence.example_scores
    noise = run_noise(examples) / examples.shape[1]
    return fit(coordinates(runs), scores, noise, lowest(evidence.results[0].metric))


def validation_noise(evidence: Evidence) -> float:
    """Variance that the finite validation set adds to one run's score, 0 where its size is unknown."""
    sizes = evidence.study.runs.numbers_in("num_val")
    known = sizes[sizes > 0]
    return run_noise(evidence.example_scores) / float(known[0]) if len(known) else 0.0


def _pooled(evidence: Evidence) -> tuple[list[Run], Array]:
    """Runs and test scores that the test surface is fitted to.

    The completed search trials (of very many an even share) and the confirmations that did not collapse. Where a
    trial has no test score its validation score stands in, shifted by the study's own median difference between
    the two sets.
    """
    study = evidence.study
    runs = [*even_share(study.search.scored), *evidence.confirmed]
    both = [
        study.tests.score(run.number) - run.val_score
        for run in runs
        if run.number in study.tests and run.val_score is not None
    ]
    shift = float(np.median(both)) if both else None
    kept: list[Run] = []
    scores: list[float] = []
    for run in runs:
        if run.number in study.tests:
            kept.append(run)
            scores.append(study.tests.score(run.number))
        elif shift is not None and run.val_score is not None:
            kept.append(run)
            scores.append(min(run.val_score + shift, 1.0))  # no metric is above 1
    return kept, np.array(scores, dtype=np.float64)
