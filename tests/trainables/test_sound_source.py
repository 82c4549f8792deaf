"""Class folders of sounds and of text files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.config import TaskSpec
from trainables.data.source import Source, open_source
from trainables.errors import DataError, MissingExtra

FSDD = Path(__file__).parents[2].parent / "shared" / "assets" / "data" / "fsdd"


def opened(root: Path, **fields: Any) -> Source:
    return open_source(TaskSpec(name="t", data=str(root), **fields))


class TestSounds:
    @pytest.fixture
    def soundfile(self) -> Any:
        return pytest.importorskip("soundfile")

    @pytest.fixture
    def root(self, tmp_path: Path, soundfile: Any) -> Path:
        wave = np.linspace(-1, 1, 4000, dtype=np.float32)
        for name in ("low", "high"):
            (tmp_path / "sounds" / name).mkdir(parents=True)
            for suffix in ("wav", "flac", "ogg", "mp3"):
                soundfile.write(tmp_path / "sounds" / name / f"x.{suffix}", wave, 16000)
        return tmp_path / "sounds"

    def test_every_format(self, root: Path) -> None:
        source = opened(root)
        assert source.modality == "audio"
        assert len(source.names) == 8
        for index, name in enumerate(source.names):
            waveform, rate = source.load(index)
            assert rate == 16000
            assert waveform.dtype == np.float32
            assert waveform.ndim == 1
            assert abs(waveform).max() <= 1
            if name.endswith(("wav", "flac")):
                assert abs(waveform - np.linspace(-1, 1, 4000)).max() < 1e-3

    def test_channels_are_mixed_at_their_own_rate(self, root: Path, soundfile: Any) -> None:
        stereo = np.stack([np.full(50, 0.5), np.full(50, -0.1)], axis=1)
        soundfile.write(root / "high" / "x.wav", stereo, 22050, subtype="FLOAT")
        source = opened(root)
        waveform, rate = source.load(source.names.index("high/x.wav"))
        assert rate == 22050
        assert waveform == pytest.approx(np.full(50, 0.2))

    @pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00\x00\x00WAVE", b"no sound at all" * 9])
    def test_damaged(self, root: Path, content: bytes) -> None:
        (root / "high" / "x.wav").write_bytes(content)
        source = opened(root)
        with pytest.raises(ValueError):
            source.load(source.names.index("high/x.wav"))

    def test_more_than_memory_should_hold(self, root: Path, soundfile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        bomb = bytearray((root / "high" / "x.flac").read_bytes())
        bomb[21] |= 0x0F  # the 36 bits of its length: 256 GiB to be read
        bomb[22:26] = b"\xff" * 4
        (root / "high" / "x.flac").write_bytes(bomb)
        source = opened(root)
        with pytest.raises(ValueError, match="68,719,476,735 samples in 1 channels exceed the limit of 268,435,456"):
            source.load(source.names.index("high/x.flac"))
        monkeypatch.setattr("trainables.data.sources.reading.MAX_SOUND_NUMBERS", 3999)
        with pytest.raises(ValueError, match="4,000 samples"):
            source.load(source.names.index("low/x.wav"))

    def test_no_samples_and_no_numbers(self, root: Path, soundfile: Any) -> None:
        soundfile.write(root / "high" / "x.wav", np.zeros(0), 8000)
        soundfile.write(root / "low" / "x.wav", np.array([0, np.nan]), 8000, subtype="FLOAT")
        source = opened(root)
        for name, message in (("high/x.wav", "no samples"), ("low/x.wav", "not all finite")):
            with pytest.raises(ValueError, match=message):
                source.load(source.names.index(name))

    def test_without_the_library(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "soundfile", None)
        with pytest.raises(MissingExtra, match=r'pip install "orchestrator\[audio\]"'):
            opened(root)

    @pytest.mark.skipif(not FSDD.is_dir(), reason="needs the spoken digits")
    def test_real_ones(self, soundfile: Any) -> None:
        source = opened(FSDD)
        assert len(source.class_names) == 10
        waveform, rate = source.load(0)
        assert rate == 8000
        assert 0.1 < abs(waveform).max() <= 1


class TestTexts:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name in ("good", "bad"):
            for part in ("train", "test"):
                (tmp_path / "texts" / part / name).mkdir(parents=True)
                for index in range(2):
                    path = tmp_path / "texts" / part / name / f"{index}.txt"
                    path.write_text(f"{name} {index}\n", encoding="utf-8-sig")
        return tmp_path / "texts"

    def test_the_content_is_the_sample(self, root: Path) -> None:
        source = opened(root)
        assert source.modality == "text"
        assert source.class_names == ("bad", "good")
        assert source.load(0) == "bad 0\n"

    def test_unreadable(self, root: Path) -> None:
        (root / "train" / "bad" / "0.txt").write_text("  \n")
        (root / "train" / "bad" / "1.txt").write_bytes("café".encode("latin-1"))
        source = opened(root)
        with pytest.raises(ValueError, match="its text is empty"):
            source.load(0)
        with pytest.raises(ValueError, match=r"not UTF-8 \(byte 4 is 0xe9\)"):
            source.load(1)

    def test_a_class_without_texts(self, root: Path) -> None:
        for path in (root / "test" / "bad").iterdir():
            path.unlink()
        with pytest.raises(DataError, match=r"test/bad has no text file; expected files of \.txt"):
            opened(root)
