"""Progress of a running sweep, on stderr: one live board on a terminal, else a line per finished run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from orchestrator.display.fitting import Column, fitting_table
from orchestrator.evaluated import Evaluated
from orchestrator.plan import Plan
from orchestrator.recorder import Row
from orchestrator.request import SEARCHED
from orchestrator.tracking.color import colors
from orchestrator.tracking.naming import blocks_text, short_names

__all__ = ["Board", "LineBoard", "LiveBoard", "make_board"]


class Board(Protocol):
    """A `Listener` that shows what it is told while its context is open."""

    def shown(self) -> AbstractContextManager[object]: ...
    def say(self, message: str) -> None: ...
    def past(self, trials: Sequence[Row]) -> None:
        """Runs that had ended before this board was there."""

    def run_started(self, run: Row) -> None: ...
    def epoch(self, row: Row) -> None: ...
    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None: ...


@dataclass(slots=True)
class _Progress:
    """Where one study stands."""

    name: str
    color: str
    planned: int
    counts: dict[str, int] = field(default_factory=lambda: {"completed": 0, "stopped": 0, "failed": 0})
    running: set[int] = field(default_factory=set)
    """Numbers: a run that is tried again is one run."""

    num_confirmed: int = 0
    num_reduced: int = 0
    best: Mapping[str, Any] | None = None

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def total(self) -> int:
        """More than planned where an extended search chose anew, and confirms once more."""
        return max(self.planned, self.ended + len(self.running))

    def finish(self, trial: Row) -> None:
        self.running.discard(trial["number"])
        self.counts[trial["state"]] += 1
        self.num_confirmed += trial["phase"] == "confirmation"
        self.num_reduced += trial["phase"] == "reduced"
        if trial["phase"] not in SEARCHED:
            return
        if trial["val_score"] is not None and (self.best is None or trial["val_score"] > self.best["val_score"]):
            self.best = trial


class _Progresses:
    """Of all studies, with the time left."""

    def __init__(self, plan: Plan) -> None:
        names = list(dict.fromkeys(study.backbone.name for study in plan.studies))
        short, color = short_names(names), colors(names)
        several = len({study.task.name for study in plan.studies}) > 1
        self.studies = {
            study.key: _Progress(
                name=(f"{study.task.name} " if several else "") + short[study.backbone.name],
                color=color[study.backbone.name],
                planned=study.runs,
            )
            for study in plan.studies
        }
        self.any_reduced = any(study.reduced_runs for study in plan.studies)
        self._started: float | None = None
        self._past = 0
        self._told: set[str] = set()

    @property
    def total(self) -> int:
        return sum(study.total for study in self.studies.values())

    @property
    def ended(self) -> int:
        return sum(study.ended for study in self.studies.values())

    @property
    def elapsed_s(self) -> float:
        """Since the first run was handed out."""
        return 0.0 if self._started is None else time.perf_counter() - self._started

    @property
    def left_s(self) -> float | None:
        """At the pace so far; None before the first run has ended."""
        done = self.ended - self._past
        return self.elapsed_s / done * (self.total - self.ended) if done else None

    def resume(self, trials: Sequence[Row]) -> None:
        """Count runs that ended before the time began."""
        for trial in trials:
            self.studies[trial["study"]].finish(trial)
        self._past += len(trials)

    def start(self, run: Row) -> None:
        self._started = self._started or time.perf_counter()
        self.studies[run["study"]].running.add(run["number"])

    def news(self, evaluated: Evaluated | None) -> list[str]:
        """What could not be evaluated, once for each study: its confirmations fail alike."""
        if evaluated is None:
            return []
        lines = [f"{self.studies[evaluated.study].name}: {failure}" for failure in evaluated.failures]
        new = [line for line in lines if line not in self._told]
        self._told.update(new)
        return new


class LineBoard:
    """A line per finished run: for logs, pipes and CI."""

    def __init__(self, plan: Plan, console: Console, *, quiet: bool = False) -> None:
        self._progresses = _Progresses(plan)
        self._console = console
        self._quiet = quiet

    def shown(self) -> AbstractContextManager[object]:
        return nullcontext()

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def past(self, trials: Sequence[Row]) -> None:
        self._progresses.resume(trials)

    def run_started(self, run: Row) -> None:
        self._progresses.start(run)

    def epoch(self, row: Row) -> None:
        """Nothing: a line per epoch would drown the log."""

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        progress = self._progresses.studies[trial["study"]]
        progress.finish(trial)
        for line in self._progresses.news(evaluated):
            self.say(line)
        if self._quiet:
            return
        width = len(str(self._progresses.total))
        score = "-" if trial["val_score"] is None else f"{trial['val_score']:.3f}"
        self.say(
            f"[{self._progresses.ended:>{width}}/{self._progresses.total}] "
            f"{progress.name:<28} {trial['phase']:<12} {trial['state']:<9} {_measure([trial])} {score}  "
            f"{describe(trial)}  {trial['epochs']} epochs in {trial['duration_s']:.1f} s"
            + (f"  {trial['error']}" if trial["error"] else "")
        )


class LiveBoard:
    """A table of all studies that redraws itself."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._progresses = _Progresses(plan)
        self._console = console
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def shown(self) -> AbstractContextManager[object]:
        return self._live

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)

    def past(self, trials: Sequence[Row]) -> None:
        self._progresses.resume(trials)

    def run_started(self, run: Row) -> None:
        self._progresses.start(run)

    def epoch(self, row: Row) -> None:
        """The table shows finished runs; it redraws by itself."""

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        self._progresses.studies[trial["study"]].finish(trial)
        for line in self._progresses.news(evaluated):
            self.say(line)
        if trial["error"]:
            name = self._progresses.studies[trial["study"]].name
            self.say(f"{name} #{trial['number']} failed: {trial['error']}")

    def _render(self) -> RenderableType:
        studies = list(self._progresses.studies.values())
        best = [study.best for study in studies]

        def of_best(value: Callable[[Row], str]) -> list[str]:
            return ["" if trial is None else value(trial) for trial in best]

        def counted(state: str) -> list[str]:
            return [str(study.counts[state]) for study in studies]

        names = [Text(study.name, style=study.color) for study in studies]
        failed = [
            Text(str(study.counts["failed"]), style="bold red" if study.counts["failed"] else "") for study in studies
        ]
        bars = [
            ProgressBar(total=study.total, completed=study.ended, width=12, complete_style=study.color)
            for study in studies
        ]
        reduced = Column(header="less", cells=[str(study.num_reduced) for study in studies], rank=6)
        columns = (
            Column(header="backbone", cells=names, rank=0, justify="left"),
            Column(
                header=f"best {_measure([trial for trial in best if trial is not None])}",
                cells=of_best(lambda trial: f"{trial['val_score']:.3f}"),
                rank=0,
            ),
            Column(header="freeze", cells=of_best(depth), rank=1),
            Column(header="lr", cells=of_best(lambda trial: rate(trial["learning_rate"])), rank=4),
            Column(header="head lr", cells=of_best(lambda trial: rate(trial["head_learning_rate"])), rank=7),
            Column(header="run", cells=[str(len(study.running)) for study in studies], rank=2),
            Column(header="done", cells=counted("completed"), rank=2),
            Column(header="stop", cells=counted("stopped"), rank=5),
            Column(header="fail", cells=failed, rank=2),
            Column(header="conf", cells=[str(study.num_confirmed) for study in studies], rank=6),
            *([reduced] if self._progresses.any_reduced else []),
            Column(header="", cells=bars, rank=3),
        )
        return Group(fitting_table(columns, self._console.width), Text(self._footer(), style="dim"))

    def _footer(self) -> str:
        left = self._progresses.left_s
        pace = "starting workers" if left is None else f"about {clock(left)} left"
        runs = f"{self._progresses.ended}/{self._progresses.total} runs"
        return f" {runs}, {clock(self._progresses.elapsed_s)}, {pace}"


