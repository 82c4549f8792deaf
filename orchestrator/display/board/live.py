"""One table of all studies that redraws itself, for terminals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.display.board.base import Board
from orchestrator.display.board.study_state import StudyState
from orchestrator.display.board.usage import Usage
from orchestrator.display.fitting import Column, fitting_table, kept_columns
from orchestrator.display.words import clock, depth, measure, rate
from orchestrator.evaluated import Evaluated
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Row
from orchestrator.spelling import spelled

__all__ = ["LiveBoard"]

_BAR: Final = 8
_WIDEST_BAR: Final = 24
_AROUND: Final = 6
"""Lines beside those of studies: the header's two, three below, and one that stays free."""


class LiveBoard(Board):
    """Shows every study with its best score so far, and what runs now. Redrawn by a thread of its own."""

    def __init__(self, plan: Plan, console: Console) -> None:
        super().__init__(plan)
        self._console = console
        self._is_plain = console.options.ascii_only
        self._usage = Usage()
        self._held = ""
        self._live = Live(get_renderable=self.__rich__, console=console, refresh_per_second=2, transient=True)

    def shown(self) -> AbstractContextManager[object]:
        return self._live

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)

    def held(self, resources: Mapping[str, tuple[float, float]], *, num_nodes: int) -> None:
        parts = [f"{used:g} of {total:g} {name}" for name, (used, total) in resources.items()]
        self._held = f"{', '.join(parts)} held on {num_nodes} node{'s' if num_nodes != 1 else ''}"

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        super().run_finished(trial, test, evaluated)
        if trial["error"]:
            name = self.state.studies[trial["study"]].name
            self.say(f"{name} #{trial['number']} failed: {trial['error']}")

    def __rich__(self) -> RenderableType:
        """The board as it stands."""
        with self.state.lock:
            studies, num_hidden = self._visible()
            columns = self._columns(studies)
            standing, footer = self._standing(), [self._machine(), self._running()]
        width = self._console.width
        more = [Text(f" and {num_hidden} more studies", style="dim")] if num_hidden else []
        lines = [Text(line, style="dim", no_wrap=True, overflow="crop") for line in footer if line]
        return Group(fitting_table(columns, width, ascii_only=self._is_plain), *more, standing, *lines)

    def _visible(self) -> tuple[list[StudyState], int]:
        """The studies that there is room for, those that run or lead before others; and how many there are beside."""
        studies = list(self.state.studies.values())
        room = max(1, self._console.height - _AROUND)
        if len(studies) <= room:
            return studies, 0
        places = sorted(range(len(studies)), key=lambda place: _interest(studies[place]), reverse=True)
        shown = sorted(places[: max(1, room - 1)])
        return [studies[place] for place in shown], len(studies) - len(shown)

    def _columns(self, studies: Sequence[StudyState]) -> list[Column]:
        has_swatches = not (self._is_plain or self._console.no_color or self._console.color_system is None)
        columns = _columns(studies, has_swatches=has_swatches)
        kept = kept_columns(columns, self._console.width)
        if kept[-1].cells and isinstance(kept[-1].cells[0], ProgressBar):
            spare = self._console.width - sum(column.width + 2 for column in kept)
            for bar in kept[-1].cells:
                assert isinstance(bar, ProgressBar)
                bar.width = min(_WIDEST_BAR, _BAR + spare)
        return kept

    def _standing(self) -> RenderableType:
        """Phase, how much of the sweep is done, and how long the rest will take."""
        state = self.state
        limit = "" if state.is_total_known else "at most "
        parts = [f"{state.ended} of {limit}{state.total} runs"]
        if state.has_begun and state.ended < state.total:
            parts.append(self._time_left())
        before, after = f" {state.phase} ", f" {self._separated(parts)}"
        room = self._console.width - cell_len(before) - cell_len(after)
        if room < _BAR:
            return Text(f"{before.rstrip()}:{after}", no_wrap=True, overflow="crop")
        line = Table.grid()
        bar = _bar(state.ended, state.total, "bold", width=min(_WIDEST_BAR, room))
        line.add_row(Text(before), bar, Text(after))
        return line

    def _time_left(self) -> str:
        left = self.state.left_s
        if left is None:
            return "time left: once a run has ended"
        if not self.state.is_measured:
            return f"{clock(left)} left by the plan, not measured yet"
        return f"about {clock(left)} left" if self.state.is_total_known else f"at most {clock(left)} left"

    def _machine(self) -> str:
        state = self.state
        parts = [f"{clock(state.elapsed_s)} so far"]
        if state.slots is not None:
            parts.append(f"{min(state.num_running, state.slots)} of {state.slots} slots busy")
        # What this machine does says little of a cluster.
        if text := self._held or self._usage.text():
            parts.append(text)
        return f" {self._separated(parts)}"

    def _running(self) -> str:
        """The epochs that running trials are in, as many as there is room for."""
        runs = [
            f"{study.name} #{run.number} epoch {min(run.epoch + 1, run.max_epochs)}/{run.max_epochs}"
            for study, run in self.state.running
        ]
        for num in range(len(runs), 0, -1):
            line = f" now: {', '.join(runs[:num])}" + (f" and {len(runs) - num} more" if num < len(runs) else "")
            if cell_len(line) <= self._console.width:
                return line
        return ""

    def _separated(self, parts: Sequence[str]) -> str:
        text = " · ".join(parts)
        return spelled(text) if self._is_plain else text


