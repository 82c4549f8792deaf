"""Progress of a running sweep, on stderr: a live table, a line per finished run, or events for programs."""

from __future__ import annotations

from rich.console import Console

from orchestrator.display.board.base import Board
from orchestrator.display.board.events import EventBoard
from orchestrator.display.board.lines import LineBoard
from orchestrator.display.board.live import LiveBoard
from orchestrator.display.words import describe, rate
from orchestrator.events import EventWriter
from orchestrator.planning.plan import Plan
from orchestrator.terminal import Progress, is_live

__all__ = ["Board", "EventBoard", "LineBoard", "LiveBoard", "describe", "make_board", "rate"]


def make_board(plan: Plan, console: Console, progress: Progress = "auto") -> Board:
    """What shows a plan's progress.

    Args:
        progress: ``auto`` is ``live`` on a terminal that can redraw itself and ``lines`` elsewhere; ``none`` leaves
            sentences alone.
    """
    if progress == "jsonl":
        return EventBoard(plan, EventWriter(console.file))
    if progress == "live" or (progress == "auto" and is_live(console)):
        return LiveBoard(plan, console)
    return LineBoard(plan, console, quiet=progress == "none")
