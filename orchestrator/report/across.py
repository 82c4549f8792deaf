"""Backbones of a task side by side: score against cost, efficiency, and what a screen foretold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from orchestrator.report.document import Block, Cell, Figure, Missing, Prose, Section, Table
from orchestrator.report.figures_ranking import Priced, costs
from orchestrator.report.quality import EFFICIENCY, measured_cost
from orchestrator.report.studies import Rows, StudyRecords, SweepRecords, common_basis
from orchestrator.report.wording import DASH, count, listed, number, plural, scale, seconds
from orchestrator.screen_report import BASELINE, Foretold

__all__ = ["across"]

_SCREENS: Final = {
    "log_me": "LogME",
    "leep": "LEEP",
    "h_score": "H-score",
    "knn": "kNN",
    BASELINE: "parameters (baseline)",
}


def across(records: SweepRecords, task: str, anchor: str) -> list[Section]:
    """Sections of one task; `anchor` leads their anchors."""
    studies = records.of_task(task)
    screen = next((found for found in records.screen if found.task == task), None)
    leaders = [row for row in records.cost_leaders if row["task"] == task]
    return [
        Section(
            title="Score against cost",
            anchor=f"{anchor}-cost",
            blocks=[*_pareto(studies, anchor), *_leaders(studies, leaders)],
        ),
        Section(title="Efficiency", anchor=f"{anchor}-efficiency", blocks=_efficiency(studies)),
        Section(
            title="What a training-free screen foretold",
            anchor=f"{anchor}-screen",
            blocks=_screen(studies, screen, records.screen_s),
        ),
    ]


def _pareto(studies: Sequence[StudyRecords], anchor: str) -> list[Block]:
    known = [study for study in studies if study.profile.get("quality") is not None]
    if not known:
        return [Missing(what="Cost", how="it takes a backbone with confirmations, and times of its runs")]
    metric = scale(known[0].row["test_metric"])
    timed = [study for study in known if study.profile["cost_s"]]
    spots = [
        Priced(
            name=study.short,
            color=study.color,
            marker=study.marker,
            cost=study.profile["cost_s"],
            score=metric.factor * study.profile["quality"],
            on_front=bool(study.profile["on_pareto_front"]),
        )
        for study in timed
    ]
    table = Table(
        caption="Seconds of random search, one trial after the other, to within a point of the quality that was found; "
        "one run of the chosen configuration; everything spent",
        columns=("backbone", f"test {metric.label}", "to within a point", "trials for it", "one run", "spent", "front"),
        rows=tuple(
            (
                Cell(text=study.short, color=study.color),
                metric.text(study.profile["quality"]),
                seconds(study.profile["cost_s"]),
                number(study.profile.get("cost_trials")),
                seconds(study.profile["run_cost_s"]),
                seconds(study.row["cost_s"]),
                "yes" if study.profile["on_pareto_front"] else "no",
            )
            for study in known
        ),
    )
    left_out = len(known) - len(spots)
    if not spots:
        return [table, Missing(what="A chart of cost", how="no backbone came within a point in the trials replayed")]
    seen = "; ".join(
        f"{study.short} {metric.text(study.profile['quality'])} after {seconds(study.profile['cost_s'])}"
        for study in timed
    )
    front = listed([spot.name for spot in spots if spot.on_front])
    unknown = f"; the cost of {plural(left_out, 'backbone')}, of unknown times" if left_out else ""
    devices = listed(sorted({run["device"] for study in known for run in study.runs if run["device"]})) or "these"
    return [
        Figure(
            svg=costs(
                f"{anchor}-pareto",
                spots,
                x="seconds to within a point of its best",
                y=f"test {metric.label}",
            ),
            alt=f"Test {metric.label} and time to find it: {seen}. Beaten by nobody in both: {front}.",
            caption="Quality against the time of random search, one trial after the other, to within a point of it: "
            "large markers are beaten by nobody in both. Cost has no weight in the score.",
            basis=common_basis(timed, unmeasured=f"times on devices other than {devices}{unknown}"),
            table=table,
        )
    ]


def _leaders(studies: Sequence[StudyRecords], leaders: Rows) -> list[Block]:
    if not leaders:
        return []
    known = {study.backbone: study for study in studies}
    metric = scale(studies[0].row["test_metric"])
    ends = [*(row["from_s"] for row in leaders[1:]), None]
    return [
        Table(
            caption="Who is expected to be best for what may be spent on tuning, by random search one trial after the "
            "other",
            columns=("spending", "backbone", f"expected test {metric.label}"),
            rows=tuple(
                (
                    f"from {seconds(row['from_s'])}" + (f" to {seconds(end)}" if end is not None else ""),
                    Cell(text=known[row["backbone"]].short, color=known[row["backbone"]].color),
                    metric.text(row["score"]),
                )
                for row, end in zip(leaders, ends, strict=True)
            ),
            words=frozenset({1}),
        )
    ]


def _efficiency(studies: Sequence[StudyRecords]) -> list[Block]:
    shown = [m for m in EFFICIENCY if any(measured_cost(study, m[0]) is not None for study in studies)]
    if not shown:
        how = "no confirmation was evaluated; a new sweep evaluates them"
        return [Missing(what="Parameters, operations, latency and memory", how=how)]
    devices = {run["device"] for study in studies for run in study.confirmations if run["device"]}
    return [
        Table(
            caption=f"The confirmed configurations, on {listed(sorted(devices)) or 'an unknown device'}: means of the "
            "confirmations",
            columns=("backbone", *(title for _, title, _ in shown)),
            rows=tuple(
                (
                    Cell(text=study.short, color=study.color, anchor=study.anchor),
                    *(text(measured_cost(study, name)) for name, _, text in shown),
                )
                for study in studies
            ),
        )
    ]


def _screen(
    studies: Sequence[StudyRecords], screen: Foretold | None, took: Mapping[tuple[str, str], float]
) -> list[Block]:
    if screen is None:
        how = "set screen to true in the sweep file; it costs one pass over the training data per backbone"
        return [Missing(what="LogME, LEEP, H-score and kNN", how=how)]
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(text=study.short, color=study.color, anchor=study.anchor),
            number(study.row["rank"]),
            *(_written(name, values.get(study.backbone)) for name, values in screen.scores.items()),
            seconds(took.get((study.task, study.backbone))),
        )
        for study in studies
    ]
    taus = [screen.taus[name] for name in screen.scores]
    agreement = tuple(DASH if tau is None else f"{tau:+.2f}" for tau in taus)
    compared = max(screen.num_compared.values(), default=0)
    return [
        Prose(paragraphs=(screen.sentence,)),
        Table(
            caption=f"Screen scores, more is better; tau over {compared} ranked backbones: of a handful mostly luck",
            columns=("backbone", "rank", *(_SCREENS.get(name, name) for name in screen.scores), "took"),
            rows=(*rows, ("weighted tau", "", *agreement, "")),
        ),
    ]


def _written(name: str, value: float | None) -> str:
    return count(value) if name == BASELINE else number(value)
