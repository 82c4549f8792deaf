"""What an evaluation leaves beside a run's test measurement, and how it is read again.

Everything lies in files of its own before the run's test row does: whoever finds that row finds the rest.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.folder import SweepFolder, write_whole

if TYPE_CHECKING:
    from trainables.evaluate import Findings

__all__ = ["Evaluated", "EvaluationFiles", "leave_findings", "read_evaluations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationFiles:
    """Where one run's evaluation lies."""

    measures: Path
    """Rows of `MEASURES` without study and number, as JSON: what the driver collects."""

    summary: Path
    """``{"class_names": [...], "confusion": [[...]] or null, "notes": [...], "failures": [...]}``."""

    pictures: Path
    """Folder of PNG files and ``captions.json``, which says in a sentence what each shows."""

    @classmethod
    def of(cls, test_file: str | Path) -> Self:
        """Of the run whose test measurement is left in `test_file`."""
        file = Path(test_file)
        folder = file.parents[1]
        return cls(
            measures=file.with_suffix(".measures.json"),
            summary=folder / "evaluations" / file.name,
            pictures=folder / "pictures" / file.stem,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What was measured of one confirmation beyond its score. Pictures are named, not held."""

    study: str
    number: int
    measures: tuple[Mapping[str, Any], ...]
    """Rows of `MEASURES`."""

    class_names: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Test samples by true class and answer; None where there are no classes."""

    notes: tuple[str, ...] = ()
    """What could not be measured, and why; `failures` among them."""

    failures: tuple[str, ...] = ()
    """Of what should have been measured."""

    captions: Mapping[str, str]
    """What each picture shows, by its name."""

    pictures: Path
    """Folder of the PNG files."""

    @property
    def picture_files(self) -> dict[str, Path]:
        """By file name, as they are captioned."""
        return {f"{name}.png": self.pictures / f"{name}.png" for name in self.captions}

    def document(self) -> dict[str, Any]:
        """As JSON takes it, without study and number."""
        return {
            "measures": [{key: row[key] for key in ("name", "split", "condition", "value")} for row in self.measures],
            "class_names": self.class_names,
            "confusion": self.confusion,
            "notes": self.notes,
            "pictures": {str(file): self.captions[file.stem] for file in self.picture_files.values()},
        }

    @classmethod
    def read(cls, test_file: str | Path, *, study: str, number: int) -> Self | None:
        """What a worker left of this run; None where it was not evaluated."""
        files = EvaluationFiles.of(test_file)
        if not files.measures.exists():
            return None
        found = json.loads(files.measures.read_text(encoding="utf-8"))
        rows = [{"study": study, "number": number, **measure} for measure in found]
        return cls._of(files, study, number, rows)

    @classmethod
    def _of(cls, files: EvaluationFiles, study: str, number: int, rows: Sequence[Mapping[str, Any]]) -> Self:
        summary, captions = _json(files.summary), _json(files.pictures / "captions.json")
        confusion = summary.get("confusion")
        return cls(
            study=study,
            number=number,
            measures=tuple(rows),
            class_names=tuple(summary.get("class_names", ())),
            confusion=None if confusion is None else tuple(map(tuple, confusion)),
            notes=tuple(summary.get("notes", ())),
            failures=tuple(summary.get("failures", ())),
            captions=captions,
            pictures=files.pictures,
        )


def leave_findings(
    test_file: str | Path, findings: Findings, *, class_names: Sequence[str], failures: Sequence[str]
) -> None:
    """Write what an evaluation found, each file whole or not at all.

    Args:
        failures: why evaluators failed; they become notes as well.

    Raises:
        OSError: the disk is full or gone.
    """
    files = EvaluationFiles.of(test_file)
    summary = {
        "class_names": list(class_names),
        "confusion": None if findings.confusion is None else findings.confusion.tolist(),
        "notes": [*findings.notes, *failures],
        "failures": list(failures),
    }
    files.summary.parent.mkdir(exist_ok=True)
    write_whole(files.summary, json.dumps(summary))
    if findings.pictures:
        files.pictures.mkdir(parents=True, exist_ok=True)
        for picture in findings.pictures:
            write_whole(files.pictures / f"{picture.name}.png", picture.png)
        captions = {picture.name: picture.caption for picture in findings.pictures}
        write_whole(files.pictures / "captions.json", json.dumps(captions))
    measures = [
        {
            "name": measure.name,
            "split": measure.split,
            "condition": measure.condition,
            "value": float(measure.value) if math.isfinite(measure.value) else None,
        }
        for measure in findings.measures
    ]
    write_whole(files.measures, json.dumps(measures))


def read_evaluations(folder: SweepFolder) -> dict[tuple[str, int], Evaluated]:
    """Every evaluation of a sweep, by study and number of the run, in the order they were recorded."""
    rows: defaultdict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in folder.measures_table().to_pylist():
        rows[row["study"], row["number"]].append(row)
    indices = folder.study_indices()
    trials = folder.trials.read().select(["study", "number", "num_attempts"]).to_pylist()
    attempts = {(row["study"], row["number"]): row["num_attempts"] or 1 for row in trials}  # the last one's files count
    return {
        (study, number): Evaluated._of(
            EvaluationFiles.of(folder.test_file(indices[study], number, attempts[study, number])), study, number, found
        )
        for (study, number), found in rows.items()
        if study in indices
    }


def _attempts(folder: SweepFolder) -> dict[tuple[str, int], int]:
    """Which attempt ended each run: its files are named after it."""
    rows = folder.trials.read().select(["study", "number", "num_attempts"]).to_pylist()
    return {(row["study"], row["number"]): row["num_attempts"] or 1 for row in rows}


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found
