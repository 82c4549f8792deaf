"""Parameters that choose which contiguous blocks are tuned (surgical fine-tuning, arXiv 2210.11466).

A tuner's values must be scalars, so a window is suggested as the text ``2:5`` and handed on as (2, 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import NUM_BLOCKS, Trial
from search_spaces.searchable import TUNE_WINDOW, Window, broken_rule

__all__ = ["WindowChoice", "WindowParts"]

MAX_PARTS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowChoice:
    """One of a few windows (first block, block after the last), without an order.

    Raises:
        InvalidSpace: no window, one given twice, or one that holds no block.
    """

    name: ClassVar[str] = TUNE_WINDOW
    when: ClassVar[None] = None
    """A window tunes something, whatever else is drawn."""

    choice: tuple[tuple[int, int | Literal["num_blocks"]], ...]
    """``num_blocks`` may stand for the end."""

    def __post_init__(self) -> None:
        broken = []
        if not self.choice:
            broken.append(BrokenRule(keys=("choice",), rule="must have at least one window"))
        for index, (start, stop) in enumerate(self.choice):
            if (start, stop) in self.choice[:index]:
                rule = "must not repeat a window"
                broken.append(BrokenRule(keys=("choice", index), rule=rule, value=[start, stop]))
            # Where the end is the backbone's, any end beyond the start shows what else is wrong.
            if rule_ := broken_rule(self.name, (start, start + 1 if stop == NUM_BLOCKS else int(stop))):
                broken.append(BrokenRule(keys=("choice", index), rule=rule_, value=[start, stop]))
        if broken:
            raise InvalidSpace(broken)

    def values(self, num_blocks: int) -> tuple[Window, ...]:
        """Every window it can take, in the order given."""
        resolved = ((start, num_blocks if stop == NUM_BLOCKS else int(stop)) for start, stop in self.choice)
        return tuple(dict.fromkeys(resolved))

    def suggest(self, trial: Trial, num_blocks: int) -> Window:
        return _suggest(trial, self.name, self.values(num_blocks))

    def broken_for(self, num_blocks: int) -> list[BrokenRule]:
        """Windows that a backbone with `num_blocks` blocks has not."""
        return [
            BrokenRule(
                keys=(self.name, "choice", index),
                rule=f"must lie within the num_blocks ({num_blocks})",
                value=list(self.choice[index]),
            )
            for index, (start, stop) in enumerate(self.choice)
            if start >= num_blocks or (stop != NUM_BLOCKS and int(stop) > num_blocks)
        ]

    def to_mapping(self) -> dict[str, Any]:
        return {"choice": [list(window) for window in self.choice]}


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowParts:
    """One of `parts` contiguous windows that divide the blocks as evenly as whole blocks allow, so that
    "the second quarter" means the same for every backbone.

    Raises:
        InvalidSpace: `parts` is not in [2, 1000].
    """

    name: ClassVar[str] = TUNE_WINDOW
    when: ClassVar[None] = None

    parts: int

    def __post_init__(self) -> None:
        if not 2 <= self.parts <= MAX_PARTS:
            raise InvalidSpace([BrokenRule(keys=("parts",), rule=f"must be in [2, {MAX_PARTS}]", value=self.parts)])

    def values(self, num_blocks: int) -> tuple[Window, ...]:
        """Every window it can take, from the input side."""
        ends = [part * num_blocks // self.parts for part in range(self.parts + 1)]
        return tuple(pairwise(ends))

    def suggest(self, trial: Trial, num_blocks: int) -> Window:
        return _suggest(trial, self.name, self.values(num_blocks))

    def broken_for(self, num_blocks: int) -> list[BrokenRule]:
        """More parts than a backbone with `num_blocks` blocks can be divided into."""
        if self.parts <= num_blocks:
            return []
        return [BrokenRule(keys=(self.name, "parts"), rule=f"must be <= num_blocks ({num_blocks})", value=self.parts)]

    def to_mapping(self) -> dict[str, Any]:
        return {"parts": self.parts}


def _suggest(trial: Trial, name: str, windows: tuple[Window, ...]) -> Window:
    by_text = {f"{start}:{stop}": (start, stop) for start, stop in windows}
    return by_text[trial.suggest_categorical(name, list(by_text))]
