"""Files that this process has opened, and copies of small ones on the GPU."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import torch

from trainables.activations.file import Table
from trainables.activations.reading import Activations
from trainables.memory_limit import free_memory

__all__ = ["Opened"]

_SHARE: Final = 0.25
"""Of the GPU memory that this process could take without the copies."""


class Opened:
    """The activations that later trials of this process will ask for again.

    On the CPU that is the mapping: it is in memory once for all processes, and gathering from a copy is not
    faster. On a GPU it is a copy on the device where there is room; the longest unused make room for others.
    """

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[Path, torch.device], tuple[Activations, int]] = OrderedDict()

    def get(self, path: Path, device: torch.device) -> Activations | None:
        found = self._opened.get((path, device))
        if found is None:
            return None
        self._opened.move_to_end((path, device))
        return found[0]

    def add(self, path: Path, device: torch.device, table: Table) -> Activations:
        # Not tensors of inference mode, whoever asks first: training could not use them.
        with torch.inference_mode(False), torch.no_grad():
            is_resident = device.type == "cuda" and self._make_room(table.num_bytes, device)
            activations = Activations(table, device, resident=is_resident)
        self._opened[path, device] = activations, table.num_bytes if is_resident else 0
        return activations

    def forget(self) -> None:
        self._opened.clear()

    def _make_room(self, num_bytes: int, device: torch.device) -> bool:
        """Whether a copy of `num_bytes` fits the budget, the copies longest unused given up for it."""
        copies = {key: size for key, (_, size) in self._opened.items() if size and key[1] == device}
        held = sum(copies.values())
        budget = _SHARE * (free_memory(device) + held)
        if num_bytes > budget:
            return False
        for key, size in copies.items():
            if held + num_bytes <= budget:
                break
            del self._opened[key]
            held -= size
        return True
