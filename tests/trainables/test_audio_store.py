"""Sounds are resampled, cut and made into features once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import resample_poly

from trainables.config import TaskSpec
from trainables.data.encode import encode
from trainables.data.samples import Encoded
from trainables.data.source import Source
from trainables.errors import DataError
from trainables.preprocessing import AudioPreprocessing

Floats = npt.NDArray[np.float32]

RATE = 8000


@dataclass(frozen=True)
class Raw:
    """The waveform itself."""

    key: str = "raw"

    def __call__(self, waveform: Floats) -> Floats:
        return waveform


@dataclass(frozen=True)
class Frames:
    """`width` numbers for every 100 samples."""

    width: int = 4

    @property
    def key(self) -> str:
        return f"frames-{self.width}"

    def __call__(self, waveform: Floats) -> Floats:
        count = len(waveform) // 100
        return waveform[: count * 100].reshape(count, 100)[:, : self.width]


def source(sounds: Sequence[tuple[Floats, int]]) -> Source:
    return Source(
        modality="audio",
        key="sounds",
        names=tuple(f"{row}.wav" for row in range(len(sounds))),
        targets=np.arange(len(sounds)) % 2,
        class_names=("a", "b"),
        load=sounds.__getitem__,
    )


def encoded(sounds: Sequence[tuple[Floats, int]], extractor: Any, longest: float | None = None, **spec: Any) -> Encoded:
    """`longest` is the checkpoint's own limit, in seconds."""
    preprocessing = AudioPreprocessing(sampling_rate=RATE, extractor=extractor, max_duration_s=longest)
    return encode(source(sounds), TaskSpec(name="t", **spec), preprocessing)


def noise(seconds: float, seed: int, rate: int = RATE) -> tuple[Floats, int]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, round(seconds * rate)).astype(np.float32), rate


def tone(hertz: float, rate: int, seconds: float = 1.0) -> tuple[Floats, int]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32), rate


@pytest.mark.parametrize("extractor", [Raw(), Frames()], ids=["wave", "frames"])
def test_a_batch_is_filled_on_the_right(extractor: Any, cache: Path) -> None:
    sounds = [noise(seconds, row) for row, seconds in enumerate((0.5, 0.3, 0.4))]
    samples = encoded(sounds, extractor).samples
    features, mask = samples.batch(torch.tensor([1, 2]))
    assert (features.dtype, mask.dtype) == (torch.float32, torch.int64)
    for row, (ours, ones) in zip((1, 2), zip(features, mask, strict=True), strict=True):
        theirs = torch.from_numpy(extractor(sounds[row][0]))
        assert torch.equal(ours[: len(theirs)], theirs)
        assert not ours[len(theirs) :].any()
        assert ones.tolist() == [1] * len(theirs) + [0] * (len(ours) - len(theirs))
    assert len(features[0]) == len(extractor(sounds[2][0]))
    assert samples.lengths is not None
    assert samples.lengths.tolist() == [len(extractor(sound)) for sound, _ in sounds]


def test_equal_lengths_need_no_sorting(cache: Path) -> None:
    assert encoded([noise(0.2, row) for row in range(3)], Raw()).samples.lengths is None


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 44100])
def test_a_tone_stays_itself_at_another_rate(rate: int, cache: Path) -> None:
    features, mask = encoded([tone(440, rate)], Raw()).samples.batch(torch.tensor([0]))
    assert mask.sum() == RATE
    middle = slice(RATE // 10, -RATE // 10)  # the filter fades in and out
    assert np.abs(features[0].numpy() - tone(440, RATE)[0])[middle].max() < 5e-3


def test_what_the_new_rate_cannot_hold_is_gone_and_not_folded_back(cache: Path) -> None:
    features, _ = encoded([tone(7000, 44100)], Raw()).samples.batch(torch.tensor([0]))
    middle = features[0, RATE // 10 : -RATE // 10]
    assert middle.square().mean().sqrt() < 0.01  # every fifth or sixth sample alone would keep all of 0.71


@pytest.mark.parametrize("rate", [RATE, 4000, 11025, 44100])
def test_cutting_before_resampling_changes_nothing(rate: int, cache: Path) -> None:
    whole = noise(2, 0, rate)
    features, _ = encoded([whole], Raw(), longest=0.5).samples.batch(torch.tensor([0]))
    uncut = whole[0] if rate == RATE else resample_poly(whole[0], RATE, rate)
    assert features.shape == (1, RATE // 2)
    np.testing.assert_allclose(features[0], uncut[: RATE // 2], atol=1e-6)


@pytest.mark.parametrize(
    ("task", "own", "kept"), [(None, 0.3, 0.3), (0.2, 0.3, 0.2), (0.4, 0.3, 0.3), (0.4, None, 0.4)]
)
def test_the_shorter_limit_holds_and_what_is_cut_is_counted(
    task: float | None, own: float | None, kept: float, cache: Path
) -> None:
    what = encoded([noise(1, 0), noise(0.1, 1), noise(kept, 2)], Raw(), longest=own, max_duration_s=task)
    assert what.samples.lengths is not None
    assert what.samples.lengths.tolist() == [round(kept * RATE), RATE // 10, round(kept * RATE)]
    assert what.notes == (f"1 of 3 sounds are longer than {kept:g} s and were cut",)


def test_sounds_of_which_nothing_can_be_made_are_unreadable(cache: Path) -> None:
    good = [noise(0.3, row) for row in range(2)]
    empty, short = (np.zeros(0, dtype=np.float32), RATE), noise(0.01, 9)
    infinite = (np.array([0.1, np.inf] * 500, dtype=np.float32), RATE)
    sounds = [good[0], empty, short, infinite, good[1]]
    with pytest.raises(DataError, match=r"3 of 5 sounds cannot be read[\s\S]*2\.wav: 0\.01 s are too short"):
        encoded(sounds, Frames())
    what = encoded(sounds, Frames(), on_bad_sample="skip")
    assert what.usable.tolist() == [True, False, False, False, True]
    assert what.samples.lengths is None  # those that are left are of one length
    features, _ = what.samples.batch(torch.tensor([4, 0]))
    assert torch.equal(features[0], torch.from_numpy(Frames()(good[1][0])))


def test_fingerprints_are_of_the_waveform_and_its_rate(cache: Path) -> None:
    wave, _ = noise(1, 0)
    prints = encoded([(wave, RATE), (wave, 16000), (wave.copy(), RATE), (wave[::-1], RATE)], Raw()).fingerprints
    assert prints[0] == prints[2]
    assert len(set(prints.tolist())) == 3


def test_encoded_once_per_extractor_and_rate(cache: Path) -> None:
    sounds = [noise(0.2, row) for row in range(3)]
    first = encoded(sounds, Frames(2))
    silence = [(np.zeros_like(sound), rate) for sound, rate in sounds]  # not looked at
    assert encoded(silence, Frames(2)).digest == first.digest
    assert encoded(sounds, Frames(3)).digest != first.digest
    assert encoded(sounds, Frames(2), longest=0.1).digest != first.digest
    assert len(list(cache.rglob("*.arrow"))) == 3
