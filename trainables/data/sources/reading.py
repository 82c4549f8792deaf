"""One sample from a file or from its bytes: an image, a text or a sound."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.errors import MissingExtra
from trainables.modality import Modality

__all__ = ["SUFFIXES", "modality_of", "modality_of_bytes", "read", "read_text", "require_reader", "to_rgb"]

SUFFIXES: Final[dict[Modality, frozenset[str]]] = {
    "image": frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}),
    "text": frozenset({".txt"}),
    "audio": frozenset({".wav", ".flac", ".ogg", ".mp3"}),
}

_SOUND_MARKS: Final = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
MAX_SOUND_NUMBERS: Final = 2**28
"""4.6 hours at 16 kHz, or 1 GiB once read. A megabyte of FLAC holds more of silence, and a header claims anything."""

_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""


def modality_of(name: str) -> Modality | None:
    """By the suffix of a file's name; None for one that is no sample."""
    suffix = Path(name).suffix.lower()
    return next((modality for modality, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def modality_of_bytes(content: bytes) -> Modality:
    """A sound by the first bytes of its format, else an image."""
    # RIFF is the container of WebP, too.
    return "audio" if content.startswith(_SOUND_MARKS) and content[8:12] != b"WEBP" else "image"


def require_reader(modality: Modality) -> None:
    """Refuse sounds before the first one is read where nothing can read them.

    Raises:
        MissingExtra: soundfile, or the library under it, is not installed.
    """
    if modality == "audio":
        _soundfile()


def read(modality: Modality, content: Path | bytes) -> Any:
    """The sample as `Source.load` gives it, from a file or from the bytes of one.

    Raises:
        ValueError: it cannot be read.
        MissingExtra: it is a sound and soundfile is not installed.
    """
    if modality == "image":
        return _read_image(content)
    if modality == "audio":
        return _read_audio(content)
    try:
        return read_text((content.read_bytes() if isinstance(content, Path) else content).decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start + 1} is 0x{error.object[error.start]:02x})") from error


def read_text(text: str | None) -> str:
    """`text`, which must say something.

    Raises:
        ValueError: it is missing or blank.
    """
    if text is None or not text.strip():
        raise ValueError("its text is empty")
    return text


def _read_image(content: Path | bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            _refuse_bomb(image)
            return to_rgb(_upright(image))
    except Exception as error:  # on damaged files Pillow raises SyntaxError, TypeError and others, too
        raise ValueError(str(error) or type(error).__name__) from error


def _refuse_bomb(image: Image.Image) -> None:
    """Pillow refuses twice its limit and warns of the limit itself. Filters that turn a warning into an
    error hold for all threads of a process, and samples are read from several."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"its {image.width} x {image.height} pixels exceed the limit of {limit:,}; save it smaller")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera was held. `ImageOps.exif_transpose` would also rewrite the other tags, and
    fails where one of them is damaged."""
    image.load()  # first: Pillow turns a TIFF itself as it loads it, and takes the tag away
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged tags raise struct.error, SyntaxError and others; the pixels are whole
        return image
    return image if method is None else image.transpose(method)


def to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits per channel; Pillow's own conversion clips deeper grey to white.

    Raises:
        ValueError: the range of its pixels is unknown.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError("its pixels are 32-bit numbers of unknown range; save it with 8 or 16 bits")
        return Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _read_audio(content: Path | bytes) -> tuple[npt.NDArray[np.float32], int]:
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else str(content)) as sound:
            if sound.frames * sound.channels > MAX_SOUND_NUMBERS:
                raise ValueError(
                    f"its {sound.frames:,} samples in {sound.channels} channels exceed the limit of "
                    f"{MAX_SOUND_NUMBERS:,}; cut it into shorter ones"
                )
            samples, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except Exception as error:  # libsndfile's own errors, and TypeError where a header contradicts itself
        raise ValueError(str(error)) from error
    if not len(samples):
        raise ValueError("it has no samples")
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise ValueError("its samples are not all finite numbers")
    # Lossy formats overshoot full scale a little.
    return np.clip(mono, -1.0, 1.0), int(rate)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the wheel without libsndfile
        raise MissingExtra('sounds are read by soundfile: pip install "orchestrator[audio]"') from error
    return soundfile
