"""What a person sees in the terminal: the live board and the tables."""

from __future__ import annotations

from orchestrator.display.board import Board, EventBoard, LineBoard, LiveBoard, make_board
from orchestrator.display.comparison import print_sweep_comparison
from orchestrator.display.listing import print_attempts, print_runs, print_sweeps
from orchestrator.display.measured import print_measures, print_screen
from orchestrator.display.profile import print_profiles
from orchestrator.display.run_page import print_run_page
from orchestrator.display.table import print_ranking

__all__ = [
    "Board",
    "EventBoard",
    "LineBoard",
    "LiveBoard",
    "make_board",
    "print_attempts",
    "print_measures",
    "print_profiles",
    "print_ranking",
    "print_run_page",
    "print_runs",
    "print_screen",
    "print_sweep_comparison",
    "print_sweeps",
]
