"""What a person sees in the terminal: the live board and the tables."""

from __future__ import annotations

from orchestrator.display.board import Board, LineBoard, LiveBoard, make_board
from orchestrator.display.listing import print_attempts, print_runs, print_sweeps
from orchestrator.display.measured import print_measures, print_screen
from orchestrator.display.profile import print_profiles
from orchestrator.display.table import print_comparison, print_ranking

__all__ = [
    "Board",
    "LineBoard",
    "LiveBoard",
    "make_board",
    "print_attempts",
    "print_comparison",
    "print_measures",
    "print_profiles",
    "print_ranking",
    "print_runs",
    "print_screen",
    "print_sweeps",
]
