"""Samples as people have them to tensors as a saved model takes them, by the very code that training uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from trainables.data.audio import encode_sound
from trainables.data.images import encode_image
from trainables.data.ragged import Ragged
from trainables.data.samples import Pixels, Samples, Sounds
from trainables.data.sources.reading import read, read_text, to_rgb
from trainables.data.text import encode_texts
from trainables.errors import DataError, did_you_mean
from trainables.exported.facts import ModelFacts
from trainables.modality import Modality
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing, TextPreprocessing

__all__ = ["AT_ONCE", "as_rows", "encoded"]

_ADDRESS: Final = re.compile(r"<_io\.BytesIO object at \w+>")

AT_ONCE: Final[Mapping[Modality, int]] = {"image": 1024, "text": 65_536, "audio": 1024}
"""Samples that are held in memory together."""


def as_rows(samples: Any, facts: ModelFacts) -> list[Any]:
    """The samples one by one.

    Args:
        samples: a table (a pandas DataFrame, or a mapping of columns) with the columns of
            `ModelFacts.input_columns`, or a sequence: of bytes of a file, paths or images; of texts, or pairs of
            them as tuples; of bytes, paths, or (mono waveform in [-1, 1], sampling rate in Hz).

    Raises:
        DataError: a column is missing, or it is a single sample.
    """
    if hasattr(samples, "columns") or isinstance(samples, Mapping):
        present = [str(name) for name in (samples.keys() if isinstance(samples, Mapping) else samples.columns)]
        for name in facts.input_columns:
            if name not in present:
                raise DataError(
                    f"a table of samples must have the columns {', '.join(facts.input_columns)}, got "
                    f"{', '.join(present) or 'none'}{did_you_mean(name, present)}"
                )
        columns = [list(samples[name]) for name in facts.input_columns]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    if isinstance(samples, (str, bytes, PathLike)) or not isinstance(samples, Sequence | np.ndarray):
        raise DataError(
            f"samples must be a table or a sequence, got {type(samples).__name__}; put a single one in a list"
        )
    return list(samples)


def encoded(rows: Sequence[Any], facts: ModelFacts, preprocessing: Preprocessing, *, first: int = 0) -> Samples:
    """The samples as tasks store them.

    Args:
        first: number of the first one, for errors.

    Raises:
        DataError: a sample cannot be read; the first such is named by its place.
        MissingExtra: they are sounds and nothing that is installed reads them.
    """
    read_rows = [_sample(row, facts, first + place) for place, row in enumerate(rows)]
    match preprocessing:
        case ImagePreprocessing():
            side, framed = facts.inputs["side"], facts.inputs["framed"]
            pixels = [encode_image(image, side, preprocessing, framed=framed) for image in read_rows]
            return Pixels(torch.from_numpy(np.stack(pixels)))
        case TextPreprocessing():
            return encode_texts(read_rows, facts.inputs["max_length"], preprocessing.tokenizer)
        case AudioPreprocessing():
            limit = facts.inputs["max_duration_s"]
            features = []
            for place, sound in enumerate(read_rows):
                try:
                    features.append(encode_sound(sound, limit, preprocessing))
                except ValueError as error:
                    raise _unreadable(first + place, error) from error
            return Sounds(Ragged.of(features))


def _sample(value: Any, facts: ModelFacts, place: int) -> Any:
    """As a source of data gives it."""
    try:
        if facts.modality == "text":
            return _texts(value, num=len(facts.input_columns))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return read(facts.modality, bytes(value))
        if isinstance(value, (str, PathLike)):
            return read(facts.modality, Path(value))
        if facts.modality == "image" and isinstance(value, Image.Image):
            return to_rgb(value)
        if facts.modality == "audio" and isinstance(value, tuple) and len(value) == 2:
            return np.asarray(value[0], dtype=np.float32), int(value[1])
    except ValueError as error:
        raise _unreadable(place, error) from error
    raise _unreadable(place, f"it must be the bytes of a file or a path, got {type(value).__name__}")


def _texts(value: Any, *, num: int) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(texts) != num or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"it must be {'a text' if num == 1 else 'a pair of texts'}, got {value!r:.60}")
    return tuple(read_text(text) for text in texts)


def _unreadable(place: int, problem: object) -> DataError:
    # Pillow names the file; of bytes that is an address in memory.
    return DataError(f"sample {place} cannot be read: {_ADDRESS.sub('these bytes', str(problem))}")
