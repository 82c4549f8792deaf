"""All samples of a source, read in parallel and handed on in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from trainables.data.sources.contract import Source

__all__ = ["Reader"]

T = TypeVar("T")

_Outcome: TypeAlias = tuple[T | None, int, str]
"""What a sample became, its fingerprint, and why it could not be read."""

_ROWS_PER_TASK: Final = 16
_MAX_REASON: Final = 300


class Reader(Generic[T]):
    """Reads and converts each sample once, and remembers the fingerprints and what could not be read.

    Args:
        source: its `load` is called from several threads at once if `num_threads` is more than 1.
        convert: one loaded sample to what is kept of it and its fingerprint. A ValueError from it, as from
            `load`, makes the sample an unreadable one.
        num_threads: Pillow, NumPy and SciPy do their work outside Python's lock.
    """

    def __init__(self, source: Source, convert: Callable[[Any], tuple[T, int]], num_threads: int = 1) -> None:
        self._source = source
        self._convert = convert
        self._num_threads = num_threads
        self.num_rows = len(source.names)
        self.fingerprints: npt.NDArray[np.uint64] = np.zeros(self.num_rows, dtype=np.uint64)
        self._reasons: dict[int, str] = {}

    @property
    def unreadable(self) -> tuple[tuple[int, str], ...]:
        return tuple(self._reasons.items())

    def can_read_any(self, unreadable: Iterable[tuple[int, str]]) -> bool:
        """Whether one of the samples that could not be read before can be read now."""
        return any(self._one(row)[0] is not None for row, _ in unreadable)

    def __iter__(self) -> Iterator[T | None]:
        """Every sample in order, None for one that cannot be read."""
        for row, (content, fingerprint, reason) in enumerate(self._all()):
            self.fingerprints[row] = fingerprint
            if content is None:
                self._reasons[row] = reason
            yield content

    def _all(self) -> Iterator[_Outcome[T]]:
        if self._num_threads == 1:
            yield from map(self._one, range(self.num_rows))
            return
        executor = ThreadPoolExecutor(self._num_threads)
        pending: deque[Future[list[_Outcome[T]]]] = deque()
        try:
            for start in range(0, self.num_rows, _ROWS_PER_TASK):
                # A few tasks ahead of what is consumed: memory is bounded by them, not by the dataset.
                if len(pending) == 3 * self._num_threads:
                    yield from pending.popleft().result()
                pending.append(executor.submit(self._some, start))
            while pending:
                yield from pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)

    def _some(self, start: int) -> list[_Outcome[T]]:
        return [self._one(row) for row in range(start, min(start + _ROWS_PER_TASK, self.num_rows))]

    def _one(self, row: int) -> _Outcome[T]:
        try:
            content, fingerprint = self._convert(self._source.load(row))
        except ValueError as error:
            return None, 0, str(error)[:_MAX_REASON] or type(error).__name__
        return content, fingerprint, ""
