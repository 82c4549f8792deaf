"""A sample to try a saved model with, in a file as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from trainables.data.audio import beginning
from trainables.exported.facts import EXAMPLE_INPUTS
from trainables.preprocessing import AudioPreprocessing, Preprocessing

__all__ = ["write_example"]

_LONGEST_SIDE: Final = 1024
"""In pixels: a photograph from a camera would be larger than many a network."""


def write_example(folder: Path, sample: Any, preprocessing: Preprocessing, limit_s: float | None) -> None:
    """Write a sample as a source of data gives it: an image as PNG, texts as JSON, a sound as WAV of 32-bit floats.

    Args:
        folder: is made.
        limit_s: seconds of a sound that the model takes; None is all.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir()
    file = folder / EXAMPLE_INPUTS[preprocessing.modality]
    if isinstance(sample, Image.Image):
        small = sample.copy()
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        small.save(file)
    elif isinstance(preprocessing, AudioPreprocessing):
        from scipy.io import wavfile  # much to import for who has no sounds

        waveform, rate = beginning(sample, limit_s, preprocessing)
        wavfile.write(file, rate, np.asarray(waveform, dtype=np.float32))
    else:
        texts = [sample] if isinstance(sample, str) else list(sample)
        file.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
