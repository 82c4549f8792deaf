"""A plan as plain text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from orchestrator.planning.cache import Boundary
from orchestrator.planning.plan import Plan, StudyPlan

__all__ = ["duration", "render_plan"]

WIDTH: Final = 100
UNKNOWN: Final = "?"

_HEADER: Final = ("task", "backbone", "blocks", "runs", "epochs", "at most", "TFLOP", "saved", "time", "cache")
_NAMES: Final = 2
"""The leading columns of names, which lose their middle where the table would be too wide."""

_NARROWEST: Final = 10


def render_plan(plan: Plan, cache_limit: float | None = None) -> str:
    """A table of the studies with their totals, and what the numbers mean.

    Args:
        cache_limit: bytes that the cache of this machine may hold; None leaves them out.
    """
    rows = [_row(plan, study) for study in plan.studies]
    total = (
        "total",
        f"{len(plan.studies)} studies",
        "",
        _count(plan.runs),
        _count(plan.epochs_expected),
        _count(plan.epochs_max),
        _tera(plan.flops),
        _share(plan.saved_flops, plan.flops),
        duration(plan.compute_s),
        _bytes(plan.cached_bytes_expected),
    )
    lines = [*_table([_HEADER, *rows, total]), "", *_legend(plan, [*rows, total], cache_limit)]
    return "\n".join(lines) + "\n"


def _row(plan: Plan, study: StudyPlan) -> tuple[str, ...]:
    return (
        study.task.name,
        study.backbone.name,
        UNKNOWN if study.num_blocks is None else str(study.num_blocks),
        _count(study.runs),
        _count(study.epochs_expected),
        _count(study.epochs_max),
        _tera(study.flops),
        _share(study.saved_flops, study.flops),
        duration(plan.seconds(study)),
        _bytes(study.cached_bytes_expected),
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


def _legend(plan: Plan, rows: Sequence[Sequence[str]], cache_limit: float | None) -> list[str]:
    lines = [
        _budget(plan),
        f"time: of one run after another at {plan.flops_per_s / 1e9:g} GFLOP/s, with the cache of frozen "
        "activations, which saves that share of the FLOPs.",
        *_cache(plan, cache_limit),
    ]
    if any(UNKNOWN in row for row in rows):
        lines.append(f"{UNKNOWN}  unknown until built")
    lines += (f"note: {note}" for note in plan.notes)
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="  " * (line[:1] == " "))]


def _budget(plan: Plan) -> str:
    study = plan.studies[0]
    trials = f"{study.trials} trials ({study.random_trials} random) of up to {study.max_epochs} epochs"
    if plan.allocation == "race":
        return (
            f"A race: the studies of a task share what is {trials} for each. All begin with the random ones; those "
            "that can no longer be the best are dropped, those left are confirmed with "
            f"{study.confirmations} seeds{_reduced(study)}. epochs: expected where it ends as races of 8 backbones did."
        )
    return (
        f"Each study: {trials} and {study.confirmations} confirmations{_reduced(study)}. epochs: expected where one in "
        f"{study.reduction_factor} of the other trials goes on at each rung, the first after {study.grace_epochs}."
    )


def _reduced(study: StudyPlan) -> str:
    """``, as many again on 10 % and on 30 % of the training samples``."""
    shares = " and on ".join(f"{100 * frac:g} %" for frac in study.train_fracs)
    return f", as many again on {shares} of the training samples" if shares else ""


def _cache(plan: Plan, cache_limit: float | None) -> list[str]:
    """What may be cached at which depths, and how much of the limit it takes."""
    known = [study for study in plan.studies if study.boundaries is not None]
    if not any(study.boundaries for study in known):
        return ["cache: nothing is kept."] if known else []
    lines = ["cache: expected size. Estimated with assumed speeds; the worker decides by costs it measures."]
    lines += [f"  {study.key}: {_boundaries(study.boundaries)}" for study in known if study.boundaries]
    if plan.cached_bytes_max is not None and cache_limit is not None:
        beyond = plan.cached_bytes_max > cache_limit
        lines.append(
            f"cache: at most {_size(plan.cached_bytes_max)} of the {_size(cache_limit)} it may hold"
            + (" (ORCHESTRATOR_CACHE_MAX_GIB): what was not used for longest goes first." if beyond else ".")
        )
    return lines


def _boundaries(found: Sequence[Boundary]) -> str:
    """``behind 5-18 blocks, 1.2MB to 78.6MB each; not 1-4, where computing is cheaper``."""
    paying = [boundary for boundary in found if boundary.stored_bytes]
    rest = [boundary.depth for boundary in found if not boundary.stored_bytes]
    if not paying:
        return f"nothing behind {_ranges(rest)} blocks, as computing is cheaper"
    smallest, largest = (_size(pick(boundary.stored_bytes for boundary in paying)) for pick in (min, max))
    each = smallest if smallest == largest else f"{smallest} to {largest} each"
    text = f"behind {_ranges([boundary.depth for boundary in paying])} blocks, {each}"
    return f"{text}; not {_ranges(rest)}, where computing is cheaper" if rest else text


def _ranges(numbers: Sequence[int]) -> str:
    """``1-4, 7`` for 1, 2, 3, 4, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[-tail:]}"


def _count(value: float) -> str:
    return f"{value:.0f}" if value < 1e6 else f"{value:.2g}"


def _tera(flops: float | None) -> str:
    return UNKNOWN if flops is None else f"{flops / 1e12:.3g}"


def _share(part: float | None, whole: float | None) -> str:
    return UNKNOWN if part is None or not whole else f"{part / whole:.0%}"


def _bytes(num_bytes: float | None) -> str:
    return UNKNOWN if num_bytes is None else _size(num_bytes)


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
