"""The report: one page that says what a sweep found, how surely, and what it did not measure.

`write_report` reads the sweep's folder and its ranking, nothing else, and asks no network: charts, styles and
pictures are in the page. The same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.folder import SweepFolder, write_whole
from orchestrator.ranking import Ranking

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = ["write_report"]


def write_report(folder: SweepFolder, ranking: Ranking, *, importances: Sequence[Importance] = ()) -> Path:
    """Write ``report.html`` into the sweep's folder, replacing an older one in one piece.

    Args:
        folder: of a sweep at any moment; what it does not hold is named in the page.
        ranking: of this folder's tables.
        importances: of the searched parameters, where somebody computed them.

    Raises:
        TableDamaged: a table is no table of this version.
        InvalidTable: the tables contradict themselves.
        OSError: the folder cannot be written.
    """
    # matplotlib and jinja2 take a second to load, which only a report should cost.
    from orchestrator.report.page import render
    from orchestrator.report.reading import read_sweep

    path = folder.path / "report.html"
    write_whole(path, render(read_sweep(folder, ranking, importances)))
    return path
