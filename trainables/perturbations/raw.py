"""Samples as perturbations take them, and back to what a backbone takes, for each modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import Tensor

from trainables.batches import eval_batches
from trainables.data import Split, Task
from trainables.data.audio import Sound, beginning, duration_limit, encode_sound
from trainables.data.ragged import Ragged
from trainables.data.samples import Samples, Sounds
from trainables.data.source import open_source
from trainables.data.text import Texts, encode_texts, length_limit
from trainables.errors import DataError
from trainables.perturbations.audio import AUDIO
from trainables.perturbations.contract import Perturbation
from trainables.perturbations.image import IMAGE
from trainables.perturbations.text import TEXT, of_each
from trainables.preprocessing import AudioPreprocessing, State, TextPreprocessing

__all__ = ["Raw", "raw"]

S = TypeVar("S")

_TOLERANCE: Final = 1e-4
"""Of features computed again, as a share of the largest: the number of threads may round them otherwise."""


class Raw(Protocol[S]):
    """Some samples of a dataset, by their row in it."""

    @property
    def perturbations(self) -> Mapping[str, Perturbation[S]]:
        """Those of the modality, by name."""

    def sample(self, row: int) -> S:
        """As perturbations take it."""

    def encoded(self, samples: Sequence[S]) -> State:
        """A batch, as `trainables.data.samples.Samples.batch` gives it."""


class _Images:
    """The pixels that are stored."""

    perturbations: Mapping[str, Perturbation[Tensor]] = IMAGE

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def sample(self, row: int) -> Tensor:
        batch = self._samples.batch(torch.tensor([row]))
        if not isinstance(batch, Tensor):
            raise TypeError("images are stored as one tensor")
        return batch[0]

    def encoded(self, samples: Sequence[Tensor]) -> State:
        return torch.stack(list(samples))


class _Texts:
    """Texts, or pairs of them, read from where the data are."""

    perturbations: Mapping[str, Perturbation[Texts]] = {name: of_each(function) for name, function in TEXT.items()}

    def __init__(self, task: Task, preprocessing: TextPreprocessing, rows: Sequence[int]) -> None:
        self._texts = {row: (text,) if isinstance(text, str) else text for row, text in _read(task, rows)}
        self._tokenizer = preprocessing.tokenizer
        self._max_length = length_limit(task.spec.max_length, preprocessing)

    def sample(self, row: int) -> Texts:
        return self._texts[row]

    def encoded(self, samples: Sequence[Texts]) -> State:
        tokens = encode_texts(samples, self._max_length, self._tokenizer)
        return tokens.batch(torch.arange(len(samples)))


class _Sounds:
    """Waveforms, read from where the data are and kept in memory."""

    perturbations: Mapping[str, Perturbation[Sound]] = AUDIO

    def __init__(self, task: Task, preprocessing: AudioPreprocessing, rows: Sequence[int]) -> None:
        self._preprocessing = preprocessing
        self._limit = duration_limit(task.spec.max_duration_s, preprocessing)
        self._sounds = {row: self._kept(sound) for row, sound in _read(task, rows)}

    def sample(self, row: int) -> Sound:
        return self._sounds[row]

    def encoded(self, samples: Sequence[Sound]) -> State:
        features = [encode_sound(sound, self._limit, self._preprocessing) for sound in samples]
        return Sounds(Ragged.of(features)).batch(torch.arange(len(samples)))

    def _kept(self, sound: Sound) -> Sound:
        waveform, rate = beginning(sound, self._limit, self._preprocessing)
        return waveform.copy(), rate  # a view would keep the rest of a long recording in memory


def raw(task: Task, split: Split) -> Raw[Any]:
    """The samples of `split`, which is a part of one of the task's.

    Texts and sounds are read from where the task's data are, once; images are those that are stored.

    Raises:
        DataError: the data cannot be read any more, or are not what they were when the task was loaded.
    """
    match task.preprocessing:
        case TextPreprocessing() as preprocessing:
            samples: Raw[Any] = _Texts(task, preprocessing, split.rows.tolist())
        case AudioPreprocessing() as preprocessing:
            samples = _Sounds(task, preprocessing, split.rows.tolist())
        case _:
            return _Images(split.samples)
    _require_unchanged(task, split, samples)
    return samples


def _read(task: Task, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
    source = open_source(task.spec)
    for row in rows:
        try:
            sample = source.load(row)
        except (ValueError, IndexError) as error:
            raise _changed(task, str(error)) from error
        yield row, sample


def _require_unchanged(task: Task, split: Split, samples: Raw[S]) -> None:
    for positions in eval_batches(split):
        stored, _ = split.batch(positions)
        again = samples.encoded([samples.sample(row) for row in split.rows[positions].tolist()])
        if not all(_alike(one, other) for one, other in zip(stored, again, strict=True)):
            raise _changed(task, f"some of {len(positions)} samples are encoded otherwise")


def _alike(stored: Tensor, again: Tensor) -> bool:
    if stored.shape != again.shape:
        return False
    tolerance = _TOLERANCE * float(stored.abs().max()) if stored.is_floating_point() else 0.0
    return torch.allclose(stored, again, rtol=0.0, atol=tolerance)


def _changed(task: Task, problem: str) -> DataError:
    return DataError(
        f"data {task.spec.data!r} must be what they were when task {task.spec.name!r} was loaded, and they are not "
        f"({problem}); leave them alone while a sweep runs, and begin a new one after a change"
    )
