"""Images, decoded and resized as a checkpoint wants them."""

from __future__ import annotations

import hashlib
import math
import warnings
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from trainables.cores import num_cores
from trainables.data.mapped import read_only
from trainables.data.reading import Reader
from trainables.data.samples import Encoded, Pixels
from trainables.data.sources.contract import Source
from trainables.data.store import Content, Growing, stored
from trainables.preprocessing import ImagePreprocessing

__all__ = ["encode_image", "encode_images"]

Bytes: TypeAlias = npt.NDArray[np.uint8]

_RESAMPLING: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_VERSION: Final = 2
"""Of how images are decoded; part of every recipe, so that a change of it reads no old pixels."""


def encode_image(image: Image.Image, side: int, preprocessing: ImagePreprocessing, *, framed: bool) -> Bytes:
    """One RGB image as `encode_images` has it: uint8, shape (3, side, side).

    Args:
        framed: whether the subject fills it, so that nothing of it may be cropped away.
    """
    crop_frac = 1.0 if framed else preprocessing.crop_frac
    resampling = _RESAMPLING[preprocessing.interpolation]
    square = _square(image, side, crop_frac, resampling, squash=preprocessing.crop_mode == "squash")
    return np.asarray(square).transpose(2, 0, 1)


def encode_images(source: Source, side: int, preprocessing: ImagePreprocessing, *, retry: bool) -> Encoded:
    """All images of `source` as uint8, shape (n, 3, side, side).

    The shorter side (both, if `crop_mode` is ``squash``) is resized to ``side / crop_frac``, rounded down as timm
    does, and the central square kept; a framed source is resized to `side` and nothing cropped. Cores decode in
    parallel.

    Args:
        source: of images.
        side: in pixels.
        preprocessing: how to resize and crop.
        retry: decode anew where an image that could not be read now can.

    Raises:
        DataError: the cache has no room.
    """
    crop_frac = 1.0 if source.framed else preprocessing.crop_frac
    num, width = len(source.names), 3 * side * side

    def convert(image: Image.Image) -> tuple[Bytes, int]:
        return encode_image(image, side, preprocessing, framed=source.framed).reshape(-1), _fingerprint(image)

    reader = Reader(source, convert, num_cores())

    def write(scratch: Path) -> Content:
        missing = np.zeros(width, dtype=np.uint8)
        with warnings.catch_warnings(), Growing(scratch / "pixels") as pixels:
            # Images beyond Pillow's pixel limit are refused. A source that says so for each image alone changes, in
            # several threads, filters that are one for all; said here first, whatever it restores is this.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for square in reader:
                pixels.append(missing if square is None else square)
            column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), num, [None, pixels.buffer()])
        return Content(columns={"image": column}, fingerprints=reader.fingerprints, unreadable=reader.unreadable)

    found = stored(
        "images",
        f"{_VERSION}-{source.key}-{side}-{crop_frac:.6f}-{preprocessing.interpolation}-{preprocessing.crop_mode}",
        num,
        write,
        num_bytes=num * width,
        is_stale=lambda content: retry and reader.can_read_any(content.unreadable),
    )
    return Encoded(
        samples=Pixels(read_only(found.content.columns["image"].buffers()[1], num * width).view(num, 3, side, side)),
        digest=found.digest,
        fingerprints=found.content.fingerprints,
        unreadable=found.content.unreadable,
    )


def _fingerprint(image: Image.Image) -> int:
    """Of all pixels as loaded: two files of one image have it in common, two crops of one do not."""
    content = hashlib.blake2b(repr(image.size).encode(), digest_size=8)
    content.update(image.tobytes())
    return int.from_bytes(content.digest(), "little")


def _square(
    image: Image.Image, side: int, crop_frac: float, resampling: Image.Resampling, *, squash: bool
) -> Image.Image:
    """Shorter side (both, if squashed) to ``side / crop_frac``, central square of `side`; only what is kept is
    computed."""
    # Where crop_frac is itself the quotient of two whole numbers the division must give the whole number.
    shorter = math.floor(side / crop_frac + 1e-6)
    # The crop as a box in the original: a panorama of 20,000 x 1 pixels would otherwise be blown up to
    # gigabytes of which one square is kept.
    resized = [shorter if squash else length * shorter // min(image.size) for length in image.size]
    (left, right), (top, bottom) = (_crop(*lengths, side) for lengths in zip(image.size, resized, strict=True))
    return image.resize((side, side), resampling, box=(left, top, right, bottom))


def _crop(length: int, resized: int, side: int) -> tuple[float, float]:
    """Where, in the original, the central `side` pixels of `length` resized to `resized` begin and end.

    Rounded as torchvision's ``Resize`` and ``CenterCrop``, which the checkpoints were published with.
    """
    start = round((resized - side) / 2)
    return start * length / resized, min(length, (start + side) * length / resized)
