"""Two sweeps beside each other: what their rankings say, and what was different about the sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from orchestrator.errors import UsageError
from orchestrator.folder import SweepFolder
from orchestrator.ranking import Comparison, RankingOptions, common_weights, compare
from orchestrator.results import rank_sweep

__all__ = ["Change", "SweepComparison", "compare_sweeps"]

_NOT_COMPARED: Final = ("name", "storage", "tracking_uri", "ranking")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that differs between two sweeps."""

    key: str
    """Dotted path in the sweep file, or ``version of torch``."""

    a: str
    b: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepComparison:
    """What `compare_sweeps` returns."""

    a: str
    """Ids of the sweeps."""
    b: str
    comparison: Comparison
    weights: Mapping[str, float]
    """What both scores are made of."""
    changes: tuple[Change, ...]

    def document(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "a": self.a,
            "b": self.b,
            "weights": dict(self.weights),
            "comparison": self.comparison.table.to_pylist(),
            "sentences": list(self.comparison.sentences),
            "changes": [dataclasses.asdict(change) for change in self.changes],
        }


def compare_sweeps(a: SweepFolder, b: SweepFolder, options: RankingOptions | None = None) -> SweepComparison:
    """Rank both anew with weights on what both have measured, and compare.

    Args:
        options: None is what the file of `a` asked for, for both.

    Raises:
        UsageError: they have no task in common.
    """
    first = rank_sweep(a, options)
    second = rank_sweep(b, first.options)
    if not {v.task for v in first.verdicts} & {v.task for v in second.verdicts}:
        raise UsageError(f"{a.sweep_id} and {b.sweep_id} must have a task in common: there is nothing to compare")
    weights = common_weights(first, second)
    if weights and weights != {name: weight for name, weight in first.options.weights.items() if weight > 0}:
        same = dataclasses.replace(first.options, weights=weights)
        first, second = rank_sweep(a, same), rank_sweep(b, same)
    changes = [*_changes(_settings(a), _settings(b)), *_changes(_versions(a), _versions(b))]
    return SweepComparison(
        a=a.sweep_id,
        b=b.sweep_id,
        comparison=compare(first, second),
        weights=weights or first.options.weights,
        changes=tuple(changes),
    )


def _settings(folder: SweepFolder) -> dict[str, str]:
    """The resolved sweep file, flat."""
    document = yaml.safe_load(folder.config_file.read_text(encoding="utf-8"))
    return {key: value for key, value in _flat(document, "") if key.partition(".")[0] not in _NOT_COMPARED}


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
