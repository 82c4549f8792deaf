"""Datasets that a dependency carries: they need no file and no network."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from trainables.data.sources.contract import Source

__all__ = ["open_digits"]


def open_digits() -> Source:
    """1,797 handwritten digits of 8 x 8 grey levels 0..16 (UCI, bundled with scikit-learn)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    return Source(
        modality="image",
        key=hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16],
        names=tuple(f"digits[{i}]" for i in range(len(labels))),
        targets=labels,
        class_names=tuple(str(name) for name in bunch.target_names),
        load=lambda index: Image.fromarray(images[index]).convert("RGB"),
        framed=True,
    )
