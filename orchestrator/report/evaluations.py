"""What evaluations of one study left beside its tables: confusion matrices, notes and pictures, together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.evaluated import Evaluated

__all__ = ["Confusion", "MeasureSet", "PictureFile", "StudyEvaluations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFile:
    """A picture that an evaluation left."""

    path: Path
    caption: str
    number: int
    """Of the run it is of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Test samples by true class and answer, summed over confirmations."""

    class_names: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    num_runs: int


class MeasureSet:
    """The measures of one study's confirmations: what is not finite is left out."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.num_runs = len({row["number"] for row in rows})
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for row in rows:
            if row["value"] is not None and np.isfinite(row["value"]):
                self._values[row["name"], row["split"], row["condition"]].append(float(row["value"]))

    def mean(self, name: str, condition: str = "", split: str = "test") -> float | None:
        """Over the confirmations that have it; None where none has."""
        values = self._values.get((name, split, condition))
        return float(np.mean(values)) if values else None

    def sd(self, name: str, condition: str = "", split: str = "test") -> float | None:
        """Between confirmations; None with fewer than two."""
        values = self._values.get((name, split, condition), [])
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def anywhere(self, name: str, condition: str = "") -> float | None:
        """`mean` on the first split that has it: of what does not depend on one."""
        found = (self.mean(name, condition, split) for split in ("test", "val", "train"))
        return next((value for value in found if value is not None), None)

    def cells(self, name: str, write: Callable[[float | None], str], condition: str = "") -> tuple[str, str]:
        """Mean and standard deviation over the confirmations, as `write` writes them, for a table's two columns."""
        return write(self.mean(name, condition)), write(self.sd(name, condition))

    def conditions(self, name: str, split: str = "test") -> list[str]:
        """Under which `name` was measured, in the order of the records."""
        return [condition for known, of_split, condition in self._values if known == name and of_split == split]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyEvaluations:
    """All evaluations of a study's confirmations, in the order of their numbers."""

    each: tuple[Evaluated, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be measured, said once."""
        return tuple(dict.fromkeys(note for one in self.each for note in one.notes))

    @property
    def pictures(self) -> tuple[PictureFile, ...]:
        """Of the first confirmation that has any: the others show the same samples."""
        one = next((one for one in self.each if one.picture_files), None)
        if one is None:
            return ()
        return tuple(
            PictureFile(path=path, caption=one.captions[path.stem], number=one.number)
            for path in one.picture_files.values()
        )

    @property
    def confusion(self) -> Confusion | None:
        """None where no evaluation has one."""
        found = [one for one in self.each if one.confusion is not None]
        if not found:
            return None
        counts = np.sum([np.asarray(one.confusion, dtype=np.int64) for one in found], axis=0)
        return Confusion(class_names=found[0].class_names, counts=counts, num_runs=len(found))
