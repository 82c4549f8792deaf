"""Every error this package raises, as a tree.

    TrainableError
    ├── InvalidConfig        a value the user gave breaks a rule
    ├── UnknownName          a backbone, weights or task name nobody knows
    ├── WeightsUnavailable   the weights are known but not on this machine
    ├── MissingExtra         an optional dependency is not installed
    ├── DataError            a dataset that cannot be read or split as asked
    ├── OutOfMemory          a device's memory does not hold what is trained, however it is split
    ├── Diverged             training produced a loss that is not a finite number
    └── FrozenMoved          a frozen tensor changed: the result would be a lie

A message states the rule, the offending value and the fix, in this order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "Diverged",
    "FrozenMoved",
    "InvalidConfig",
    "MissingExtra",
    "OutOfMemory",
    "TrainableError",
    "UnknownName",
    "WeightsUnavailable",
    "did_you_mean",
]


class TrainableError(Exception):
    """Base class of every error raised by `trainables`."""


class InvalidConfig(TrainableError, ValueError):
    """A configuration value breaks a rule."""


class UnknownName(TrainableError, LookupError):
    """A name that no catalogue holds."""


class WeightsUnavailable(TrainableError):
    """Pretrained weights that are not on this machine and cannot be fetched."""


class MissingExtra(TrainableError, ImportError):
    """An optional dependency is missing; the message is the pip line that installs it."""


class DataError(TrainableError):
    """A dataset that cannot be read, or cannot be split as asked."""


class OutOfMemory(TrainableError, RuntimeError):
    """A device's memory does not hold a run in any way that leaves its result the same."""


class Diverged(TrainableError, ArithmeticError):
    """The training loss is NaN or infinite."""


class FrozenMoved(TrainableError, RuntimeError):
    """A parameter or buffer of a frozen block changed during training."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
