"""A search space: which fields of `FinetuneConfig` a study samples, and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import Choice, FloatRange, IntRange, Parameter, Trial
from search_spaces.searchable import FREEZE_DEPTH, SEARCHABLE, Value
from trainables.errors import did_you_mean

__all__ = ["BoundSpace", "SearchSpace"]

_KINDS: Final = {FloatRange: (float,), IntRange: (int,), Choice: (int, float, str)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """Parameters in the order they are sampled: `freeze_depth` first, the others as declared.

    Raises:
        InvalidSpace: no parameter, a name given twice, or a name that is no searchable field.
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
        if not names:
            broken.append(BrokenRule(keys=(), rule="must have at least one parameter"))
        if broken:
            raise InvalidSpace(broken)
        ordered = sorted(self.parameters, key=lambda parameter: parameter.name != FREEZE_DEPTH)
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

    def freeze_depths(self, num_blocks: int, *, fixed: int = 0) -> tuple[int, ...]:
        """Every depth a study of a backbone with `num_blocks` may draw; (`fixed`,) where none is drawn."""
        depth = self.get(FREEZE_DEPTH)
        if not isinstance(depth, IntRange | Choice):
            return (fixed,)
        return tuple(int(value) for value in depth.values(num_blocks))

    def broken_for(self, num_blocks: int) -> tuple[BrokenRule, ...]:
        """Rules that only a backbone with `num_blocks` blocks breaks: depths it does not have."""
        depth = self.get(FREEZE_DEPTH)
        rule = f"must be <= num_blocks ({num_blocks})"
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

    def bind(self, num_blocks: int, *, freeze_depth: int = 0) -> BoundSpace:
        """The space of one backbone.

        Args:
            num_blocks: of the backbone, >= 1.
            freeze_depth: the fixed depth in [0, num_blocks], for a space that does not search it.

        Raises:
            InvalidSpace: a freeze depth is more than `num_blocks`.
        """
        broken = list(self.broken_for(num_blocks))
        if num_blocks < 1:
            broken.append(BrokenRule(keys=("num_blocks",), rule="must be >= 1", value=num_blocks))
        if not 0 <= freeze_depth <= num_blocks:
            rule = f"must be in [0, {num_blocks}]"
            broken.append(BrokenRule(keys=(FREEZE_DEPTH,), rule=rule, value=freeze_depth))
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
