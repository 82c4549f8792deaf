"""What a saved model is, as plain values in `model.json` (no torch)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from trainables.config import Kind, Precision
from trainables.errors import WeightsUnavailable
from trainables.modality import Modality

__all__ = [
    "CHECKPOINT",
    "EXAMPLE",
    "EXAMPLE_INPUTS",
    "FACTS_FILE",
    "INPUT_COLUMNS",
    "OUTPUT_FILE",
    "WEIGHTS_FILE",
    "ModelFacts",
    "file_digests",
    "model_folder",
    "read_example",
    "read_example_output",
    "read_facts",
    "write_facts",
]

FORMAT: Final = 1
FACTS_FILE: Final = "model.json"
WEIGHTS_FILE: Final = "model.safetensors"
CHECKPOINT: Final = "checkpoint"
EXAMPLE: Final = "example"
OUTPUT_FILE: Final = "output.json"

EXAMPLE_INPUTS: Final[Mapping[Modality, str]] = {"image": "input.png", "text": "input.json", "audio": "input.wav"}
"""Name of the example's file; texts are a JSON list of one, or of the two of a pair."""

INPUT_COLUMNS: Final[Mapping[Modality, tuple[str, ...]]] = {
    "image": ("image",),
    "text": ("text",),
    "audio": ("audio",),
}
"""Columns of what a model is given, by modality; pairs of texts have ``text_pair`` as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """All that is needed to build the network again and feed it, and what is known of how good it is."""

    backbone: str
    """As `trainables.catalog.lookup` takes it."""

    modality: Modality
    kind: Kind
    class_names: tuple[str, ...]
    """Of the classes, the labels or the regression targets, in the order of the outputs."""

    inputs: Mapping[str, Any]
    """How a sample becomes tensors. Of images ``side``, ``framed`` and the fields of `ImagePreprocessing`; of
    texts ``max_length`` in tokens and whether they are ``pairs``; of sounds ``sampling_rate`` in Hz and
    ``max_duration_s``, or null."""

    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    """Of a regression: outputs are in these standard deviations from these means."""

    precision: Precision = "auto"

    num_blocks: int
    config: Mapping[str, Any]
    """The fields of the `FinetuneConfig` it was trained with."""

    task: str
    """Name of the task it was trained on."""

    data_digest: str
    """sha256 of the task's encoded samples."""

    num_train: int
    num_val: int
    num_test: int

    metric: str
    """The task's main metric: ``accuracy``, ``f1_macro`` or ``r2``."""

    best_epoch: int
    """Whose weights these are, 1-based: the best on validation."""

    val_score: float
    test_score: float
    """Of these weights, by `metric`."""

    chance: float
    """The metric's value on test for the best constant answer."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from, as whoever saved it says: sweep, study, number of the run."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages it was trained with, by distribution."""

    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of every other file of the folder, by its path in it."""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Of a table of samples to predict."""
        return (*INPUT_COLUMNS[self.modality], *(["text_pair"] if self.inputs.get("pairs") else []))

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Of the table of predictions: ``label`` and one ``probability_<class>`` per class; of several labels the
        probabilities alone; of a regression the targets by their names."""
        if self.kind == "regression":
            return self.class_names
        probabilities = tuple(f"probability_{name}" for name in self.class_names)
        return ("label", *probabilities) if self.kind == "classification" else probabilities

    @property
    def weights_digest(self) -> str:
        """sha256 of the weights file: what tells one model from another."""
        return self.files[WEIGHTS_FILE]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`.

        Raises:
            KeyError, TypeError, ValueError: it is of another form.
        """
        if document["format"] != FORMAT:
            raise ValueError(f"it is of format {document['format']}, and {FORMAT} is read here")
        values = {f.name: document[f.name] for f in fields(cls)}
        listed = {name: tuple(values[name]) for name in ("class_names", "target_mean", "target_std")}
        return cls(**{**values, **listed})

    @property
    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"format": FORMAT, **asdict(self)}


def model_folder(folder: str | Path) -> Path:
    """Where a model lies: in `folder`, or in that of an MLflow model around it.

    Raises:
        WeightsUnavailable: in neither.
    """
    path = Path(folder)
    found = [path, *sorted((path / "data").glob("*"))]
    try:
        return next(place for place in found if (place / FACTS_FILE).is_file())
    except StopIteration:
        raise WeightsUnavailable(
            f"a model is a folder with {FACTS_FILE}, or an MLflow model made of one; {path.absolute()} is neither"
        ) from None


def read_facts(folder: str | Path) -> ModelFacts:
    """What the model in `folder` is.

    Raises:
        WeightsUnavailable: there is none, or `model.json` is damaged.
    """
    file = model_folder(folder) / FACTS_FILE
    try:
        return ModelFacts.of(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WeightsUnavailable(f"{file} must be as it was written, and is not ({error}); export it again") from error


def write_facts(folder: Path, facts: ModelFacts) -> None:
    """Raises OSError where the folder cannot be written."""
    (folder / FACTS_FILE).write_text(json.dumps(facts.document, indent=2) + "\n", encoding="utf-8")


def read_example(place: Path, facts: ModelFacts) -> dict[str, list[Any]]:
    """A table of one sample, as `ExportedModel.predict` takes it: the bytes of a file, or the texts.

    Args:
        place: of the model itself, as `model_folder` gives it.

    Raises:
        WeightsUnavailable: the model has no example, or it is damaged.
    """
    file = place / EXAMPLE / EXAMPLE_INPUTS[facts.modality]
    try:
        content = file.read_bytes()
        values: list[Any] = json.loads(content) if facts.modality == "text" else [content]
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"the example {file} cannot be read: {error}") from error
    return {name: [value] for name, value in zip(facts.input_columns, values, strict=True)}


def read_example_output(place: Path) -> dict[str, list[Any]]:
    """What the trained network answered for the example, one value in each output column. Raises as `read_example`."""
    file = place / EXAMPLE / OUTPUT_FILE
    try:
        answer: dict[str, list[Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"the example {file} cannot be read: {error}") from error
    return answer


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but `model.json`, by its path there."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != FACTS_FILE:
            with path.open("rb") as opened:
                digests[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return digests
