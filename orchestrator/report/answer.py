"""The first screen of a task: what to take, how to use it, what it cost, and what nobody measured."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.ranking import Verdict
from orchestrator.report.configuration import settings
from orchestrator.report.document import Block, Card, Commands, Facts, Missing, Prose
from orchestrator.report.studies import StudyRecords, SweepRecords
from orchestrator.report.wording import listed, plural, scale, seconds, span

__all__ = ["bill", "by_short_name", "leader", "not_measured", "said"]

_MOST_NAMED: Final = 4
"""Backbones named one by one."""


def said(verdict: Verdict, studies: Sequence[StudyRecords]) -> tuple[list[Prose], list[Prose]]:
    """The verdict, with backbones by their short names: what hurried readers read, and its conditions.

    Args:
        verdict: of the task.
        studies: of the task, best first.
    """
    sentences = verdict.sentences
    first = studies[0].backbone if studies else ""
    # The first of all is named first in the sentence that says what it is.
    names_it = next((place for place, said in enumerate(sentences) if first and said.startswith(first)), 0)
    end = 1 + max(names_it, bool(verdict.race))
    parts = (" ".join(sentences[:end]), " ".join(sentences[end:]))
    lead, rest = (by_short_name(part, studies) for part in parts)
    return [Prose(paragraphs=(lead,), lead=True)], [Prose(paragraphs=(rest,))] if rest else []


def by_short_name(text: str, studies: Sequence[StudyRecords]) -> str:
    """With the short names in place of whole ones."""
    shorts = {study.backbone: study.short for study in studies}
    names = "|".join(re.escape(name) for name in sorted(shorts, key=len, reverse=True))
    return re.sub(names, lambda found: shorts[found[0]], text) if names else text


def leader(verdict: Verdict, ranked: Sequence[StudyRecords], records: SweepRecords) -> list[Card]:
    """The configuration to take and the commands that use it; none where nobody is ranked."""
    if not ranked:
        return []
    first = ranked[0]
    row, metric = first.row, scale(first.row["test_metric"])
    others = [study.short for study in ranked[1:] if study.backbone in verdict.leaders]
    spread = f" ± {metric.text(row['confirmation_sd'])}" if row["confirmation_sd"] is not None else ""
    facts = [
        *settings(first),
        (
            f"Test {metric.label}",
            f"{metric.text(row['confirmation_mean'])}{spread}: {first.num_test}, {first.seeds}",
        ),
        ("Possible ranks", span(row["rank_low"], row["rank_high"])),
    ]
    if not first.has_model:
        facts.append(("The trained network", "was not kept; confirmation.keep_model keeps it"))
    if others:
        facts.append(("Not shown to be worse", listed(others)))
    blocks = (Facts(items=tuple(facts)), _commands(first, records))
    return [Card(title=f"Take {first.short}", blocks=blocks, place="tall")]


def _commands(study: StudyRecords, records: SweepRecords) -> Commands:
    sweep = records.folder.sweep_id
    several = len({other.task for other in records.studies}) > 1
    task = f" --task {shlex.quote(study.task)}" if several else ""
    trials = 2 * max(study.row["num_trials"], 1)
    export = f"python -m orchestrator export {sweep} --backbone {shlex.quote(study.backbone)}{task}"
    return Commands(
        where="From the folder that sweeps/ lies in; elsewhere with --storage, which names the folder of the sweeps.",
        items=(
            *([("The trained network, as a folder", export)] if study.has_model else []),
            ("All runs side by side, in MLflow", f"python -m orchestrator ui {sweep}"),
            (
                "More trials, where that would tell more",
                f"python -m orchestrator sweep --extend {sweep} --set budget.trials={trials}",
            ),
        ),
    )


def bill(studies: Sequence[StudyRecords]) -> Card:
    """What a task took."""
    runs = [run for study in studies for run in study.runs]
    num_search = sum(len(study.search) for study in studies)
    num_failed = sum(run["state"] == "failed" for run in runs)
    took = [run["duration_s"] for run in runs if run["duration_s"] is not None]
    devices = sorted({run["device"] for run in runs if run["device"]})
    items = [
        ("Runs", f"{len(runs)}, of them {plural(num_search, 'trial')}; {num_failed} failed"),
        ("Time", f"{seconds(math.fsum(took) if took else None)} of runs, one after the other"),
        ("On", listed(devices) or "an unknown device"),
    ]
    items.append(("Runs with a result", _coverage(studies)))
    one = next((study for study in studies if study.row["run_cost_s"] is not None), None)
    if one is not None:
        items.append((f"One run of {one.short}", seconds(one.row["run_cost_s"])))
    return Card(title="What it cost", blocks=(Facts(items=tuple(items)),))


def _coverage(studies: Sequence[StudyRecords]) -> str:
    """Of the runs that were planned."""
    known = {study.short: study.row["coverage"] for study in studies if study.row["coverage"] is not None}
    short = {name: f"{math.floor(100 * share + 1e-9)} %" for name, share in known.items() if share < 1}
    if not short:
        return "all that were planned"
    if len(short) > _MOST_NAMED or len(set(short.values())) < len(short):
        return f"of every backbone at least {math.floor(100 * min(known.values()) + 1e-9)} % of those planned"
    return f"of {listed([f'{name} {share}' for name, share in short.items()])} of those planned"


def not_measured(blocks: Iterable[Block], num_backbones: int) -> Card:
    """In one place; how to have it measured is told where it is missing.

    Args:
        blocks: of the rest of the task.
        num_backbones: of the task.
    """
    lacking: dict[str, list[str]] = {}
    for block in blocks:
        if isinstance(block, Missing) and block.label == "Not measured":
            lacking.setdefault(block.what, []).append(block.of)
    names = [_lacked(what, [name for name in of if name], num_backbones) for what, of in lacking.items()]
    items = [
        ("In this sweep", "; ".join(names) or "nothing that this version can measure"),
        (
            "By no sweep",
            "another split of the data; configurations outside the searched space; times on other devices",
        ),
    ]
    return Card(title="What was not measured", blocks=(Facts(items=tuple(items)),), place="wide")


def _lacked(what: str, of: Sequence[str], num_backbones: int) -> str:
    first = what.split()[0]
    said_once = f"{what[:1].lower()}{what[1:]}" if first == "A" or first[1:].islower() else what
    if not of or len(of) >= num_backbones:
        return said_once
    names = listed(of) if len(of) <= _MOST_NAMED else f"{len(of)} backbones"
    return f"{said_once} (of {names})"
