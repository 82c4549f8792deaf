"""Ranges and choices, the parameters a space is made of. Plain values: picklable, comparable, no tuner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.searchable import FREEZE_DEPTH, broken_rule

__all__ = ["DEPTH_NAMES", "NUM_BLOCKS", "Choice", "FloatRange", "IntRange", "Trial", "When"]

Scalar = int | float | str

When = Literal["unfrozen"]
"""``unfrozen``: sampled only where at least one block is tuned, freeze_depth < num_blocks."""

NUM_BLOCKS: Final = "num_blocks"
"""Stands for the backbone's number of blocks wherever a freeze depth is written."""

DEPTH_NAMES: Final = MappingProxyType({"full": 0, "probe": NUM_BLOCKS, NUM_BLOCKS: NUM_BLOCKS})
"""What a freeze depth may be called: full fine-tuning, and the linear probe."""


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatRange:
    """Real numbers in [low, high], uniform or uniform in the logarithm.

    Raises:
        InvalidSpace: low >= high, a bound that is not finite or outside the field's range, a log
            scale with low <= 0.
    """

    name: str
    low: float
    high: float
    log: bool = False
    when: When | None = None

    def __post_init__(self) -> None:
        _refuse([*_bounds(self.name, self.low, self.high, log=self.log), *_condition(self.name, self.when)])
        # Equal spaces have equal digests, whether a bound was written as 1 or as 1.0.
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def suggest(self, trial: Trial, num_blocks: int) -> float:
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def to_mapping(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, **_set(log=self.log, when=self.when)}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntRange:
    """Whole numbers in [low, high]: all of them, every `step`-th, or at most `num` of them.

    Raises:
        InvalidSpace: low >= high, a bound outside the field's range, a step that does not lead from
            low to high, more than one of `step`, `num` and `log`, a log scale with low <= 0.
    """

    name: str
    low: int
    high: int | Literal["num_blocks"]
    """``num_blocks`` only for `freeze_depth`."""

    step: int = 1
    num: int | None = None
    """At most so many values, both ends among them, as evenly spaced as whole numbers allow."""

    log: bool = False
    when: When | None = None

    def __post_init__(self) -> None:
        broken = _condition(self.name, self.when)
        if self.high != NUM_BLOCKS:
            broken += _bounds(self.name, self.low, self.high, log=self.log)
        elif rule := broken_rule(self.name, self.low):
            broken.append(BrokenRule(keys=("low",), rule=rule, value=self.low))
        _refuse([*broken, *self._broken_grid()])

    def _broken_grid(self) -> list[BrokenRule]:
        broken = []
        if self.high == NUM_BLOCKS and self.name != FREEZE_DEPTH:
            rule = f"must be a number; {NUM_BLOCKS} is for {FREEZE_DEPTH}"
            broken.append(BrokenRule(keys=("high",), rule=rule, value=self.high))
        if (self.step != 1) + (self.num is not None) + self.log > 1:
            broken.append(BrokenRule(keys=(), rule="must have at most one of step, num and log"))
        if self.num is not None and self.num < 2:
            broken.append(BrokenRule(keys=("num",), rule="must be >= 2, to hold both ends", value=self.num))
        if self.step < 1:
            broken.append(BrokenRule(keys=("step",), rule="must be >= 1", value=self.step))
        elif self.step != 1 and self.high == NUM_BLOCKS:
            hint = "num: 5 takes at most 5 depths of every backbone"
            rule = f"cannot divide every backbone's {NUM_BLOCKS}"
            broken.append(BrokenRule(keys=("step",), rule=rule, value=self.step, hint=hint))
        elif self.high != NUM_BLOCKS and (self.high - self.low) % self.step:
            rule = f"must divide high - low, {self.high - self.low}"
            broken.append(BrokenRule(keys=("step",), rule=rule, value=self.step))
        return broken

    def values(self, num_blocks: int) -> Sequence[int]:
        """Every value it can take, ascending."""
        high = _resolved(self.high, num_blocks)
        if self.num is None:
            return range(self.low, high + 1, self.step)
        gaps = min(self.num - 1, high - self.low)
        if gaps <= 0:
            return range(self.low, high + 1)
        if (high - self.low) % gaps == 0:
            return range(self.low, high + 1, (high - self.low) // gaps)
        return [self.low + round(i * (high - self.low) / gaps) for i in range(gaps + 1)]

    def suggest(self, trial: Trial, num_blocks: int) -> int:
        values = self.values(num_blocks)
        if isinstance(values, range):
            return trial.suggest_int(self.name, values[0], values[-1], step=values.step, log=self.log)
        # Uneven gaps fit no integer distribution. Sampling the full range and rounding would record a
        # value that was not used, so the sampler is told the truth and loses the order of the values.
        return int(trial.suggest_categorical(self.name, values))

    def to_mapping(self) -> dict[str, Any]:
        step = self.step if self.step != 1 else None
        return {
            "low": self.low,
            "high": self.high,
            **_set(step=step, num=self.num, log=self.log, when=self.when),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of a few values, without an order.

    Raises:
        InvalidSpace: no value, a value given twice, a value the field does not take.
    """

    name: str
    choice: tuple[Scalar, ...]
    """``num_blocks`` may be among the values of `freeze_depth`."""

    when: When | None = None

    def __post_init__(self) -> None:
        broken = _condition(self.name, self.when)
        if not self.choice:
            broken.append(BrokenRule(keys=("choice",), rule="must have at least one value"))
        for index, value in enumerate(self.choice):
            if value in self.choice[:index]:
                broken.append(BrokenRule(keys=("choice", index), rule="must not repeat a value", value=value))
            symbol = self.name == FREEZE_DEPTH and value == NUM_BLOCKS
            if not symbol and (rule := broken_rule(self.name, value)):
                broken.append(BrokenRule(keys=("choice", index), rule=rule, value=value))
        _refuse(broken)

    def values(self, num_blocks: int) -> Sequence[Scalar]:
        """Every value it can take, in the order given."""
        if self.name != FREEZE_DEPTH:
            return self.choice
        return tuple(dict.fromkeys(_resolved(value, num_blocks) for value in self.choice))

    def suggest(self, trial: Trial, num_blocks: int) -> Scalar:
        value: Scalar = trial.suggest_categorical(self.name, self.values(num_blocks))
        return value

    def to_mapping(self) -> dict[str, Any]:
        return {"choice": list(self.choice), **_set(when=self.when)}


def _resolved(value: Scalar, num_blocks: int) -> int:
    return num_blocks if value == NUM_BLOCKS else int(value)


def _bounds(name: str, low: float, high: float, *, log: bool) -> list[BrokenRule]:
    """Rules of a range. Every rule of a field is an interval, so checking both ends checks all."""
    broken = []
    for key, bound in (("low", low), ("high", high)):
        if rule := broken_rule(name, bound):
            broken.append(BrokenRule(keys=(key,), rule=rule, value=bound))
    if math.isfinite(low) and math.isfinite(high) and low >= high:
        broken.append(BrokenRule(keys=("low",), rule=f"must be < high ({high})", value=low))
    if log and low <= 0:
        rule = "must be > 0 on a log scale"
        broken.append(BrokenRule(keys=("low",), rule=rule, value=low))
    return broken


def _condition(name: str, when: str | None) -> list[BrokenRule]:
    if name == FREEZE_DEPTH and when is not None:
        rule = f"cannot depend on {FREEZE_DEPTH} itself"
        return [BrokenRule(keys=("when",), rule=rule, value=when)]
    return []


def _set(**values: Any) -> dict[str, Any]:
    """What differs from the default, to keep mappings as short as a person would write them."""
    return {key: value for key, value in values.items() if value not in (None, False)}


def _refuse(broken: list[BrokenRule]) -> None:
    if broken:
        raise InvalidSpace(broken)
