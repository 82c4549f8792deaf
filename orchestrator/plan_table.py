"""A plan as plain text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from orchestrator.plan import Plan, StudyPlan

__all__ = ["duration", "render_plan"]

WIDTH: Final = 100
UNKNOWN: Final = "?"

_HEADER: Final = ("task", "backbone", "blocks", "runs", "epochs", "at most", "TFLOP", "time", "cache")
_NAMES: Final = 2
"""The leading columns of names, which lose their middle where the table would be too wide."""

_NARROWEST: Final = 10


def render_plan(plan: Plan) -> str:
    """A table of the studies with their totals, and what the numbers mean."""
    rows = [_row(plan, study) for study in plan.studies]
    total = (
        "total",
        f"{len(plan.studies)} studies",
        "",
        _count(plan.runs),
        _count(plan.epochs_expected),
        _count(plan.epochs_max),
        _tera(_sum(plan.train_flops, plan.eval_flops)),
        duration(plan.compute_s),
        "",
    )
    return "\n".join([*_table([_HEADER, *rows, total]), "", *_legend(plan, [*rows, total])]) + "\n"


def _row(plan: Plan, study: StudyPlan) -> tuple[str, ...]:
    flops = _sum(study.train_flops, study.eval_flops)
    cache = study.cache_bytes
    return (
        study.task.name,
        study.backbone.name,
        UNKNOWN if study.num_blocks is None else str(study.num_blocks),
        _count(study.runs),
        _count(study.epochs_expected),
        _count(study.epochs_max),
        _tera(flops),
        duration(plan.seconds(flops)),
        UNKNOWN if cache is None else _size(max(cache)),
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _fitting([max(map(len, column)) for column in zip(*rows, strict=True)])
    lines = [
        "  ".join(
            _shortened(cell, width).ljust(width) if index < _NAMES else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _fitting(widths: list[int]) -> list[int]:
    """`widths` with the columns of names narrowed, the widest first, until a line fits."""
    room = WIDTH - sum(widths[_NAMES:]) - 2 * (len(widths) - 1)
    names = widths[:_NAMES]
    while sum(names) > room and max(names) > _NARROWEST:
        names[names.index(max(names))] -= 1
    return [*names, *widths[_NAMES:]]


def _legend(plan: Plan, rows: Sequence[Sequence[str]]) -> list[str]:
    study = plan.studies[0]
    lines = [
        f"Each study: {study.trials} trials ({study.random_trials} random) of up to {study.max_epochs} "
        f"epochs and {study.confirmations} confirmations. epochs: expected where one in "
        f"{study.reduction_factor} of the other trials goes on at each rung, the first after "
        f"{study.grace_epochs}.",
        f"time: of one run after another at {plan.flops_per_s / 1e9:g} GFLOP/s, without the cache of "
        "frozen activations. cache: activations at the boundary where they are largest.",
    ]
    if any(UNKNOWN in row for row in rows):
        lines.append(f"{UNKNOWN}  unknown until built")
    lines += (f"note: {note}" for note in plan.notes)
    return [part for line in lines for part in textwrap.wrap(line, WIDTH)]


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[-tail:]}"


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _count(value: float) -> str:
    return f"{value:.0f}" if value < 1e6 else f"{value:.2g}"


def _tera(flops: float | None) -> str:
    return UNKNOWN if flops is None else f"{flops / 1e12:.3g}"


def duration(seconds: float | None) -> str:
    """``12 s``, ``3 min``, ``4.5 h``, ``2 d``: two digits are all an estimate deserves."""
    if seconds is None:
        return UNKNOWN
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (360_000, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:.3g} d"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g}{unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g}TB"
