"""What the numbers of one task say, in plain words, and what would have to change to say more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.ranking.claims import Claims, TaskScores
from orchestrator.ranking.interval import Array
from orchestrator.ranking.purchase import Bought, Prices, price

__all__ = ["LIMITS", "Facts", "Verdict", "judge", "listed"]

LIMITS = ("seeds", "test set", "unfinished tuning")
_STABLE = 0.9  # a first place under so many of the weights around is not owed to the weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome of one task. Scores and gaps are fractions; only `sentences` speaks of points."""

    task: str
    leaders: tuple[str, ...]
    """Backbones that may be best (rank_low 1, attainable), by score. Empty when nothing could be ranked."""
    sentences: tuple[str, ...]
    """The outcome for a reader who knows no statistics."""
    top_pair_apart: bool
    """Whether the first is told apart from the second. Others may still share the first place with it."""
    limit: str | None
    """Largest part of the top pair's variance (a single backbone's own), one of LIMITS; None without any."""
    min_detectable_gap: float | None
    """Difference of scores that a typical pair would need to be told apart; None with fewer than two."""
    num_test_needed: int | None
    """Test examples to tell the top pair apart if its difference is real and all else stays.

    None when it is told apart already, or when no test set suffices.
    """
    num_seeds_needed: int | None
    """The same in confirmations per backbone."""
    num_trials_needed: int | None
    """The same in search trials per backbone, supposing that what is left to find falls as 1 / trials."""
    times_needed: float | None
    """The same in how many times all three; None where one of them alone suffices."""
    measured: tuple[str, ...]
    """Components in the score, with a weight above zero."""
    train_fracs: tuple[float, ...]
    """Shares of the training set that data efficiency is the mean over, beside the whole; empty without it."""
    unmeasured: tuple[str, ...]
    """Weighted components that not everybody has; their weight went to the rest, for all backbones alike."""
    lacking: Mapping[str, tuple[str, ...]]
    """Of unmeasured components that some backbone has: those that lack it."""
    weight_stability: float | None
    """Share of the weights around those used under which the first stays first; None without anyone ranked."""
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
class Facts:
    """What a verdict is made of, of one task."""

    scores: TaskScores
    claims: Claims | None
    """None where nothing but the order is known, or nobody is ranked."""
    bought: Bought | None
    """Of the top two."""
    stability: Array
    measured: tuple[str, ...]
    unmeasured: tuple[str, ...]
    lacking: Mapping[str, tuple[str, ...]]
    train_fracs: tuple[float, ...]
    budget: tuple[tuple[str, int], ...]
    insufficient: Mapping[str, str]
    """Backbones without a rank, and why, by name."""
    dropped: tuple[str, ...]
    race: str | None
    confidence: float
    notes: tuple[str, ...]
    """What else the reader must know, in sentences."""

    @property
    def names(self) -> tuple[str, ...]:
        """Ranked backbones, by score."""
        return self.scores.backbones


def judge(facts: Facts) -> Verdict:
    """The outcome in numbers and in words."""
    leaders: tuple[str, ...] = ()
    gap: float | None = None
    limit: str | None = None
    apart = False
    prices = Prices()
    if facts.claims is not None:
        attainable, parts = facts.claims.attainable, facts.claims.top_variances()
        leaders = tuple(name for name, low in zip(facts.names, attainable.low, strict=True) if low == 1)
        limit = LIMITS[int(np.argmax([parts.seeds, parts.examples, parts.tuning]))]
        if len(facts.names) > 1:
            apart = bool(attainable.better[0, 1])
            gap = attainable.critical * float(np.median(attainable.sd[np.triu_indices(len(facts.names), 1)]))
            if facts.bought is not None and not apart:
                difference = float(facts.scores.scores[0] - facts.scores.scores[1])
                prices = price(difference, parts, attainable.critical, facts.bought)
    verdict = Verdict(
        task=facts.scores.task,
        leaders=leaders,
        sentences=(),
        top_pair_apart=apart,
        limit=limit,
        min_detectable_gap=gap,
        num_test_needed=prices.num_test,
        num_seeds_needed=prices.num_seeds,
        num_trials_needed=prices.num_trials,
        times_needed=prices.times,
        measured=facts.measured,
        train_fracs=facts.train_fracs,
        unmeasured=facts.unmeasured,
        lacking=dict(facts.lacking),
        weight_stability=float(facts.stability[0]) if len(facts.stability) else None,
        budget=facts.budget,
        equal_budget=len({count for _, count in facts.budget}) <= 1,
        insufficient=tuple(facts.insufficient),
        dropped=facts.dropped,
        race=facts.race,
    )
    words = [facts.race] if facts.race else []
    words += [*_outcome(facts, verdict), *_limits(facts, verdict), *_reservations(facts, verdict), *facts.notes]
    return replace(verdict, sentences=tuple(words))


