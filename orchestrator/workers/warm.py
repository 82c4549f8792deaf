"""What a process keeps for the next trial."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Warm"]

V = TypeVar("V")


class Warm(Generic[V]):
    """The last values made, by key, least recently used first out.

    A count of them would not do: studies take turns, and with one backbone more than are kept, every
    trial would build its own anew.

    Args:
        size: of a value, against `limit`. The value just asked for is kept whatever its size.
    """

    def __init__(self, size: Callable[[V], float], limit: float) -> None:
        self.limit = limit
        self._size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def clear(self) -> None:
        self._values.clear()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > 1 and sum(map(self._size, self._values.values())) > self.limit:
            self._values.popitem(last=False)
        return self._values[key]
