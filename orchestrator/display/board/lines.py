"""A line per finished run: for logs, pipes and CI."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console

from orchestrator.display.board.base import Board
from orchestrator.display.words import clock, describe, measure
from orchestrator.evaluated import Evaluated
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Row

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder
    from orchestrator.study_facts import StudyFacts

__all__ = ["LineBoard"]

_PHASES: Final = {"confirmation": "confirm"}
_LEFT_EVERY: Final = 10
"""Runs, or as many seconds as `_LEFT_EVERY_S`: how often a line says how long it will take."""

_LEFT_EVERY_S: Final = 60.0


class LineBoard(Board):
    """Prints what ends.

    Args:
        quiet: whether sentences are all that is printed.
    """

    def __init__(self, plan: Plan, console: Console, *, quiet: bool = False) -> None:
        super().__init__(plan)
        self._console = console
        self._quiet = quiet
        self._names = max(len(study.name) for study in self.state.studies.values())
        self._said_left = time.monotonic()

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def began(self, folder: SweepFolder, studies: Sequence[StudyFacts]) -> None:
        if not self._quiet:
            super().began(folder, studies)

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        super().run_finished(trial, test, evaluated)
        if not self._quiet:
            self.say(self._line(trial))

    def _line(self, trial: Row) -> str:
        ended, total = self.state.ended, self.state.total
        score = "-" if trial["val_score"] is None else f"{trial['val_score']:.3f}"
        state = "" if trial["state"] == "completed" else f" {trial['state']}"
        return (
            f"[{ended:>{len(str(total))}}/{total}] "
            f"{self.state.studies[trial['study']].name:<{self._names}} "
            f"{_PHASES.get(trial['phase'], trial['phase']):<7} {measure([trial])} {score} "
            f"{describe(trial)}, {_epochs(trial['epochs'])} {trial['duration_s']:.1f} s{state}"
            + (f": {trial['error']}" if trial["error"] else self._left())
        )

    def _left(self) -> str:
        """Now and then, how long it will take."""
        is_due = time.monotonic() - self._said_left >= _LEFT_EVERY_S or self.state.ended % _LEFT_EVERY == 0
        left = self.state.left_s
        if not is_due or left is None or self.state.ended >= self.state.total:
            return ""
        self._said_left = time.monotonic()
        return f"  {clock(left)} left" + ("" if self.state.is_total_known else " at most")


def _epochs(num: int) -> str:
    return "1 epoch" if num == 1 else f"{num} epochs"
