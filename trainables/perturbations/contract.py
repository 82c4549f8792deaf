"""What every perturbation is."""

from __future__ import annotations

import zlib
from typing import Final, Protocol, TypeVar

import numpy as np

__all__ = ["SEVERITIES", "Perturbation", "generator"]

SEVERITIES: Final = (1, 2, 3)

S = TypeVar("S")


class Perturbation(Protocol[S]):
    """Damage to one sample that leaves its target what it was.

    A sample is an image, uint8 (3, side, side); a text; or a mono waveform, float32 in [-1, 1], with its sampling
    rate in Hz.
    """

    def __call__(self, sample: S, severity: int, rng: np.random.Generator, /) -> S:
        """A damaged copy of the sort, shape and type of `sample`.

        Args:
            severity: 1, 2 or 3. With equal draws a higher one adds to what a lower one does.
            rng: of this sample and perturbation alone (`generator`): it begins anew at every severity.
        """


def generator(name: str, row: int) -> np.random.Generator:
    """Draws of the sample at `row` of its dataset under `name`, whatever else is in its batch or its split."""
    return np.random.default_rng((zlib.crc32(name.encode()), row))
