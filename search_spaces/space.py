"""A search space: which fields of `FinetuneConfig` a study samples, and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import Choice, FloatRange, IntRange, Trial
from search_spaces.searchable import FREEZE_DEPTH, SEARCHABLE, TUNE_WINDOW, Value, Window
from search_spaces.window import WindowChoice, WindowParts
from trainables.errors import did_you_mean

__all__ = ["BoundSpace", "Parameter", "SearchSpace"]

Parameter = FloatRange | IntRange | Choice | WindowChoice | WindowParts

_KINDS: Final = {
    FloatRange: (float,),
    IntRange: (int,),
    Choice: (int, float, str),
    WindowChoice: (tuple,),
    WindowParts: (tuple,),
}
_BLOCKS: Final = (FREEZE_DEPTH, TUNE_WINDOW)
"""Say which blocks are tuned, so that they are sampled before what depends on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """Parameters in the order they are sampled: `freeze_depth` or `tune_window` first, the others as declared.

    Raises:
        InvalidSpace: no parameter, a name given twice, a name that is no searchable field, or both a
            depth and a window.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        broken = [unsearchable(name) for name in names if name not in SEARCHABLE]
        broken += [
            BrokenRule(keys=(name,), rule="given twice") for index, name in enumerate(names) if name in names[:index]
        ]
        broken += [
            BrokenRule(keys=(parameter.name,), rule=f"cannot be searched by a {type(parameter).__name__}")
            for parameter in self.parameters
            if SEARCHABLE.get(parameter.name) not in (None, *_KINDS[type(parameter)])
        ]
        if set(_BLOCKS) <= set(names):
            hint = f"take {FREEZE_DEPTH} out: {{base: ..., {FREEZE_DEPTH}: null}}"
            broken.append(BrokenRule(keys=(TUNE_WINDOW,), rule=f"cannot be searched beside {FREEZE_DEPTH}", hint=hint))
        if not names:
            broken.append(BrokenRule(keys=(), rule="must have at least one parameter"))
        if broken:
            raise InvalidSpace(broken)
        ordered = sorted(self.parameters, key=lambda parameter: parameter.name not in _BLOCKS)
        object.__setattr__(self, "parameters", tuple(ordered))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the searched fields, in sampling order."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 of the space as JSON.

        The order of the parameters counts, as it decides what a seed draws.
        """
        text = json.dumps(list(self.to_mapping().items()), separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def get(self, name: str) -> Parameter | None:
        """The parameter of field `name`, or None where it is not searched."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def windows(
        self, num_blocks: int, *, freeze_depth: int = 0, tune_window: Window | None = None
    ) -> tuple[Window, ...]:
        """Every window of blocks that a study of a backbone with `num_blocks` may tune; a freeze depth is
        the window from there to the end, empty for a linear probe.

        Args:
            freeze_depth: the fixed depth, for a space that searches neither.
            tune_window: the fixed window, for a space that searches neither.
        """
        window, depth = self.get(TUNE_WINDOW), self.get(FREEZE_DEPTH)
        if isinstance(window, WindowChoice | WindowParts):
            return window.values(num_blocks)
        if isinstance(depth, IntRange | Choice):
            return tuple((int(value), num_blocks) for value in depth.values(num_blocks))
        return (tune_window or (freeze_depth, num_blocks),)

    def broken_for(self, num_blocks: int) -> tuple[BrokenRule, ...]:
        """Rules that only a backbone with `num_blocks` blocks breaks: depths and windows it does not have."""
        window, depth = self.get(TUNE_WINDOW), self.get(FREEZE_DEPTH)
        rule = f"must be <= num_blocks ({num_blocks})"
        if isinstance(window, WindowChoice | WindowParts):
            return tuple(window.broken_for(num_blocks))
        if isinstance(depth, IntRange):
            ends = {"low": depth.low, "high": depth.high}
            return tuple(
                BrokenRule(keys=(FREEZE_DEPTH, key), rule=rule, value=end)
                for key, end in ends.items()
                if isinstance(end, int) and end > num_blocks
            )
        if isinstance(depth, Choice):
            return tuple(
                BrokenRule(keys=(FREEZE_DEPTH, "choice", index), rule=rule, value=value)
                for index, value in enumerate(depth.choice)
                if isinstance(value, int) and value > num_blocks
            )
        return ()

    def bind(self, num_blocks: int, *, freeze_depth: int = 0, tune_window: Window | None = None) -> BoundSpace:
        """The space of one backbone.

        Args:
            num_blocks: of the backbone, >= 1.
            freeze_depth: the fixed depth in [0, num_blocks], for a space that does not search it.
            tune_window: the fixed window, within the blocks, for a space that does not search it.

        Raises:
            InvalidSpace: a freeze depth or the end of a window is more than `num_blocks`.
        """
        broken = list(self.broken_for(num_blocks))
        if num_blocks < 1:
            broken.append(BrokenRule(keys=("num_blocks",), rule="must be >= 1", value=num_blocks))
        if not 0 <= freeze_depth <= num_blocks:
            rule = f"must be in [0, {num_blocks}]"
            broken.append(BrokenRule(keys=(FREEZE_DEPTH,), rule=rule, value=freeze_depth))
        if tune_window is not None and tune_window[1] > num_blocks:
            rule = f"must lie within the num_blocks ({num_blocks})"
            broken.append(BrokenRule(keys=(TUNE_WINDOW,), rule=rule, value=list(tune_window)))
        if broken:
            raise InvalidSpace(broken)
        return BoundSpace(parameters=self.parameters, num_blocks=num_blocks, freeze_depth=freeze_depth)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """What a sweep file says to get an equal space."""
        return {parameter.name: parameter.to_mapping() for parameter in self.parameters}


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundSpace:
    """A space with the number of blocks filled in: a define-by-run space for Optuna, and picklable."""

    parameters: tuple[Parameter, ...]
    num_blocks: int
    freeze_depth: int
    """Where the space does not search it."""

    def __call__(self, trial: Trial) -> dict[str, Value]:
        """Sample one configuration: field name -> value. What depends on tuned blocks is left out
        where every block is frozen, so that no sampler learns from a value that had no effect."""
        sampled: dict[str, Value] = {}
        for parameter in self.parameters:
            depth = sampled.get(FREEZE_DEPTH, self.freeze_depth)
            if parameter.when == "unfrozen" and depth == self.num_blocks:
                continue
            sampled[parameter.name] = parameter.suggest(trial, self.num_blocks)
        return sampled


def unsearchable(name: str) -> BrokenRule:
    """Why `name` is not searched."""
    hint = did_you_mean(name, SEARCHABLE).removeprefix("; ")
    return BrokenRule(keys=(name,), rule="is not a field that can be searched", hint=hint)
