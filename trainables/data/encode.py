"""A source as one checkpoint takes it, encoded once per machine."""

from __future__ import annotations

from typing import Final

from trainables.config import TaskSpec
from trainables.data.audio import encode_audio
from trainables.data.images import encode_images
from trainables.data.samples import Encoded
from trainables.data.sources.contract import Source, listed
from trainables.data.text import encode_text
from trainables.errors import DataError, InvalidConfig
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, Preprocessing, TextPreprocessing

__all__ = ["encode", "notes", "require_modality"]

_NAMED: Final = 3

_PLURAL: Final = {"image": "images", "text": "texts", "audio": "sounds"}


def require_modality(spec: TaskSpec, source: Source, preprocessing: Preprocessing) -> None:
    """Raises InvalidConfig where the backbone takes another modality than the data are of."""
    if source.modality != preprocessing.modality:
        raise InvalidConfig(
            f"task {spec.name!r} is of {source.modality} data, the backbone takes {preprocessing.modality}; "
            "rank backbones of one modality per sweep"
        )


def encode(source: Source, spec: TaskSpec, preprocessing: Preprocessing) -> Encoded:
    """Encode, or map what was encoded before. Samples that cannot be read are handled as `spec` says: both
    policies read the same file, so that changing one's mind costs nothing.

    Raises:
        DataError: samples that cannot be read, all counted and many named; or the cache has no room.
        InvalidConfig: the backbone takes another modality than the data are of.
    """
    require_modality(spec, source, preprocessing)
    encoded = _encode(source, spec, preprocessing)
    bad, num = encoded.unreadable, len(source.names)
    if len(bad) == num or (bad and spec.on_bad_sample == "stop"):
        skip = "" if len(bad) == num else "; on_bad_sample: skip leaves them out"
        shown = listed([f"{source.names[row]}: {reason}" for row, reason in bad])
        raise DataError(f"{_counted(source, len(bad))} cannot be read{skip}:{shown}")
    return encoded


def notes(source: Source, encoded: Encoded) -> tuple[str, ...]:
    """What a person should know: what was cut, and what was skipped."""
    if not encoded.unreadable:
        return encoded.notes
    names = ", ".join(source.names[row] for row, _ in encoded.unreadable[:_NAMED])
    more = ", ..." if len(encoded.unreadable) > _NAMED else ""
    skipped = f"{_counted(source, len(encoded.unreadable))} cannot be read and are left out: {names}{more}"
    return (skipped, *encoded.notes)


def _counted(source: Source, count: int) -> str:
    return f"{count:,} of {len(source.names):,} {_PLURAL[source.modality]}"


def _encode(source: Source, spec: TaskSpec, preprocessing: Preprocessing) -> Encoded:
    # One that could not be read may have been a fault of the moment, or its file repaired. Who wants none missing is
    # not told of it from a cache; who skips wants the same samples every time.
    retry = spec.on_bad_sample == "stop"
    match preprocessing:
        case ImagePreprocessing():
            side = spec.image_size or preprocessing.input_size
            return encode_images(source, side, preprocessing, retry=retry)
        case TextPreprocessing():
            return encode_text(source, spec.max_length, preprocessing, retry=retry)
        case AudioPreprocessing():
            return encode_audio(source, spec.max_duration_s, preprocessing, retry=retry)
