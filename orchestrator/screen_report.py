"""What was foretold of the backbones without training them, held against what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

__all__ = ["BASELINE", "Foretold", "foretold"]

BASELINE: Final = "num_params"
"""The size of a backbone: what a screen has to beat."""

SENTENCE: Final = (
    "Screen scores come from frozen features, before any training, and had no part in the ranking. Trust each no "
    f"more than it earned here: its weighted Kendall's tau (1 is the ranking's order, 0 is chance), beside that of "
    f"{BASELINE}, which is nothing but the backbone's size."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Foretold:
    """The screen of one task."""

    task: str
    scores: Mapping[str, Mapping[str, float | None]]
    """By name of the score, then by backbone; None where it is not defined. More is better."""

    taus: Mapping[str, float | None]
    """Of each score: Kendall's tau to the ranking's scores with more weight on the first places (Vigna 2015,
    "A weighted correlation index for rankings with ties"), in [-1, 1]; None where fewer than two backbones
    have both, or all are alike."""

    num_compared: Mapping[str, int]
    """Backbones that each tau is computed from."""

    sentence: str = SENTENCE


def foretold(screen: pa.Table, ranking: pa.Table) -> list[Foretold]:
    """One for each task that was screened, in the order of the screen.

    Args:
        screen: columns of SCREEN.
        ranking: columns of RANKING.
    """
    final = {(row["task"], row["backbone"]): row["score"] for row in ranking.to_pylist()}
    by_task: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in screen.to_pylist():
        by_task.setdefault(row["task"], {}).setdefault(row["name"], {})[row["backbone"]] = row["value"]
    found = []
    for task, scores in by_task.items():
        pairs = {name: _pairs(values, {b: final.get((task, b)) for b in values}) for name, values in scores.items()}
        found.append(
            Foretold(
                task=task,
                scores=scores,
                taus={name: _tau(both) for name, both in pairs.items()},
                num_compared={name: len(both) for name, both in pairs.items()},
            )
        )
    return found


def _pairs(one: Mapping[str, float | None], other: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(value, other[name]) for name, value in one.items() if value is not None and other[name] is not None]


def _tau(pairs: list[tuple[float, float]]) -> float | None:
    from scipy.stats import weightedtau  # takes longer to load than all the rest, for what few sweeps ask for

    if len(pairs) < 2:
        return None
    tau = float(weightedtau(*zip(*pairs, strict=True)).statistic)
    return tau if math.isfinite(tau) else None