def _interest(study: StudyState) -> tuple[bool, float]:
    return bool(study.running), study.best["val_score"] if study.best else float("-inf")


def _bar(ended: int, total: int, style: str, *, width: int) -> ProgressBar:
    return ProgressBar(total=total or 1, completed=ended, width=width, complete_style=style, finished_style=style)


def _name(study: StudyState, has_swatch: bool) -> Text:
    """With the backbone's colour beside it: in it, yellow is unreadable on white and black on black."""
    return Text.assemble(("■ ", study.color), study.name) if has_swatch else Text(study.name)


def _columns(studies: Sequence[StudyState], *, has_swatches: bool) -> list[Column]:
    best = [study.best for study in studies]

    def of_best(value: Callable[[Row], str]) -> list[str]:
        return ["" if trial is None else value(trial) for trial in best]

    def counted(state: str) -> list[str]:
        return [str(study.counts[state]) for study in studies]

    def ended(what: str) -> list[str]:
        return [str(study.num_ended(what)) for study in studies]

    failed = [Text(text, style="bold red" if text != "0" else "") for text in counted("failed")]
    bars = [_bar(study.ended, study.total, study.color, width=_BAR) for study in studies]
    stopped = any(study.counts["stopped"] for study in studies)
    reduced = any(study.plan.train_fracs for study in studies)
    return [
        Column(header="backbone", cells=[_name(s, has_swatches) for s in studies], rank=0, justify="left"),
        Column(
            header=f"best\n{measure([trial for trial in best if trial is not None])}",
            cells=of_best(lambda trial: f"{trial['val_score']:.3f}"),
            rank=0,
        ),
        Column(header="freeze", cells=of_best(depth), rank=1),
        Column(header="lr", cells=of_best(lambda trial: rate(trial["learning_rate"])), rank=1),
        Column(header="head lr", cells=of_best(lambda trial: rate(trial["head_learning_rate"])), rank=7),
        Column(header="run", cells=[str(len(study.running)) for study in studies], rank=2),
        Column(header="done", cells=counted("completed"), rank=2),
        *([Column(header="stop", cells=counted("stopped"), rank=3)] if stopped else []),
        Column(header="fail", cells=failed, rank=2),
        Column(header="conf", cells=ended("confirmation"), rank=6),
        *([Column(header="less", cells=ended("reduced"), rank=6)] if reduced else []),
        Column(header="", cells=bars, rank=4),
    ]
