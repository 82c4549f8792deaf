"""Sounds, resampled and made into the features that a checkpoint wants."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainables.data.ragged import Ragged
from trainables.data.reading import Reader
from trainables.data.samples import Encoded, Sounds
from trainables.data.sources.contract import Source
from trainables.data.store import Content, Growing, stored
from trainables.preprocessing import AudioPreprocessing

__all__ = ["Sound", "beginning", "duration_limit", "encode_audio", "encode_sound"]

Floats: TypeAlias = npt.NDArray[np.float32]

Sound: TypeAlias = tuple[Floats, int]
"""Mono waveform in [-1, 1], and its sampling rate in Hz."""

_VERSION: Final = 1


def duration_limit(max_duration_s: float | None, preprocessing: AudioPreprocessing) -> float | None:
    """Seconds that sounds are cut to: the lesser of the task's and the checkpoint's own limit."""
    return min((limit for limit in (max_duration_s, preprocessing.max_duration_s) if limit is not None), default=None)


def beginning(sound: Sound, limit: float | None, preprocessing: AudioPreprocessing) -> Sound:
    """As much of a sound as `encode_sound` depends on."""
    waveform, rate = sound
    if limit is None:
        return sound
    return waveform[: max(1, round(limit * rate)) + _reach(rate, preprocessing.sampling_rate)], rate


def encode_sound(sound: Sound, limit: float | None, preprocessing: AudioPreprocessing) -> Floats:
    """The extractor's features of a sound, resampled and cut to `limit` seconds.

    Raises:
        ValueError: it holds no samples, or some that are not finite, or too few for one feature.
    """
    waveform, rate = sound
    if not len(waveform) or not np.isfinite(waveform).all():
        raise ValueError("it has no samples, or some that are not finite numbers")
    features = preprocessing.extractor(_resampled(*beginning(sound, limit, preprocessing), preprocessing, limit))
    if not len(features):
        raise ValueError(f"{len(waveform) / rate:.3g} s are too short for the checkpoint's features")
    return np.asarray(features, dtype=np.float32)


def encode_audio(
    source: Source, max_duration_s: float | None, preprocessing: AudioPreprocessing, *, retry: bool
) -> Encoded:
    """All sounds of `source` as the extractor's features, resampled and cut to `max_duration_s`.

    Args:
        source: of mono waveforms with their sampling rates.
        max_duration_s: the checkpoint's own limit holds as well.
        preprocessing: with sampling rate and extractor.
        retry: encode anew where a sound that could not be read now can.

    Raises:
        DataError: the cache has no room.
    """
    limit = duration_limit(max_duration_s, preprocessing)

    def convert(sound: Sound) -> tuple[tuple[Floats, bool], int]:
        waveform, rate = sound
        features = encode_sound(sound, limit, preprocessing)
        is_cut = limit is not None and len(waveform) > limit * rate
        return (features, is_cut), _fingerprint(waveform, rate)

    reader = Reader(source, convert)  # one thread: SciPy's filter holds Python's lock, two were no faster

    def write(scratch: Path) -> Content:
        lengths, shape, num_cut = np.zeros(reader.num_rows, dtype=np.int64), (), 0
        with Growing(scratch / "features") as flat:
            for row, sound in enumerate(reader):
                if sound is not None:
                    features, is_cut = sound
                    lengths[row], shape = len(features), features.shape[1:]
                    num_cut += is_cut
                    flat.append(features)
            column = _column(lengths, shape, flat.buffer())
        return Content(
            columns={"features": column},
            fingerprints=reader.fingerprints,
            unreadable=reader.unreadable,
            num_cut=num_cut,
        )

    found = stored(
        "audio",
        f"{_VERSION}-{source.key}-{preprocessing.sampling_rate}-{limit}-{preprocessing.extractor.key}",
        reader.num_rows,
        write,
        is_stale=lambda content: retry and reader.can_read_any(content.unreadable),
    )
    content = found.content
    cut = f"{content.num_cut:,} of {reader.num_rows:,} sounds are longer than {limit:g} s and were cut" if limit else ""
    return Encoded(
        samples=Sounds(Ragged.from_arrow(content.columns["features"])),
        digest=found.digest,
        fingerprints=content.fingerprints,
        unreadable=content.unreadable,
        notes=(cut,) if content.num_cut else (),
    )


def _column(lengths: npt.NDArray[np.int64], shape: tuple[int, ...], buffer: pa.Buffer) -> pa.LargeListArray:
    """One list of numbers, or of rows of `shape` numbers, per sound."""
    values = pa.Array.from_buffers(pa.float32(), int(lengths.sum()) * math.prod(shape), [None, buffer])
    if shape:
        values = pa.FixedSizeListArray.from_arrays(values, shape[0])
    return pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int64()), values)


def _fingerprint(waveform: Floats, rate: int) -> int:
    content = hashlib.blake2b(repr(rate).encode(), digest_size=8)
    content.update(np.ascontiguousarray(waveform, dtype=np.float32).data)
    return int.from_bytes(content.digest(), "little")


def _resampled(waveform: Floats, rate: int, preprocessing: AudioPreprocessing, limit: float | None) -> Floats:
    """The first `limit` seconds at the checkpoint's rate.

    By a polyphase filter (SciPy's default: linear phase, Kaiser window, cut off at the lower of the two Nyquist
    frequencies), so that what the new rate cannot hold is filtered out and not folded back as noise.
    """
    wanted = preprocessing.sampling_rate
    if rate != wanted:
        from scipy.signal import resample_poly  # takes as long to import as half of torch

        common = math.gcd(rate, wanted)
        waveform = np.asarray(resample_poly(waveform, wanted // common, rate // common), dtype=np.float32)
    return waveform if limit is None else waveform[: max(1, round(limit * wanted))]


def _reach(rate: int, wanted: int) -> int:
    """Samples after a place that the filter reads for it: cutting behind them changes nothing."""
    if rate == wanted:
        return 0
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    return math.ceil(10 * max(up, down) / up) + 1
