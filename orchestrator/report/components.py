"""What a score is made of: the conditions of use, their weights, and what nobody measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.ranking import Ranking, Verdict
from orchestrator.ranking.options import COMPONENTS
from orchestrator.report.document import Block, Cell, Figure, Missing, Table
from orchestrator.report.figures_ranking import grouped
from orchestrator.report.reading import StudyRecords
from orchestrator.report.wording import listed, percent, points

__all__ = ["components"]

_CONDITIONS: Final = {
    "quality": ("Quality", "fully tuned: the chosen configuration", ""),
    "ease": ("Ease", "few trials: the best of 1, 2, 4 and 8 random ones, on average", ""),
    "data_efficiency": (
        "Data efficiency",
        "few labels: the mean over shares of the training set",
        "set confirmation.train_fracs, e.g. [0.1, 0.3], in the sweep file",
    ),
    "robustness": (
        "Robustness",
        "perturbed inputs: the mean over perturbations and severities",
        "set evaluation.perturbations to all in the sweep file",
    ),
}


def components(verdict: Verdict, ranking: Ranking, ranked: Sequence[StudyRecords], anchor: str) -> list[Block]:
    """Weights, then scores by condition, then what was not measured."""
    asked, used = ranking.options.shares(COMPONENTS), ranking.options.shares(verdict.measured)
    rows = tuple(
        (
            title,
            meaning,
            percent(asked[name]),
            percent(used[name]) if name in verdict.measured else "not in the score",
        )
        for name, (title, meaning, _) in _CONDITIONS.items()
    )
    blocks: list[Block] = [
        Table(
            caption="Conditions of use and their weights. The weight of what was not measured for every backbone goes "
            "to the rest, for all alike.",
            columns=("condition", "what it is", "weight asked for", "weight used"),
            rows=rows,
            words=frozenset({1}),
        )
    ]
    shown = [name for name in COMPONENTS if any(study.row.get(name) is not None for study in ranked)]
    if ranked and shown:
        values = {study.short: [study.row.get(name) for name in shown] for study in ranked}
        titles = [_CONDITIONS[name][0] for name in shown]
        blocks.append(
            Figure(
                svg=grouped(f"{anchor}-parts", titles, values, {study.short: study.color for study in ranked}),
                alt=f"Scores under {listed([title.lower() for title in titles])}, as in the table below.",
                caption="The same chance-normalised test score under each condition; a backbone's score is their "
                f"weighted mean. n and seeds as above; {_options_text(ranking)}.",
                table=Table(
                    caption="Scores under each condition, in points; ± is one standard deviation",
                    columns=("backbone", *(title.lower() for title in titles), "rank 1 under other weights"),
                    rows=tuple(
                        (
                            Cell(text=study.short, color=study.color),
                            *(_with_sd(study.row, name) for name in shown),
                            percent(study.row.get("weight_stability")),
                        )
                        for study in ranked
                    ),
                ),
            )
        )
    for name in verdict.unmeasured:
        title, _, how = _CONDITIONS[name]
        lacking = verdict.lacking.get(name)
        alike = f"; it was not measured alike for {listed(lacking)}" if lacking else ""
        blocks.append(Missing(what=title, how=f"{how or 'a race compares fully tuned backbones alone'}{alike}"))
    return blocks


def _options_text(ranking: Ranking) -> str:
    options = ranking.options
    return f"margin of no practical difference {points(options.eps)} points, Monte-Carlo seed {options.seed}"


def _with_sd(row: Mapping[str, Any], name: str) -> str:
    sd = row.get(f"{name}_sd")
    return points(row.get(name)) + (f" ± {points(sd)}" if sd is not None else "")
