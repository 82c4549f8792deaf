"""What a person sees in the terminal: the live board and the tables."""

from __future__ import annotations

from orchestrator.display.board import Board, LineBoard, LiveBoard, make_board
from orchestrator.display.table import print_ranking, print_runs, print_sweeps

__all__ = [
    "Board",
    "LineBoard",
    "LiveBoard",
    "make_board",
    "print_ranking",
    "print_runs",
    "print_sweeps",
]