def make_board(plan: Plan, console: Console, *, quiet: bool) -> Board:
    """The live board on a terminal, lines elsewhere."""
    if console.is_terminal and not quiet:
        return LiveBoard(plan, console)
    return LineBoard(plan, console, quiet=quiet)


def describe(trial: Row) -> str:
    """Depth or window, and learning rates, as short as they can be said."""
    tuned = "" if trial["learning_rate"] is None else f", lr {rate(trial['learning_rate'])}"
    verb = "tune" if trial["tune_stop"] < trial["num_blocks"] else "freeze"
    share = f", {100 * trial['train_frac']:g} % of the samples" if trial["train_frac"] < 1 else ""
    return f"{verb} {depth(trial)}{tuned}, head lr {rate(trial['head_learning_rate'])}{share}"


def depth(trial: Row) -> str:
    """``10/18``: frozen of all blocks; ``2-5/18``: a window."""
    return blocks_text(trial["freeze_depth"], trial["tune_stop"], trial["num_blocks"])


def _measure(trials: Sequence[Row]) -> str:
    """What to call a validation score: a share of 1, unless every one is an R²."""
    return "val R²" if trials and all(trial["metric"] == "r2" for trial in trials) else "val"


def rate(value: float | None) -> str:
    """A learning rate; ``-`` where nothing had it."""
    return "-" if value is None else f"{value:.1e}"


def clock(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
