"""What was spent, and which runs failed or were stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.errors import one_line, redact
from orchestrator.records import RESUMED
from orchestrator.report.document import Block, Cell, Prose, Section, Table
from orchestrator.report.studies import Rows, StudyRecords
from orchestrator.report.wording import DASH, frozen, listed, rate, seconds, shortened

__all__ = ["spending"]

_MOST_RUNS: Final = 100
"""Runs listed one by one; the rest are counted."""

_LONGEST_REASON: Final = 300
_MOST_SEEDS: Final = 20


def spending(studies: Sequence[StudyRecords]) -> list[Section]:
    """Budget, failures and stopped runs of the whole sweep."""
    several = len({study.task for study in studies}) > 1
    return [
        Section(title="Budget spent", anchor="budget", blocks=[_budget(studies, several)]),
        Section(title="Failed runs", anchor="failed", blocks=_ended(studies, "failed", several)),
        *_retried(studies, several),
        Section(title="Stopped runs", anchor="stopped", blocks=_ended(studies, "stopped", several)),
    ]


def _name(study: StudyRecords, several: bool) -> Cell:
    return Cell(text=f"{study.short} ({study.task})" if several else study.short, color=study.color)


def _budget(studies: Sequence[StudyRecords], several: bool) -> Table:
    rows: list[tuple[str | Cell, ...]] = []
    for study in studies:
        states = [run["state"] for run in study.search]
        devices = sorted({run["device"] for run in study.runs if run["device"]})
        rows.append(
            (
                _name(study, several),
                *(str(n) for n in (len(states), *(states.count(s) for s in ("completed", "stopped", "failed")))),
                *(str(len(study.repeats(phase))) for phase in ("confirmation", "reduced")),
                *(str(len(gone)) for gone in (study.collapsed, study.superseded)),
                str(sum(run["epochs"] for run in study.runs)),
                seconds(_total(study.runs, "train_s")),
                seconds(_total(study.search, "duration_s")),
                seconds(_total(study.runs, "duration_s")),
                listed(devices) or "unknown",
                ", ".join(str(run["seed"]) for run in study.confirmations[:_MOST_SEEDS]) or DASH,
            )
        )
    everything: Rows = [run for study in studies for run in study.runs]
    search = sum(len(study.search) for study in studies)
    total = seconds(_total(everything, "duration_s"))
    return Table(
        caption=f"{len(everything)} runs, {search} of them search trials: {total} of runs one after the other. With "
        "few labels are runs on a share of the training data.",
        columns=(
            *("backbone", "trials", "completed", "stopped", "failed", "confirmations", "with few labels"),
            *(
                "collapsed",
                "superseded",
                "epochs",
                "training",
                "search",
                "all runs",
                "device",
                "seeds of the confirmations",
            ),
        ),
        rows=tuple(rows),
        words=frozenset({13, 14}),
    )


def _total(runs: Rows, name: str) -> float | None:
    values = [run[name] for run in runs if run[name] is not None]
    return math.fsum(values) if values else None


def _ended(studies: Sequence[StudyRecords], state: str, several: bool) -> list[Block]:
    found = [(study, run) for study in studies for run in study.runs if run["state"] == state]
    if not found:
        return [Prose(paragraphs=(f"No run {'failed' if state == 'failed' else 'was stopped'}.",))]
    shown = found[:_MOST_RUNS]
    rest = f"; the first {len(shown)} of {len(found)}, all with: python -m orchestrator show" * (
        len(shown) < len(found)
    )
    reason = "why" if state == "failed" else "when"
    return [
        Table(
            caption=f"{len(found)} {state} run{'s' * (len(found) != 1)}{rest}",
            columns=("backbone", "run", "phase", "frozen", "learning rate", "seed", "epochs", reason),
            rows=tuple(
                (
                    _name(study, several),
                    f"#{run['number']}",
                    f"{run['phase']}, superseded" if run["number"] in study.superseded else run["phase"],
                    frozen(run["freeze_depth"], run["tune_stop"], run["num_blocks"]),
                    rate(run["learning_rate"]),
                    str(run["seed"]),
                    f"{run['epochs']} of {run['max_epochs']}",
                    _reason(run),
                )
                for study, run in shown
            ),
            words=frozenset({2, 7}),
            folded=state == "stopped",
        )
    ]


def _retried(studies: Sequence[StudyRecords], several: bool) -> list[Section]:
    """Runs that were handed out again, and why; no section where that never happened."""
    found = [(study, row) for study in studies for rows in study.attempts.values() for row in rows if row["cause"]]
    if not found:
        return []
    states = {(study.anchor, run["number"]): run["state"] for study in studies for run in study.runs}
    num_runs = len({(study.anchor, row["number"]) for study, row in found})
    rest = f"; the first {_MOST_RUNS} of {len(found)} times" * (len(found) > _MOST_RUNS)
    table = Table(
        caption=f"{num_runs} run{'s' * (num_runs != 1)} that a worker did not bring to an end, and another one "
        f"went on with; epochs that were completed were kept{rest}",
        columns=("backbone", "run", "attempt", "why again", "became"),
        rows=tuple(
            (
                _name(study, several),
                f"#{row['number']}",
                str(row["attempt"]),
                _said(row["cause"]),
                states.get((study.anchor, row["number"]), "not ended"),
            )
            for study, row in found[:_MOST_RUNS]
        ),
        words=frozenset({3, 4}),
        folded=True,
    )
    return [Section(title="Runs tried again", anchor="retried", blocks=[table])]


def _said(reason: str) -> str:
    """Its last line, without secrets."""
    text = redact(reason).strip()
    if text == RESUMED:
        return "the sweep was resumed"
    return shortened(one_line(text.splitlines()[-1]), _LONGEST_REASON) if text else "no reason was recorded"


def _reason(run: Mapping[str, Any]) -> str:
    """The last line of the error, without secrets."""
    if run["state"] == "stopped" and not run["error"]:
        return f"by the scheduler, after epoch {run['epochs']}: others of its study did better by then"
    return _said(run["error"] or "")
