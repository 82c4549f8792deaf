"""Which runs of a study may be trained together: linear probes whose configurations are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final, TypeAlias

from trainables.config import FinetuneConfig
from trainables.probe_group import MAX_TOGETHER, is_probe, probe_group

__all__ = ["Companions", "RandomSlice", "companions"]

WINDOW: Final = 256
"""Trials of the random slice that are looked through at a time, so that a long slice costs no long wait."""

Companions: TypeAlias = dict[FinetuneConfig, tuple[FinetuneConfig, ...]]
"""Of each probe: all that may be trained together, itself included, the same tuple for each of them."""


def companions(configs: Iterable[FinetuneConfig], num_blocks: int, *, at_least: int = 2) -> Companions:
    """The probes among `configs`, in their order, each with its companions.

    Args:
        at_least: members of a group, >= 2; probes of smaller ones are left out.
    """
    groups: dict[Hashable, list[FinetuneConfig]] = {}
    for config in configs:
        if is_probe(config, num_blocks):
            groups.setdefault(probe_group(config), []).append(config)
    found: Companions = {}
    for group in groups.values():
        for start in range(0, len(group), MAX_TOGETHER):
            members = tuple(group[start : start + MAX_TOGETHER])
            if len(members) >= at_least:
                found.update(dict.fromkeys(members, members))
    return found


class RandomSlice:
    """The companions of the random slice's probes: its draws depend on nothing but a trial's number.

    Args:
        draw: the configuration of a trial of the slice, by its number; nothing is remembered of a draw.
        num_trials: of the slice.
        num_blocks: of the backbone.
        at_least: as `companions` takes it.
    """

    def __init__(
        self, draw: Callable[[int], FinetuneConfig], num_trials: int, num_blocks: int, *, at_least: int = 2
    ) -> None:
        self._at_least = at_least
        self._draw = draw
        self._num_trials = num_trials
        self._num_blocks = num_blocks
        self._window = -1
        self._found: Companions = {}

    def companions(self, number: int, config: FinetuneConfig) -> tuple[FinetuneConfig, ...]:
        """Of trial `number`, whose configuration is `config`; empty where it is to be trained alone."""
        if not is_probe(config, self._num_blocks):
            return ()
        if number // WINDOW != self._window:
            self._window = number // WINDOW
            numbers = range(self._window * WINDOW, min((self._window + 1) * WINDOW, self._num_trials))
            self._found = companions(map(self._draw, numbers), self._num_blocks, at_least=self._at_least)
        return self._found.get(config, ())
