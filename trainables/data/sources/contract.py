"""What every place of labelled samples gives, and how its errors list what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trainables.config import Kind
from trainables.modality import Modality

__all__ = ["PARTS", "PART_OF", "Source", "listed"]

PARTS: Final = ("train", "val", "test")
"""The splits, in the order that `Source.given_split` numbers them."""

PART_OF: Final = {"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}
"""Number of a split by the names that people give it."""

_SHOWN: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Labelled samples of one dataset, none of them read yet."""

    modality: Modality
    kind: Kind = "classification"
    key: str
    """Changes when the data change; names what is encoded from them."""

    names: tuple[str, ...]
    """Of each sample: its path under the root, its line in a file, or its number in a bundled set."""

    targets: npt.NDArray[Any]
    """int64 class numbers (n,); float32 0/1 (n, labels); or float32 numbers (n, targets)."""

    class_names: tuple[str, ...]
    """Of the classes, the labels, or the regression targets."""

    given_split: npt.NDArray[np.int64] | None = None
    """0 train, 1 val, 2 test for each sample, or None where the source has no splits."""

    groups: npt.NDArray[np.int64] | None = None
    """Number of the group of each sample (which must not part between splits), or None."""

    load: Callable[[int], Any]
    """Sample by position: an RGB `PIL.Image.Image`; a text or a pair of texts as a tuple; or a mono
    waveform, float32 in [-1, 1], with its sampling rate in Hz. Raises ValueError for one that cannot
    be read."""

    framed: bool = False
    """Whether the subject fills the image, so that nothing of it may be cropped away."""

    input_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    """Of a table: those that were used, given or found out."""

    notes: tuple[str, ...] = ()
    """What a person should know of how the data were read: files left aside, splits without labels."""


def listed(lines: Sequence[str]) -> str:
    """`lines`, one below the other and indented; of a long list the first 20."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
