"""Texts and sounds are read again, perturbed and encoded as the stored ones were."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_networks import linear, planted, value
from torch import Tensor

from trainables.config import TaskSpec
from trainables.data import Task, load_task
from trainables.errors import DataError
from trainables.evaluate.chosen import chosen
from trainables.evaluate.robustness import robustness
from trainables.evaluation import Evaluation
from trainables.perturbations import perturbed_splits
from trainables.preprocessing import AudioPreprocessing, TextPreprocessing

EVERYTHING = Evaluation()

WORDS = ["no", "yes", *(f"word{i}" for i in range(20))]


@dataclass(frozen=True)
class Words:
    """Words to numbers from 4 on between 2 and 3; 1 is unknown and 0 fills."""

    key: str = "words"
    pad_id: int = 0

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> list[tuple[list[int], list[int]]]:
        numbers = {word: i for i, word in enumerate(WORDS, 4)}
        rows = []
        for index, text in enumerate(texts):
            ids = [2, *(numbers.get(word, 1) for word in text.split()), 3]
            second = [] if pairs is None else [*(numbers.get(word, 1) for word in pairs[index].split()), 3]
            rows.append(((ids + second)[:max_length], ([0] * len(ids) + [1] * len(second))[:max_length]))
        return rows


def sum_of_words(batch: tuple[Tensor, ...]) -> Tensor:
    ids, mask, _ = batch
    return (((ids == 5).float() - (ids == 4).float()) * mask).sum(dim=1, keepdim=True)


class TestTexts:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Two texts in a row; the first says yes or no once, among other words."""
        rng = np.random.default_rng(0)
        with (tmp_path / "texts.csv").open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["first", "second", "label"])
            for row in range(60):
                words = [*rng.choice(WORDS[2:], rng.integers(3, 12)), WORDS[row % 2]]
                rows.writerow([" ".join(rng.permutation(words)), " ".join(rng.choice(WORDS[2:], 4)), "ny"[row % 2]])
        return tmp_path / "texts.csv"

    def task(self, file: Path, columns: tuple[str, ...] = ("first",), max_length: int = 64) -> Task:
        spec = TaskSpec(name="t", data=str(file), num_test=30, input_columns=columns, label_columns=("label",))
        return load_task(spec, TextPreprocessing(tokenizer=Words(), max_length=max_length))

    def test_a_reader_of_words_is_hurt_by_what_breaks_them(self, file: Path) -> None:
        found = robustness(planted(self.task(file), [sum_of_words], linear([[-1.0], [1.0]])), EVERYTHING)
        assert value(found, "perturbed_accuracy", "clean") == 1
        assert value(found, "robust_drop", "word_swap") == 0
        # Without its word a text is answered no; all words are in capitals in the end.
        assert value(found, "perturbed_accuracy", "casing:3") == pytest.approx(0.5, abs=0.1)
        for harmful in ("typos", "word_drop", "joined_words"):
            assert value(found, "robust_drop", harmful) < 0

    @pytest.mark.parametrize("columns", [("first",), ("first", "second")])
    def test_they_are_encoded_as_the_stored_ones(self, file: Path, columns: tuple[str, ...]) -> None:
        task = self.task(file, columns, max_length=9)
        part = chosen(task.test, 20)
        for _, _, split in perturbed_splits(task, part):
            ids, mask, types = split.batch(torch.arange(20))[0]
            assert ids.shape == mask.shape == types.shape
            assert ids.shape[1] <= 9
            assert bool((ids[:, 0] == 2).all())
            assert bool((ids[mask == 0] == 0).all())
            assert bool((types[mask == 0] == 0).all())
            assert bool((mask.diff(dim=1) <= 0).all()), "padding is on the right"
            assert len(columns) == 2 or not types.any()

    def test_data_that_changed_are_refused(self, file: Path) -> None:
        task = self.task(file)
        file.write_text(file.read_text().replace("word", "sword"))
        with pytest.raises(DataError, match=r"must be what they were when task 't' was loaded.*encoded otherwise"):
            next(perturbed_splits(task, task.test))

    def test_data_that_are_gone_are_refused(self, file: Path) -> None:
        task = self.task(file)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(lines[:31]))
        with pytest.raises(DataError, match="must be what they were"):
            next(perturbed_splits(task, task.test))


@dataclass(frozen=True)
class Waves:
    """The waveform itself, or frames of ten samples."""

    width: int = 0

    @property
    def key(self) -> str:
        return f"waves-{self.width}"

    def __call__(self, waveform: Any) -> Any:
        return waveform[: len(waveform) // 10 * 10].reshape(-1, 10) if self.width else waveform


class TestSounds:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Loud and quiet tones of unequal length."""
        soundfile = pytest.importorskip("soundfile")
        rng = np.random.default_rng(0)
        for name, peak in (("loud", 0.8), ("quiet", 0.1)):
            (tmp_path / name).mkdir()
            for index in range(20):
                seconds = np.arange(rng.integers(400, 900)) / 4000
                soundfile.write(tmp_path / name / f"{index}.wav", peak * np.sin(600 * np.pi * seconds), 4000)
        return tmp_path

    def task(self, folder: Path, width: int = 0, limit: float | None = None) -> Task:
        preprocessing = AudioPreprocessing(sampling_rate=2000, extractor=Waves(width), max_duration_s=limit)
        return load_task(TaskSpec(name="t", data=str(folder), num_test=20), preprocessing)

    def test_who_listens_for_peaks_is_hurt_by_quietness_only(self, folder: Path) -> None:
        peak = planted(
            self.task(folder), [lambda x: x[0].abs().amax(dim=1, keepdim=True)], linear([[1.0], [-1.0]], [0.0, 0.9])
        )
        found = robustness(peak, EVERYTHING)
        assert value(found, "perturbed_accuracy", "clean") == 1
        assert value(found, "perturbed_accuracy", "gain:3") == 0.5
        assert value(found, "robust_drop", "time_mask") == 0
        assert value(found, "robust_drop", "clipping") == 0

    @pytest.mark.parametrize("width", [0, 10])
    @pytest.mark.parametrize("limit", [None, 0.15])
    def test_lengths_and_padding_stay(self, folder: Path, width: int, limit: float | None) -> None:
        task = self.task(folder, width, limit)
        part = chosen(task.test, 20)
        (features, mask), _ = part.batch(torch.arange(20))
        for name, _, split in perturbed_splits(task, part):
            (perturbed, its_mask), _ = split.batch(torch.arange(20))
            assert torch.equal(mask, its_mask)
            assert (perturbed.dtype, perturbed.shape) == (torch.float32, features.shape)
            assert not perturbed[mask == 0].any()
            # A tone of 300 Hz passes the filter.
            assert name == "low_pass" or not torch.equal(perturbed, features)

    def test_data_that_changed_are_refused(self, folder: Path) -> None:
        task = self.task(folder)
        soundfile = pytest.importorskip("soundfile")
        for file in folder.glob("*/*.wav"):
            waveform, rate = soundfile.read(file)
            soundfile.write(file, waveform * 0.5, rate)
        with pytest.raises(DataError, match="must be what they were"):
            next(perturbed_splits(task, task.test))
