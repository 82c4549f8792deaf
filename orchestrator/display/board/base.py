"""What every board is, whatever it prints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from orchestrator.display.board.state import SweepState
from orchestrator.evaluated import Evaluated
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Row
from orchestrator.watcher import Watcher

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder
    from orchestrator.searching.allocation import Race
    from orchestrator.study_facts import StudyFacts

__all__ = ["Board"]


class Board(Watcher, ABC):
    """A `Listener` and `Watcher` that shows what it is told while its context is open."""

    def __init__(self, plan: Plan) -> None:
        self.state = SweepState(plan)

    def shown(self) -> AbstractContextManager[object]:
        """To be open while the sweep runs."""
        return nullcontext()

    @abstractmethod
    def say(self, message: str) -> None:
        """A sentence for whoever watches."""

    def past(self, trials: Sequence[Row]) -> None:
        """Runs that had ended before this board was there."""
        self.state.resume(trials)

    def began(self, folder: SweepFolder, studies: Sequence[StudyFacts]) -> None:
        for line in dict.fromkeys(map(_sizes, studies)):
            self.say(line)

    def slots(self, num: int) -> None:
        self.state.slots = num

    def raced(self, race: Race) -> None:
        for line in self.state.raced(race):
            self.say(line)

    def run_started(self, run: Row) -> None:
        self.state.start(run)

    def epoch(self, row: Row) -> None:
        self.state.epoch(row)

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        self.state.finish(trial)
        for line in self.state.news(evaluated):
            self.say(line)


def _sizes(study: StudyFacts) -> str:
    task = study.study.partition(":")[0]
    outputs = {"regression": "targets", "multilabel": "labels"}.get(study.kind, "classes")
    return (
        f"{task}: {study.num_train} samples to train on, {study.num_val} to validate, {study.num_test} to test; "
        f"{study.num_classes} {outputs}"
    )