def _outcome(facts: Facts, verdict: Verdict) -> Iterator[str]:
    names = facts.names
    if not names:
        yield "No backbone has enough finished runs to be ranked."
    elif len(names) == 1:
        yield (
            f"{names[0]} alone was left to be confirmed."
            if verdict.dropped
            else f"Only {names[0]} has enough finished runs: there is nothing to compare it with."
        )
    elif facts.claims is None:
        yield f"{names[0]} scores highest of {len(names)} backbones."
    elif len(verdict.leaders) == 1:
        yield f"{names[0]} is the best of {len(names)} backbones at {facts.confidence:.0%} confidence."
    else:
        found = facts.claims.found
        if not found.better.any():
            yield f"Too little was measured to tell any of the {len(names)} backbones apart: their order is a guess."
        elif not facts.claims.attainable.better.any():
            first = [name for name, low in zip(names, found.low, strict=True) if low == 1]
            yield f"Too little was tuned to tell any of the {len(names)} backbones apart."
            whose = "that" if len(first) == 1 else "those"
            yield f"Of the configurations that were found, {whose} of {listed(first)} may be the best."
        yield (
            f"{names[0]} scores highest, but {listed(verdict.leaders)} cannot be told apart as the best "
            f"at {facts.confidence:.0%} confidence."
        )


def _limits(facts: Facts, verdict: Verdict) -> Iterator[str]:
    """How much could be told apart, and what would tell more."""
    if verdict.min_detectable_gap is not None:
        yield (
            f"Two backbones would have to differ by about {100 * verdict.min_detectable_gap:.1f} points "
            "for this data to tell them apart."
        )
    if facts.claims is None or facts.bought is None or len(facts.names) < 2 or verdict.top_pair_apart:
        return
    if verdict.limit == "seeds":
        yield "The top two are held together by luck of the seeds: more confirmations would help."
    elif verdict.limit == "unfinished tuning":
        yield "The top two are held together by unfinished tuning: more trials would help."
    else:
        yield (
            f"The top two are held together by the test set ({facts.bought.num_test} examples): more seeds hardly help."
        )
    ways = [
        f"{count} {what}"
        for count, what in (
            (verdict.num_test_needed, "test examples"),
            (verdict.num_seeds_needed, "confirmations each"),
            (verdict.num_trials_needed, "trials each"),
        )
        if count is not None
    ]
    if ways:
        yield f"If their difference is real, about {' or '.join(ways)} would show it."
    elif verdict.times_needed is not None:
        all_of = ["test examples", "confirmations", *(["trials"] if facts.bought.num_trials else [])]
        yield (
            f"If their difference is real, it takes about {verdict.times_needed:.1f} times the {listed(all_of)} "
            "together to show it: none of them suffices alone."
        )


def _reservations(facts: Facts, verdict: Verdict) -> Iterator[str]:
    if verdict.weight_stability is not None and verdict.weight_stability < _STABLE:
        order = sorted(range(len(facts.names)), key=lambda index: -facts.stability[index])[:3]
        shares = [f"{facts.names[i]} {facts.stability[i]:.0%}" for i in order if facts.stability[i] > 0]
        yield f"The first place depends on the weights: with others around these it goes to {listed(shares)} of times."
    if verdict.unmeasured and facts.names:
        done = "compared" if verdict.race else "measured"
        yield f"Not {done}: {listed(verdict.unmeasured)}. The score is made of {listed(verdict.measured)} alone."
    for name, without in verdict.lacking.items():
        yield f"{name} is in nobody's score, because it was not measured alike for {listed(without)}."
    if verdict.train_fracs:
        shares = [f"{frac:.0%}" for frac in (*verdict.train_fracs, 1.0)]
        yield f"data_efficiency is the mean over {listed(shares)} of the training set."
    if verdict.dropped:
        yield f"Dropped, so at any place but the first: {listed(verdict.dropped)}."
    if not verdict.equal_budget and not verdict.race:
        counts = [count for _, count in verdict.budget]
        yield f"Budgets differ ({min(counts)} to {max(counts)} trials): a low score may only mean few trials."
    if verdict.insufficient:
        yield f"Without a rank: {'; '.join(f'{name}: {why}' for name, why in facts.insufficient.items())}."


def listed(names: Sequence[object]) -> str:
    """``a, b and c``; empty for none."""
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
