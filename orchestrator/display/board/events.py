"""The board for programs: `orchestrator.events` says what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from orchestrator.display.board.base import Board
from orchestrator.evaluated import Evaluated
from orchestrator.events import EventWriter
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Row

if TYPE_CHECKING:
    from orchestrator.folder import SweepFolder
    from orchestrator.searching.allocation import Race
    from orchestrator.study_facts import StudyFacts

__all__ = ["EventBoard"]

_STARTED: Final = (
    *("study", "number", "phase", "attempt", "cause", "seed", "freeze_depth", "tune_stop", "num_blocks"),
    *("train_frac", "config"),
)
_EPOCH: Final = ("study", "number", "epoch", "val_score", "val_loss", "train_loss", "train_s", "eval_s")
_FINISHED: Final = (
    *("study", "number", "phase", "state", "error", "epochs", "best_epoch", "metric", "val_score", "freeze_depth"),
    *("learning_rate", "head_learning_rate", "train_frac", "duration_s", "num_attempts"),
)
_STUDY: Final = (
    *("study", "num_blocks", "kind", "modality", "num_train", "num_val", "num_test", "num_classes", "metric"),
)


class EventBoard(Board):
    """Writes what it is told as events."""

    def __init__(self, plan: Plan, events: EventWriter) -> None:
        super().__init__(plan)
        self._events = events

    def say(self, message: str) -> None:
        self._events.write("said", message=message)

    def began(self, folder: SweepFolder, studies: Sequence[StudyFacts]) -> None:
        self._events.write(
            "began",
            sweep=folder.sweep_id,
            path=str(folder.path),
            studies=[{name: getattr(study, name) for name in _STUDY} for study in studies],
        )

    def slots(self, num: int) -> None:
        if num != self.state.slots:
            self._events.write("slots", num=num)
        super().slots(num)

    def raced(self, race: Race) -> None:
        super().raced(race)
        task = self.state.studies[race.studies[0]].plan.task.name
        self._events.write(
            "raced",
            task=task,
            outcome=race.outcome,
            running=race.running,
            dropped=race.dropped,
            granted=race.granted,
        )

    def run_started(self, run: Row) -> None:
        super().run_started(run)
        self._write("run_started", run, _STARTED, max_epochs=run["config"]["max_epochs"])

    def epoch(self, row: Row) -> None:
        run = self.state.epoch(row)
        self._write("epoch", row, _EPOCH, max_epochs=None if run is None else run.max_epochs)

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        super().run_finished(trial, test, evaluated)
        state = self.state
        self._write("run_finished", trial, _FINISHED, num_ended=state.ended, num_runs=state.total, left_s=state.left_s)

    def _write(self, event: str, row: Row, names: Sequence[str], **more: Any) -> None:
        self._events.write(event, **{name: row[name] for name in names}, **more)
