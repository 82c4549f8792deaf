"""Two sweeps beside each other: what their rankings say, and what was different about the sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.folder import SweepFolder, list_sweeps
from orchestrator.overview import Overview, overview
from orchestrator.ranking import Comparison, Ranking, RankingOptions, common_weights, compare
from orchestrator.results import one_thread, rank_sweep

__all__ = ["Change", "Side", "SweepComparison", "compare_sweeps", "is_apart", "newest_other"]

_NOT_COMPARED: Final = ("name", "storage", "tracking_uri", "ranking")
_SAMPLES: Final = ("num_train", "num_val", "num_test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that differs between two sweeps."""

    key: str
    """Dotted path in the sweep file, ``version of torch``, ``code``, ``data of digits``, ``weights of <backbone>``."""

    a: str
    b: str
    """``-`` where a sweep has no such thing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two sweeps."""

    overview: Overview
    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    code: str
    """Commit, and whether it had changes; ``unknown`` outside of a checkout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepComparison:
    """What `compare_sweeps` returns."""

    a: Side
    b: Side
    comparison: Comparison
    weights: Mapping[str, float]
    """What both scores are made of."""

    changes: tuple[Change, ...]
    closing: str
    """All of it in a sentence or two."""

    def document(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "a": self.a.overview.sweep,
            "b": self.b.overview.sweep,
            "sweeps": {"a": dataclasses.asdict(self.a), "b": dataclasses.asdict(self.b)},
            "weights": dict(self.weights),
            "comparison": self.comparison.table.to_pylist(),
            "sentences": list(self.comparison.sentences),
            "changes": [dataclasses.asdict(change) for change in self.changes],
            "closing": self.closing,
        }


def compare_sweeps(a: SweepFolder, b: SweepFolder, options: RankingOptions | None = None) -> SweepComparison:
    """Rank both anew with weights on what both have measured, and compare.

    Args:
        options: None is what the file of `a` asked for, for both.

    Raises:
        UsageError: they are the same sweep, or have no task in common.
    """
    if a.path == b.path:
        raise UsageError(
            f"compare takes two sweeps, got {a.sweep_id} twice; python -m orchestrator ls names the others"
        )
    first = rank_sweep(a, options)
    second = rank_sweep(b, first.options)
    sides = _side(a, first), _side(b, second)
    if not set(sides[0].tasks) & set(sides[1].tasks):
        said = "; ".join(f"{side.overview.sweep} is on {', '.join(side.tasks) or 'none yet'}" for side in sides)
        raise UsageError(f"two sweeps must have a task in common to be compared; {said}")
    weights = common_weights(first, second)
    if weights and weights != {name: weight for name, weight in first.options.weights.items() if weight > 0}:
        same = dataclasses.replace(first.options, weights=weights)
        first, second = rank_sweep(a, same), rank_sweep(b, same)
    changes = (
        *_changes(_settings(a), _settings(b)),
        *_sources(a, b),
        *_changes(_code(a), _code(b)),
        *_changes(_versions(a), _versions(b)),
    )
    with one_thread():
        comparison = compare(first, second)
    return SweepComparison(
        a=sides[0],
        b=sides[1],
        comparison=comparison,
        weights=weights or first.options.weights,
        changes=changes,
        closing=f"{_verdict(comparison, first, second, changes)} {_differences(changes)}",
    )


def newest_other(folder: SweepFolder, storage: Path) -> SweepFolder:
    """The newest sweep but this one that has runs on one of its tasks.

    Args:
        storage: where to look, beside the folder that this one is in.

    Raises:
        UsageError: there is none.
    """
    tasks = set(folder.read_facts().get("tasks", ()))
    places = dict.fromkeys([folder.path.parent, storage.resolve()])
    others = [other for place in places for other in list_sweeps(place) if other.path != folder.path]
    for other in sorted(others, key=lambda found: found.config_file.stat().st_mtime, reverse=True):
        try:
            if tasks & set(other.read_facts().get("tasks", ())) and len(other.trials.read()):
                return other
        except OrchestratorError:  # damaged: `ls` says so
            continue
    raise UsageError(
        f"{folder.sweep_id} needs another sweep on {', '.join(sorted(tasks)) or 'its task'} to be compared with, and "
        f"{' and '.join(map(str, places))} hold none with runs; name one: python -m orchestrator compare A B"
    )


def _side(folder: SweepFolder, ranking: Ranking) -> Side:
    facts = folder.read_facts()
    return Side(
        overview=overview(folder),
        tasks=tuple(dict.fromkeys([*facts.get("tasks", ()), *(verdict.task for verdict in ranking.verdicts)])),
        backbones=tuple(facts.get("backbones", ())),
        code=_code(folder)["code"],
    )


def _verdict(comparison: Comparison, a: Ranking, b: Ranking, changes: Sequence[Change]) -> str:
    """Whether b says the same as a."""
    rows = comparison.table.to_pylist()
    both = [row for row in rows if row["status"] == "both"]
    if not rows:
        return "Neither ranks a backbone on a common task yet, so there is nothing to compare."
    if not both:
        return "They rank no backbone in common, so neither says anything about the other."
    tasks = sorted({row["task"] for row in both})
    unlike = [task for task in tasks if _metric(a, task) != _metric(b, task)]
    if unlike:
        return (
            f"Scores on {', '.join(unlike)} are in different metrics: only the order of the backbones can be compared."
        )
    other_data = {change.key.removeprefix("data of ") for change in changes if change.key.startswith("data of ")}
    if data := [task for task in tasks if task in other_data]:
        return f"The data of {', '.join(data)} are not the same in both: what moved may come from them alone."
    if any(row["moved"] is None for row in both):
        return "Whether what moved is more than luck cannot be said: seeds or per-example results are missing."
    beyond = [row["backbone"] for row in both if row["moved"] or is_apart(row)]
    if beyond:
        names = ", ".join(dict.fromkeys(beyond))
        return f"b contradicts a about {names}: its place or score differs by more than seeds and test set explain."
    if any(row["rank_change"] for row in both):
        return "b does not contradict a: what changed place did so within the intervals, which may be luck."
    return "b says what a says: the same order, and no score differs by more than seeds and test set explain."


def is_apart(row: Mapping[str, Any]) -> bool:
    """Whether a row of COMPARISON has a difference of scores that is more than seeds and test set explain."""
    low, high = row["difference_low"], row["difference_high"]
    return low is not None and (low > 0 or high < 0)


def _metric(ranking: Ranking, task: str) -> str | None:
    rows = ranking.table.to_pylist()
    return next((row["test_metric"] for row in rows if row["task"] == task and row["test_metric"]), None)


def _differences(changes: Sequence[Change]) -> str:
    if not changes:
        return "Nothing about the sweeps was different but when they ran."
    named = [change.key for change in changes[:3]]
    more = f" and {len(changes) - len(named)} more" if len(changes) > len(named) else ""
    return f"Different about the sweeps: {', '.join(named)}{more}."


def _settings(folder: SweepFolder) -> dict[str, str]:
    """The resolved sweep file, flat."""
    document = yaml.safe_load(folder.config_file.read_text(encoding="utf-8"))
    return {key: value for key, value in _flat(document, "") if key.partition(".")[0] not in _NOT_COMPARED}


def _sources(a: SweepFolder, b: SweepFolder) -> Iterator[Change]:
    """What of data and weights is not the same: by the digests of what a study of both saw. Another backbone may see
    the same images at another size."""
    studies = [{study["study"]: study for study in folder.read_facts().get("studies", ())} for folder in (a, b)]
    found: dict[str, Change] = {}
    for name in studies[0].keys() & studies[1].keys():
        task, _, backbone = name.partition(":")
        one, other = studies[0][name], studies[1][name]
        for key, what in (("digest", f"data of {task}"), ("weights_digest", f"weights of {backbone}")):
            digests = one.get(key), other.get(key)
            if all(digests) and digests[0] != digests[1]:
                found[what] = Change(key=what, a=str(digests[0])[:12], b=str(digests[1])[:12])
        counts = [" + ".join(str(study.get(size)) for size in _SAMPLES) for study in (one, other)]
        if counts[0] != counts[1]:
            what = f"samples of {task} (train + val + test)"
            found[what] = Change(key=what, a=counts[0], b=counts[1])
    yield from sorted(found.values(), key=lambda change: change.key)


def _code(folder: SweepFolder) -> dict[str, str]:
    facts = folder.read_facts()
    commit = facts.get("git_commit")
    changed = " with changes" if facts.get("git_dirty") else ""
    return {"code": f"{commit[:12]}{changed}" if commit else "unknown", "orchestrator": str(facts.get("version", "-"))}


def _versions(folder: SweepFolder) -> dict[str, str]:
    versions = folder.read_facts().get("versions", {})
    return {f"version of {name}": str(version) for name, version in versions.items()}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for index, part in enumerate(value):
            name = part.get("name", index) if isinstance(part, Mapping) else index
            yield from _flat(part, f"{path}.{name}")
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _changes(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Change]:
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield Change(key=key, a=a.get(key, "-"), b=b.get(key, "-"))
