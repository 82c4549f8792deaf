"""The epochs of one run: curves in a line each, then the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.fitting import Column, fitting_table
from orchestrator.display.scores import metric_name, score_text
from orchestrator.display.sparkline import marker, sparkline

__all__ = ["print_curves"]

Row = Mapping[str, Any]

_MOST_ROWS: Final = 12
_ENDS: Final = 4
"""Epochs that are shown of either end of a longer run, beside the best."""

_USAGE: Final = (
    ("cpu_cores", "CPU\ncores", 1.0, 1),
    ("host_memory_mib", "memory\nMiB", 1.0, 0),
    ("gpu_memory_mib", "GPU\nMiB", 1.0, 0),
    ("gpu_utilization", "GPU\n%", 100.0, 0),
)


def print_curves(curve: Sequence[Row], metric: str | None, best: Row | None, console: Console) -> None:
    """
    Args:
        curve: rows of EPOCHS of one run, at least one.
        metric: what `val_score` holds.
        best: the one of them whose weights count.
    """
    if len(curve) > 1:
        console.print(_lines(curve, metric, best, console))
    console.print(_numbers(curve, metric, best, console))


def _lines(curve: Sequence[Row], metric: str | None, best: Row | None, console: Console) -> Table:
    def loss(value: float | None) -> str:
        return "-" if value is None else f"{value:#.4g}"

    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True, style="dim")
    table.add_column(f"epochs {curve[0]['epoch']} to {curve[-1]['epoch']}", no_wrap=True, header_style="dim")
    for header in ("first", "best (epoch)", "last"):
        table.add_column(header, justify="right", no_wrap=True, header_style="dim")
    kinds: tuple[tuple[str, str, Callable[[float | None], str], Callable[..., Row]], ...] = (
        ("train_loss", "train loss", loss, min),
        ("val_loss", "val loss", loss, min),
        ("val_score", f"val {metric_name(metric)}", lambda value: score_text(value, metric), max),
    )
    for column, name, text, best_of in kinds:
        known = [row for row in curve if row[column] is not None]
        if not known:
            continue
        top = best_of(known, key=lambda row: row[column])
        values = [row[column] for row in curve]
        ends = text(known[0][column]), f"{text(top[column])} ({top['epoch']})", text(known[-1][column])
        table.add_row(name, Text(sparkline(values, console)), *ends)
    if best is not None:
        place = next(at for at, row in enumerate(curve) if row["epoch"] == best["epoch"])
        table.add_row("", Text(f"{marker(place, len(curve), '^')} its weights count"))
    return table


def _numbers(curve: Sequence[Row], metric: str | None, best: Row | None, console: Console) -> Table:
    shown = _shown(curve, best)

    def cells(text: Callable[[Row], str]) -> list[str]:
        return ["..." if row is None else text(row) for row in shown]

    def column(name: str, header: str, scale: float, digits: int, rank: int) -> Column:
        return Column(
            header=header,
            cells=cells(lambda row: "-" if row[name] is None else f"{scale * row[name]:.{digits}f}"),
            rank=rank,
        )

    is_best = best["epoch"] if best is not None else None
    columns = (
        Column(
            header="epoch", cells=cells(lambda row: f"{'* ' if row['epoch'] == is_best else ''}{row['epoch']}"), rank=0
        ),
        column("train_loss", "train\nloss", 1.0, 4, 0),
        column("val_loss", "val\nloss", 1.0, 4, 0),
        Column(
            header=f"val\n{metric_name(metric)}", cells=cells(lambda row: score_text(row["val_score"], metric)), rank=0
        ),
        column("train_s", "training\ns", 1.0, 2, 1),
        column("eval_s", "validation\ns", 1.0, 2, 2),
        # What nobody measured has no column.
        *(
            column(name, header, scale, digits, 3)
            for name, header, scale, digits in _USAGE
            if any(row.get(name) is not None for row in curve)
        ),
    )
    return fitting_table(columns, console.width, ascii_only=console.options.ascii_only)


def _shown(curve: Sequence[Row], best: Row | None) -> list[Row | None]:
    """The epochs that get a line; None stands for those that do not."""
    if len(curve) <= _MOST_ROWS:
        return list(curve)
    is_best = best["epoch"] if best is not None else None
    ends = {row["epoch"] for row in (*curve[:_ENDS], *curve[-_ENDS:])}
    shown: list[Row | None] = []
    for row in curve:
        if row["epoch"] in ends or row["epoch"] == is_best:
            shown.append(row)
        elif shown[-1] is not None:
            shown.append(None)
    return shown
