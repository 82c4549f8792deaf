"""Who may still be the best of a race, from validation scores alone, and where to look next.

What a backbone can reach is the maximum of its surface, so its posterior is that of a maximum: wide above
where little was tried, and narrow once the top has been found. To it comes what no trial can reduce: the
validation set is finite, and a score on it is off by the same amount however often it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.ranking.choice import coordinates
from orchestrator.ranking.curve import random_configurations
from orchestrator.ranking.scale import lowest
from orchestrator.ranking.study import Run
from orchestrator.ranking.surface import Array, Surface, fit

__all__ = ["Reach", "Standing", "propose", "reach", "standing"]

_DRAWS = 1_000
_CANDIDATES = 128  # random configurations: where the maximum of a draw is looked for, beside those tried
_KNOWN = 200  # surfaces that are taken to be known exactly
_THOMPSON = 64  # draws of which one is followed: a single one would always come from the likeliest kernel
_PAIRED = 0.25
"""Share of a score's sampling variance that is a backbone's own: two of them fail on the same hard examples.
Between confirmations of pretrained image backbones on photographs it was 0.16 to 0.28. The answers to single
validation examples are not recorded, so it is assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far the studies of a race are told apart. Probabilities are over surfaces and validation sets."""

    p_best: Mapping[str, float]
    """Study -> probability that it is the best; they sum to 1."""

    leader: str
    """The study most likely to be within `eps` of the best."""

    p_leader: float
    """That it is."""

    p_undecidable: float
    """That `p_leader` would fall short even with every surface known exactly: the validation set is too small."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a study's backbone may reach: the maximum of its surface on this validation set."""

    tops: Array
    """Posterior draws of it, (draws,), in the metric's unit."""

    error_sd: float
    """Of the difference that another validation set would make, as far as it is the backbone's own."""


def reach(runs: Sequence[Run], seed: Sequence[int]) -> Reach:
    """What the search trials of one study say of it; at least one is completed with a score."""
    rng = np.random.default_rng(seed)
    surface, tried = _fitted(runs)
    draws, _ = surface.draw(np.vstack([tried, random_configurations(runs, _CANDIDATES, rng)]), _DRAWS, rng)
    tops: Array = draws.max(axis=1)
    return Reach(tops, _error_sd(runs, float(tops.mean())))


def standing(reaches: Mapping[str, Reach], *, eps: float, confidence: float, seed: int) -> Standing:
    """Where the studies that are still in the race stand.

    Args:
        reaches: of each, at least one.
        eps: differences below it do not matter, > 0, in the metric's unit.
        confidence: what `p_undecidable` asks of `p_leader`, in (0.5, 1).
        seed: of the draws, >= 0; equal inputs give equal standings.
    """
    names = sorted(reaches)
    tops = np.column_stack([reaches[name].tops for name in names])
    error_sds = np.array([reaches[name].error_sd for name in names])
    rng = np.random.default_rng([seed, 6])
    errors = error_sds * rng.standard_normal(tops.shape)
    good = _good(tops + errors, eps)
    leader = int(np.argmax(good.mean(axis=0)))
    known = tops[:: _DRAWS // _KNOWN, None, :] + errors[: _DRAWS // 2]
    decided = _good(known, eps).mean(axis=1).max(axis=1)
    best = np.argmax(tops + errors, axis=1)
    return Standing(
        p_best=dict(zip(names, (np.bincount(best, minlength=len(names)) / _DRAWS).tolist(), strict=True)),
        leader=names[leader],
        p_leader=float(good.mean(axis=0)[leader]),
        p_undecidable=float(np.mean(decided < confidence)),
    )


def propose(runs: Sequence[Run], candidates: Array, rng: np.random.Generator) -> int:
    """Thompson sampling: the index of the candidate that is best on one draw of the study's surface.

    Args:
        runs: the study's search trials, at least one of them completed with a score.
        candidates: configurations to choose from, (m, 5), from `embed`.
    """
    surface, _ = _fitted(runs)
    draws, _ = surface.draw(candidates, _THOMPSON, rng)
    return int(np.argmax(draws[rng.integers(_THOMPSON)]))


def _fitted(runs: Sequence[Run]) -> tuple[Surface, Array]:
    scored = [run for run in runs if run.scored]
    tried = coordinates(scored)
    scores = np.array([run.val_score for run in scored], dtype=np.float64)
    return fit(tried, scores, low=lowest(scored[0].metric)), tried


def _good(scores: Array, eps: float) -> npt.NDArray[np.bool_]:
    """Which are within `eps` of the best, along the last axis."""
    within: npt.NDArray[np.bool_] = scores >= scores.max(axis=-1, keepdims=True) - eps
    return within


def _error_sd(runs: Sequence[Run], score: float) -> float:
    """Of a score, from having drawn this validation set; what all backbones share is left out."""
    scored = next(run for run in runs if run.scored)
    if not scored.num_val:
        return 0.0
    if scored.metric == "r2":
        variance = 2.0 * (1.0 - min(score, 1.0)) ** 2  # of normal residuals
    else:
        level = min(max(score, 0.02), 0.98)  # a perfect score keeps a variance
        variance = level * (1.0 - level)
    return math.sqrt(_PAIRED * variance / scored.num_val)
