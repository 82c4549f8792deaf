"""What was measured beside the ranking, on stdout: the measures of a confirmation, and the screen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.sparkline import sparkline
from orchestrator.evaluated import Evaluated
from orchestrator.screen_report import Foretold
from orchestrator.tracking.naming import short_names

__all__ = ["print_measures", "print_screen"]

_NUMBERED: Final = re.compile(r"(\w+:)\d+")
_MANY: Final = 4


def print_measures(evaluated: Evaluated, console: Console) -> None:
    """A block of lines for each name, a line for each split and condition, then notes and pictures."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column("name", no_wrap=True)
    table.add_column("split", no_wrap=True)
    table.add_column("condition", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    rows = sorted(evaluated.measures, key=lambda row: (row["name"], row["split"]))  # stable: conditions as measured
    for name, group in groupby(rows, key=lambda row: row["name"]):
        for place, (split, condition, value) in enumerate(_lines(list(group), console)):
            # A class may be called [/b], which is markup in a text that is not marked as plain.
            table.add_row("" if place else name, split, Text(condition), value)
    console.print(table)
    for note in evaluated.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for file, path in evaluated.picture_files.items():
        caption = evaluated.captions[file.removesuffix(".png")]
        console.print(f"{path}: {caption}", highlight=False, markup=False, soft_wrap=True)


def _lines(rows: Sequence[Mapping[str, Any]], console: Console) -> Iterator[tuple[str, str, str]]:
    """Split, condition and value of each row of one name. What is numbered, such as severities, the blocks of a
    backbone or the bins of a calibration curve, shares a line."""
    for (split, prefix), group in groupby(rows, key=lambda row: (row["split"], _prefix(row["condition"]))):
        parts = list(group)
        if not prefix or len(parts) == 1:
            yield from ((split, row["condition"], number(row["value"])) for row in parts)
            continue
        values = [row["value"] for row in parts]
        numbers = f"{parts[0]['condition']} to {parts[-1]['condition'].removeprefix(prefix)}"
        if len(parts) < _MANY:
            yield split, numbers, "  ".join(map(number, values))
            continue
        known = [value for value in values if value is not None]
        ends = f"{number(min(known))} to {number(max(known))}" if known else "-"
        yield split, f"{numbers}  {sparkline(values, console)}", ends


def _prefix(condition: str) -> str:
    """``block:`` of ``block:12``; empty of what is not numbered, such as classes, whatever they are called."""
    found = _NUMBERED.fullmatch(condition)
    return "" if found is None or found[1] == "class:" else found[1]


def print_screen(found: Sequence[Foretold], console: Console) -> None:
    """One table per task: a row per backbone, a column per score, and what each score has earned below."""
    for one in found:
        backbones = list(dict.fromkeys(name for values in one.scores.values() for name in values))
        short = short_names(backbones)
        title = f"{one.task}: training-free screen, and how well it foretold the ranking"
        table = Table(box=None, padding=(0, 1), title=title, title_justify="left", title_style="bold")
        table.add_column("backbone", header_style="dim", no_wrap=True)
        for name in one.scores:
            table.add_column(name, justify="right", header_style="dim", no_wrap=True)
        for backbone in backbones:
            table.add_row(short[backbone], *(number(values.get(backbone)) for values in one.scores.values()))
        table.add_section()
        table.add_row("weighted tau", *("-" if tau is None else f"{tau:+.2f}" for tau in one.taus.values()))
        console.print(table)
        console.print(one.sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)
        console.print()


def number(value: float | None) -> str:
    """Four digits; whole numbers whole; ``-`` where there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
