"""The score under four conditions of use: full tuning, few trials, little data, perturbed inputs.

Every condition is the same chance-normalised test score under another stress, so that their weighted mean has
one unit. What one backbone lacks is in nobody's score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.ranking.interval import Array, examples_bound, nearest_psd, paired_covariance, run_noise
from orchestrator.ranking.options import COMPONENTS
from orchestrator.ranking.scale import lowest
from orchestrator.ranking.score import MIN_CONFIRMATIONS, Estimate, Evidence, estimate, normalise
from orchestrator.ranking.study import TestResult, collapsed

__all__ = ["Measured", "Scored", "joint_examples", "measured", "score_under"]

_PRIOR_RUNS = 2.0  # how many runs the expected spread between seeds counts for beside those that were made
_PRIOR_SD = 0.006  # of a score between seeds, as the surface's prior has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Which conditions can be in the score of a task."""

    components: tuple[str, ...]
    """Those of COMPONENTS that every backbone has."""
    train_fracs: tuple[float, ...]
    """Shares of the training set below 1 that every backbone has, rising."""
    lacking: Mapping[str, tuple[str, ...]]
    """Of each other component that some backbone has: those that lack it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Test results of one condition, and what they weigh in the score."""

    weight: float
    metric: str
    score: float  # metric's unit
    means: Array  # of each example, metric's unit
    noise: float  # variance that the runs put into each example's mean
    seed_variance: float  # of `score`


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """One study under all conditions. Chance-normalised fractions and variances of those."""

    evidence: Evidence
    quality: float
    ease: float
    data_efficiency: float | None
    robustness: float | None
    score: float
    seed_variance: float
    regret_square: float
    quality_variance: float  # of one component: seeds and test set
    data_efficiency_variance: float | None
    robustness_variance: float | None
    clean: tuple[_Part, ...]
    perturbed: tuple[_Part, ...]

    def components(self) -> dict[str, float]:
        """By name; what was not measured counts nothing."""
        values = (self.quality, self.ease, self.data_efficiency, self.robustness)
        return {name: value or 0.0 for name, value in zip(COMPONENTS, values, strict=True)}


def measured(evidence: Sequence[Evidence]) -> Measured:
    """What all of these studies have, each with enough evidence to be ranked."""
    fracs = [set(_reduced(item)) for item in evidence]
    common = tuple(sorted(set.intersection(*fracs))) if fracs else ()
    robust = [_perturbed(item) is not None for item in evidence]
    has = {
        "data_efficiency": [bool(common) or bool(own) for own in fracs],
        "robustness": robust,
    }
    for_all = {"data_efficiency": bool(common), "robustness": bool(robust) and all(robust)}
    lacking = {}
    for name, having in has.items():
        if any(having) and not for_all[name]:
            everyone = [item.study.backbone for item in evidence]
            without = [backbone for backbone, there in zip(everyone, having, strict=True) if not there]
            lacking[name] = tuple(without or everyone)  # all have some, and none in common
    names = tuple(name for name in COMPONENTS if for_all.get(name, True))
    return Measured(components=names, train_fracs=common, lacking=lacking)


def score_under(evidence: Evidence, shares: Mapping[str, float], train_fracs: Sequence[float], seed: int) -> Scored:
    """Score one study from its own runs alone.

    shares: of every component, summing to 1; above 0 only for what this study has. train_fracs: the shares of
    the training set that data efficiency is the mean over, beside the whole.

    The whole training set's part of data efficiency is the quality itself: the same runs, and the surface knows
    more of them than their plain mean.

    Seeds: quality and ease come from one set of draws. Confirmations are measured clean and perturbed, and how a
    lucky seed shows in both is too much to ask of three of them: it is taken to show in full, which errs on the
    wide side. Reduced runs are runs of their own.
    """
    chance = evidence.results[0].chance
    unit = 1.0 - chance
    of_each = shares["data_efficiency"] / (1 + len(train_fracs))
    loads = {"quality": shares["quality"] + of_each, "ease": shares["ease"]}
    value = estimate(evidence, loads, seed)
    spread = _spread([result.score for result in evidence.results], _PRIOR_SD**2)
    reduced = _reduced(evidence)
    # With less data seeds differ more; the variance is expected to grow as the data shrinks.
    parts = [_part(reduced[frac], of_each, spread / frac) for frac in train_fracs]
    under = _perturbed(evidence)
    hurt = None if under is None else _part(under, shares["robustness"], spread)
    whole = _part(evidence.results, loads["quality"] + loads["ease"], spread)

    levels = [float(normalise(part.score, chance)) for part in parts]
    sum_variance = value.quality_variance + sum(part.seed_variance for part in parts) / unit**2
    sum_variance += _own_variance([whole, *parts]) / unit**2
    robustness = None if hurt is None else float(normalise(hurt.score, chance))
    return Scored(
        evidence=evidence,
        quality=value.quality,
        ease=value.ease,
        data_efficiency=float(np.mean([value.quality, *levels])) if levels else None,
        robustness=robustness,
        score=value.score + of_each * sum(levels) + shares["robustness"] * (robustness or 0.0),
        seed_variance=_seed_variance(value, parts, hurt, unit),
        regret_square=value.regret_square,
        quality_variance=value.quality_variance + _own_variance([whole]) / unit**2,
        data_efficiency_variance=sum_variance / (1 + len(levels)) ** 2 if levels else None,
        robustness_variance=None if hurt is None else (hurt.seed_variance + _own_variance([hurt])) / unit**2,
        clean=(whole, *parts),
        perturbed=() if hurt is None else (hurt,),
    )


