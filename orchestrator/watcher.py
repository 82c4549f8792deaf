"""Who is told how a sweep is conducted, beside what a `Listener` is told of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder
    from orchestrator.searching.allocation import Race
    from orchestrator.study_facts import StudyFacts

__all__ = ["Watcher"]


class Watcher:
    """Is told where a sweep stands. Its methods return at once and must not raise; these do nothing."""

    def began(self, folder: SweepFolder, studies: Sequence[StudyFacts]) -> None:
        """Nothing is missing: from here on there is a sweep, or it goes on.

        Args:
            studies: in the plan's order.
        """

    def slots(self, num: int) -> None:
        """So many runs are under way at a time, if there is work for so many; on a cluster it changes."""

    def held(self, resources: Mapping[str, tuple[float, float]], *, num_nodes: int) -> None:
        """What a cluster's trials hold, once a second.

        Args:
            resources: ``CPU`` and, where there are any, ``GPU`` -> those held, and those there are.
        """

    def raced(self, race: Race) -> None:
        """A race has begun, or has decided something: who is in, and how many trials each may have begun."""
