"""A plan in which nothing is drawn: every study runs the same list of configurations, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from search_spaces import SearchSpace
from search_spaces.parameters import FloatRange, IntRange, Trial

__all__ = ["FixedGrid", "depth_of", "fixed_grid", "hand_out_in_order"]


def depth_of(freeze_frac: float, num_blocks: int) -> int:
    """Leading blocks that are frozen."""
    return round(freeze_frac * num_blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedGrid(SearchSpace):
    """Trial number n is the n-th of `points`: (share of the blocks frozen, learning rate), the head's being
    `head_factor` times as high."""

    points: tuple[tuple[float, float], ...]
    head_factor: float

    def bind(self, num_blocks: int, **fixed: Any) -> Any:
        """The grid of one backbone."""
        return _BoundGrid(points=self.points, head_factor=self.head_factor, num_blocks=num_blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class _BoundGrid:
    points: tuple[tuple[float, float], ...]
    head_factor: float
    num_blocks: int

    def __call__(self, trial: Trial, number: int) -> dict[str, Any]:
        freeze_frac, learning_rate = self.points[number]
        depth = depth_of(freeze_frac, self.num_blocks)
        head = self.head_factor * learning_rate
        # Ranges of a single value: Optuna records what it was "drawn".
        return {
            "freeze_depth": trial.suggest_int("freeze_depth", depth, depth),
            "learning_rate": trial.suggest_float("learning_rate", learning_rate, learning_rate),
            "head_learning_rate": trial.suggest_float("head_learning_rate", head, head),
        }


def hand_out_in_order() -> None:
    """From now on, a space of this process is told which trial it draws for: only a `FixedGrid` takes that."""
    from orchestrator.searching.suggestion import (
        History,  # other benchmarks need depths alone, on machines without Optuna
    )

    suggest = History.suggest

    def numbered(history: History, number: int, sampler: Any, space: Callable[..., dict[str, Any]]) -> Any:
        return suggest(history, number, sampler, partial(space, number=number))

    History.suggest = numbered  # type: ignore[method-assign]


def fixed_grid(freeze_fracs: Sequence[float], learning_rates: Sequence[float], *, head_factor: float) -> FixedGrid:
    """Every share with every rate, the shares in the outer loop."""
    low, high = min(learning_rates), max(learning_rates)
    return FixedGrid(
        # What the grid lies in, for whoever looks at the space: depths, learning rates.
        parameters=(
            IntRange(name="freeze_depth", low=0, high="num_blocks"),
            FloatRange(name="learning_rate", low=low, high=high, log=True),
            FloatRange(name="head_learning_rate", low=head_factor * low, high=head_factor * high, log=True),
        ),
        points=tuple((frac, rate) for frac in freeze_fracs for rate in learning_rates),
        head_factor=head_factor,
    )