def joint_examples(scored: Sequence[Scored]) -> tuple[Array, Array]:
    """The finite test set's part of the variance of K scores: each study's own (K,), and jointly (K, K).

    Clean examples are paired over backbones and over conditions: what an example adds to the score is the
    weighted sum of its results. Perturbed samples are some of the test set's, and which ones is not recorded.
    For any two errors x and y, however dependent, Cov(x + y) <= (1 + t) Cov(x) + (1 + 1/t) Cov(y) for every
    t > 0, in the order of positive semidefinite matrices, so that no comparison of backbones is claimed too
    sharply; t is where the sum of the variances is least. Perturbed samples are still paired with each other.
    """
    if not scored:
        return np.zeros(0), np.zeros((0, 0))
    clean = _covariance([item.clean for item in scored])
    hurt = _covariance([item.perturbed for item in scored])
    own = (np.sqrt(np.diag(clean)) + np.sqrt(np.diag(hurt))) ** 2
    size, other = float(np.trace(clean)), float(np.trace(hurt))
    joint = clean + hurt
    if size > 0 and other > 0:
        t = math.sqrt(other / size)
        joint = (1 + t) * clean + (1 + 1 / t) * hurt
    unit = (1.0 - scored[0].evidence.results[0].chance) ** 2
    return own / unit, nearest_psd(joint / unit)


def _own_variance(parts: Sequence[_Part]) -> float:
    """Of the plain sum of one backbone's parts."""
    return float(_covariance([[replace(part, weight=1.0) for part in parts]])[0, 0])


def _covariance(parts: Sequence[Sequence[_Part]]) -> Array:
    """Of the weighted sums over parts from the finite test set, in the metric's unit: shape (K, K)."""
    weighted = [[part for part in of_one if part.weight > 0] for of_one in parts]
    if not all(weighted):  # a weight is everybody's, so it is nobody who has one
        return np.zeros((len(parts), len(parts)))
    if weighted[0][0].metric == "f1_macro":
        sds = [sum(part.weight * math.sqrt(_bound(part)) for part in of_one) for of_one in weighted]
        return np.diag(np.square(sds))
    means = np.stack([np.sum([part.weight * part.means for part in of_one], axis=0) for of_one in weighted])
    noise = np.array([sum(part.weight**2 * part.noise for part in of_one) for of_one in weighted])
    return paired_covariance(means, noise)


def _bound(part: _Part) -> float:
    return float(examples_bound(np.array([part.score]), part.means.size)[0, 0])


def _part(results: Sequence[TestResult], weight: float, expected: float) -> _Part:
    scores = [result.score for result in results]
    examples = np.stack([result.example_scores for result in results])
    noise = run_noise(examples) if len(examples) > 1 else 0.0
    variance = max(_spread(scores, expected), noise / examples.shape[1])
    return _Part(
        weight=weight,
        metric=results[0].metric,
        score=float(np.mean(scores)),
        means=examples.mean(axis=0),
        noise=noise / len(examples),
        seed_variance=variance / len(scores),
    )


def _spread(scores: Sequence[float], expected: float) -> float:
    """Variance between seeds, from few of them and from what is expected."""
    squares = float(np.sum((np.asarray(scores) - np.mean(scores)) ** 2))
    return (_PRIOR_RUNS * expected + squares) / (_PRIOR_RUNS + len(scores) - 1)


def _seed_variance(value: Estimate, parts: Sequence[_Part], hurt: _Part | None, unit: float) -> float:
    shared = math.sqrt(value.seed_variance)
    if hurt is not None:
        shared += hurt.weight * math.sqrt(hurt.seed_variance) / unit
    return float(shared**2 + sum(part.weight**2 * part.seed_variance for part in parts) / unit**2)


def _reduced(evidence: Evidence) -> dict[float, list[TestResult]]:
    """Share of the training set -> tested runs of the chosen configuration on it that did not collapse."""
    study, chosen = evidence.study, evidence.chosen
    found: dict[float, list[TestResult]] = {}
    for run in study.reduced:
        ended = run.state == "completed" and run.number in study.tests
        if ended and chosen is not None and run.configuration == chosen.configuration:
            found.setdefault(round(run.train_frac, 9), []).append(study.tests[run.number])
    for frac, results in found.items():
        fell = collapsed([result.score for result in results])
        found[frac] = [_counted(result) for result, out in zip(results, fell, strict=True) if not out]
    return found


def _counted(result: TestResult) -> TestResult:
    """The result; one below the least score that counts is that score, and its examples say no more than that.

    As on the surface: an R2 of minus thousands would make every interval as wide.
    """
    least = lowest(result.metric)
    if result.score >= least:
        return result
    return replace(result, score=least, example_scores=np.full_like(result.example_scores, least))


def _perturbed(evidence: Evidence) -> list[TestResult] | None:
    """The confirmations as they scored on perturbed samples; None where fewer than two were measured so."""
    found = [
        _counted(replace(result, score=result.perturbed_score, example_scores=result.perturbed_example_scores))
        for result in evidence.results
        if result.perturbed_score is not None and result.perturbed_example_scores is not None
    ]
    return found if len(found) >= MIN_CONFIRMATIONS else None
