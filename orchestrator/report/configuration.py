"""The configuration that a backbone's search chose, and how much its settings mattered."""

from __future__ import annotations

from typing import Final

from orchestrator.report.document import Block, Facts, Missing, Table
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import DASH, Scale, frozen, number, percent, points, rate, scale, seconds, span

__all__ = ["chosen", "importance", "settings"]

_SENSITIVITY: Final = (
    ("Learning rates within a point of the best", "lr_tolerance_decades"),
    ("Lost at the worst depth", "depth_cost"),
    ("Lost as a linear probe", "probe_cost"),
)


def settings(study: StudyRecords) -> tuple[tuple[str, str], ...]:
    """The chosen configuration, term by term: what to type to train it again."""
    run = next(run for run in study.runs if run["number"] == study.row["chosen_number"])
    depth = frozen(run["freeze_depth"], run["tune_stop"], run["num_blocks"])
    named = [
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else number(value)}"
        for name in ("weight_decay", "layer_decay", "head_init", "stay_near")
        if (value := run[name]) is not None
    ]
    return (
        ("Backbone", study.backbone),
        ("Frozen blocks", f"{depth}, from the input ({percent(run['freeze_frac'])})"),
        ("Learning rate of the blocks", rate(run["learning_rate"])),
        ("Learning rate of the head", rate(run["head_learning_rate"])),
        ("Other settings", ", ".join([*named, f"batches of {run['batch_size']}", f"{run['max_epochs']} epochs"])),
    )


def chosen(study: StudyRecords) -> Facts:
    """Its settings, its scores, what it cost, and how sensitive the backbone is."""
    row, metric = study.row, scale(study.row["test_metric"])
    spread = f" ± {metric.text(row['confirmation_sd'])}" if row["confirmation_sd"] is not None else ""
    items = [
        ("Place", f"rank {span(row['rank_low'], row['rank_high'])}, score {points(row['score'])}"),
        ("Test", f"{metric.name} {metric.text(row['confirmation_mean'])}{spread}: {study.seeds}"),
        *settings(study),
        (
            "Chosen trial",
            f"#{row['chosen_number']} by its smoothed validation score; as measured {metric.text(row['val_score'])}",
        ),
        ("Spent", f"{study.budget}; {seconds(row['cost_s'])} in all"),
    ]
    for title, name in _SENSITIVITY:
        if study.profile.get(name) is not None:
            items.append((title, _in_units(study, name, metric)))
    return Facts(items=tuple(items))


def _in_units(study: StudyRecords, name: str, metric: Scale) -> str:
    """``3.4 points (1.6 to 5.9)``."""
    factor, unit = metric.factor, "points" if metric.factor == 100 else metric.name
    if name == "lr_tolerance_decades":
        factor, unit = 1.0, "decades"
    value, low, high = (study.profile.get(f"{name}{end}") for end in ("", "_low", "_high"))
    shown = [DASH if one is None else f"{factor * one:.2g}" for one in (value, low, high)]
    return f"{shown[0]} {unit} ({shown[1]} to {shown[2]})"


def importance(study: StudyRecords) -> list[Block]:
    """PED-ANOVA of the searched parameters, beside a dummy."""
    if not study.importances:
        how = "it takes completed trials, twelve at least; a dozen still tell little"
        return [Missing(what="Importance of the settings", of=study.short, how=how)]
    rows = []
    for one in study.importances:
        judgement = "perhaps" if one.is_shown else "not shown"
        name = one.parameter.replace("_", " ")
        rows.append((name, percent(one.importance), percent(one.dummy_mean), percent(one.p_dummy), judgement))
    return [
        Table(
            caption=f"Importance (PED-ANOVA) of the settings of {study.short} over "
            f"{study.importances[0].num_trials} completed trials, beside a dummy that no trial ever saw: of few "
            "trials the dummy often wins",
            columns=("setting", "importance", "of a dummy", "dummies that reach it", "does it matter"),
            rows=tuple(rows),
            words=frozenset({4}),
            folded=True,
        )
    ]
