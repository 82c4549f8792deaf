"""What the numbers of one task say, in plain words, and what would have to change to say more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LIMITS", "Variances", "Verdict", "binding_limit", "needed_num_test", "sentences"]

Array = npt.NDArray[np.float64]

LIMITS = ("seeds", "test set", "unfinished tuning")
_MOST_EXAMPLES = 10_000_000  # beyond this, "a larger test set" is no advice


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome of one task. Scores and gaps are fractions; only `sentences` speaks of points."""

    task: str
    leaders: tuple[str, ...]
    """Backbones that may be best (rank_low 1, attainable), by score. Empty when nothing could be ranked."""
    sentences: tuple[str, ...]
    """The outcome for a reader who knows no statistics."""
    limit: str | None
    """Largest part of the top pair's variance (a single backbone's own), one of LIMITS; None without any."""
    min_detectable_gap: float | None
    """Difference of scores that a typical pair would need to be told apart; None with fewer than two."""
    num_test_needed: int | None
    """Test examples to tell the top pair apart if its difference is real and all else stays.

    None when it is told apart already, or when no test set suffices.
    """
    measured: tuple[str, ...]
    """Components in the score, with a weight above zero."""
    unmeasured: tuple[str, ...]
    """Weighted components nobody measured; their weight went to the rest, for all backbones alike."""
    budget: tuple[tuple[str, int], ...]
    """(backbone, number of search trials) of every study, by name."""
    equal_budget: bool
    """Whether those numbers are all the same. If not, scores compare budgets as well as backbones."""
    insufficient: tuple[str, ...]
    """Backbones without a rank, by name."""
    dropped: tuple[str, ...] = ()
    """Backbones that a race dropped, by name."""
    race: str | None = None
    """How the race ended; None where there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variances:
    """The parts of a difference's variance (or of a score's), in score units squared."""

    seeds: float
    examples: float
    tuning: float

    @property
    def total(self) -> float:
        return self.seeds + self.examples + self.tuning


def binding_limit(parts: Variances) -> str:
    """Which of LIMITS contributes most; the first of equals."""
    return LIMITS[int(np.argmax([parts.seeds, parts.examples, parts.tuning]))]


def needed_num_test(difference: float, parts: Variances, critical: float, num_test: int) -> int | None:
    """Size of test set at which |difference| would reach `critical` standard errors.

    Only the examples' part shrinks with it, as 1 / num_test. None when the pair is told apart already, or
    when the rest of the variance alone is too much.
    """
    room = (difference / critical) ** 2 - parts.seeds - parts.tuning if critical > 0 else 0.0
    if critical <= 0 or difference**2 > critical**2 * parts.total or room <= 0:
        return None
    needed = math.ceil(num_test * parts.examples / room)
    return needed if needed <= _MOST_EXAMPLES else None


def sentences(
    *,
    ranked: Sequence[str],
    tied: Sequence[str],
    verdict: Verdict,
    confidence: float,
    num_test: int | None,
) -> tuple[str, ...]:
    """The words for a verdict otherwise filled. ranked: names by score; tied: those tied with the first."""
    lines = [verdict.race] if verdict.race else []
    if not ranked:
        lines.append("No backbone has enough finished runs to be ranked.")
    elif len(ranked) == 1:
        lines.append(
            f"{ranked[0]} alone was left to be confirmed."
            if verdict.dropped
            else f"Only {ranked[0]} has enough finished runs: there is nothing to compare it with."
        )
    elif len(verdict.leaders) == 1:
        lines.append(f"{ranked[0]} is the best of {len(ranked)} backbones at {confidence:.0%} confidence.")
    else:
        lines.append(
            f"{ranked[0]} scores highest, but {_listed(verdict.leaders)} cannot be told apart as the best "
            f"at {confidence:.0%} confidence."
        )
    if len(ranked) > 1 and verdict.min_detectable_gap is not None:
        lines.append(
            f"Two backbones would have to differ by about {100 * verdict.min_detectable_gap:.1f} points "
            "for this data to tell them apart."
        )
    if len(ranked) > 1 and tied:
        lines.append(_advice(verdict, num_test))
    if verdict.unmeasured:
        done = "compared" if verdict.race else "measured"
        lines.append(
            f"Not {done}: {_listed(verdict.unmeasured)}. The score is made of {_listed(verdict.measured)} alone."
        )
    if verdict.dropped:
        lines.append(f"Dropped, so at any place but the first: {_listed(verdict.dropped)}.")
    if not verdict.equal_budget and not verdict.race:
        counts = [count for _, count in verdict.budget]
        lines.append(f"Budgets differ ({min(counts)} to {max(counts)} trials): a low score may only mean few trials.")
    if verdict.insufficient:
        lines.append(f"Without a rank: {_listed(verdict.insufficient)}.")
    return tuple(lines)


def _advice(verdict: Verdict, num_test: int | None) -> str:
    if verdict.limit == "seeds":
        line = "The top two are held together by luck of the seeds: more confirmations would help."
    elif verdict.limit == "unfinished tuning":
        line = "The top two are held together by unfinished tuning: more trials would help."
    else:
        line = f"The top two are held together by the test set ({num_test} examples): more seeds hardly help."
    if verdict.num_test_needed is not None:
        line += f" If their difference is real, about {verdict.num_test_needed} test examples would show it."
    return line


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
