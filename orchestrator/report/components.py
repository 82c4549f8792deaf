"""What a score is made of: the conditions of use, their weights, and what nobody measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.ranking import Ranking, Verdict
from orchestrator.ranking.options import COMPONENTS
from orchestrator.report.document import Block, Cell, Figure, Missing, Table
from orchestrator.report.figures_ranking import Marked, grouped
from orchestrator.report.studies import StudyRecords, common_basis
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
        spread = {name for name in shown if any(study.row.get(f"{name}_sd") is not None for study in ranked)}
        spots = [
            Marked(
                name=study.short,
                color=study.color,
                marker=study.marker,
                scores=tuple(study.row.get(name) for name in shown),
            )
            for study in ranked
        ]
        titles = [_CONDITIONS[name][0] for name in shown]
        seen = "; ".join(f"{spot.name} {', '.join(points(value) for value in spot.scores)}" for spot in spots)
        unmeasured = listed([_CONDITIONS[name][0].lower() for name in verdict.unmeasured])
        blocks.append(
            Figure(
                svg=grouped(f"{anchor}-parts", titles, spots),
                alt=f"Scores under {listed([title.lower() for title in titles])}: {seen}.",
                caption="The same chance-normalised test score under each condition; a backbone's score is their "
                f"weighted mean. {_options_text(ranking)}.",
                basis=common_basis(ranked, unmeasured=unmeasured or "conditions other than these; their intervals"),
                table=Table(
                    caption="Scores under each condition, in points",
                    columns=(
                        "backbone",
                        *(
                            part
                            for name, title in zip(shown, titles, strict=True)
                            for part in _columns(title, name in spread)
                        ),
                        "rank 1 under other weights",
                    ),
                    rows=tuple(
                        (
                            Cell(text=study.short, color=study.color),
                            *(text for name in shown for text in _with_sd(study.row, name, name in spread)),
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
        what = "Robustness to perturbed inputs" if name == "robustness" else title
        blocks.append(Missing(what=what, how=f"{how or 'a race compares fully tuned backbones alone'}{alike}"))
    return blocks


def _options_text(ranking: Ranking) -> str:
    options = ranking.options
    return f"Margin of no practical difference {points(options.eps)} points, Monte-Carlo seed {options.seed}"


def _columns(title: str, with_sd: bool) -> tuple[str, ...]:
    return (title.lower(), "sd") if with_sd else (title.lower(),)


def _with_sd(row: Mapping[str, Any], name: str, with_sd: bool) -> tuple[str, ...]:
    mean = points(row.get(name))
    return (mean, points(row.get(f"{name}_sd"))) if with_sd else (mean,)
