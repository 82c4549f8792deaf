"""How one backbone's confirmed configuration holds up: perturbations, attacks, calibration, drift, explanations."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from orchestrator.report.document import Block, Figure, Missing, Table
from orchestrator.report.evaluations import MeasureSet
from orchestrator.report.figures_measures import drift, perturbed, reliability
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import listed, number, percent, plural, points, scale

__all__ = ["calibration", "drifted", "explanations", "robustness"]

_CALIBRATION: Final = (("ece", "expected calibration error"), ("brier", "Brier score"), ("nll", "log loss"))
_EXPLAINED: Final = (
    ("faithfulness", "faithfulness"),
    ("deletion_auc", "deletion AUC"),
    ("random_deletion_auc", "at random"),
    ("insertion_auc", "insertion AUC"),
    ("random_insertion_auc", "at random"),
    ("fidelity_r2", "fidelity R²"),
    ("randomised_similarity", "similarity to a randomised network's"),
)


def robustness(study: StudyRecords) -> list[Block]:
    """Perturbed inputs, then attacks."""
    found, metric = study.measures, scale(study.row["test_metric"])
    name = next((n for n in ("perturbed_score", "perturbed_accuracy") if found.conditions(n)), None)
    if name is None:
        how = "set evaluation.perturbations to all in the sweep file"
        return [Missing(what="Robustness to perturbed inputs", how=how), *_attacks(study)]
    if name == "perturbed_accuracy":
        metric = scale("accuracy")
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for condition in found.conditions(name):
        kind, _, severity = condition.rpartition(":")
        value = found.mean(name, condition)
        if severity.isdigit() and value is not None:
            scores[kind][int(severity)] = metric.factor * value
    clean = found.mean(name, "clean")
    levels = sorted({severity for by in scores.values() for severity in by})
    drop = found.mean("robust_drop")
    flips = found.mean("flip_rate")
    kinds = listed([kind.replace("_", " ") for kind in scores])
    worst = listed([f"{kind.replace('_', ' ')} {by[max(by)]:.3g}" for kind, by in scores.items()])
    overall = f" Overall change {metric.text(drop)}." if drop is not None else ""
    flipped = f" {percent(flips)} of the answers flip." if flips is not None else ""
    return [
        Figure(
            svg=perturbed(
                f"{study.anchor}-robust",
                study.color,
                scores,
                None if clean is None else metric.factor * clean,
                f"test {metric.label}",
            ),
            alt=f"Test {metric.label} of {study.short}: {metric.text(clean)} on clean inputs; at the greatest severity "
            f"{worst}.",
            caption=f"{study.short} on perturbed inputs, mild (small) to severe (large).{overall}{flipped}",
            basis=study.basis(num=study.part_of_test("num_perturbed"), unmeasured=f"perturbations other than {kinds}"),
            table=Table(
                caption=f"Test {metric.label} under perturbations; clean {metric.text(clean)}",
                columns=("perturbation", *(f"severity {level}" for level in levels), "change", "answers that flip"),
                rows=tuple(
                    (
                        kind.replace("_", " "),
                        *(metric.text(found.mean(name, f"{kind}:{level}")) for level in levels),
                        metric.text(found.mean("robust_drop", kind)),
                        percent(found.mean("flip_rate", kind)),
                    )
                    for kind in scores
                ),
            ),
        ),
        *_attacks(study),
    ]


def _attacks(study: StudyRecords) -> list[Block]:
    found, metric = study.measures, scale(study.row["test_metric"])
    attacks = found.conditions("attacked_score")
    if not attacks:
        return [Missing(what="Adversarial attacks", how="set evaluation.num_attacked above 0 in the sweep file")]
    rows = []
    for condition in attacks:
        kind, _, strength = condition.rpartition(":")
        score = found.cells("attacked_score", metric.text, condition)
        rows.append((kind.upper(), strength, *score) if kind else ("no attack", "0", *score))
    on = study.part_of_test("num_attacked")
    caption = f"{study.short} under attack, each within ε: {on}, mean of {study.seeds}"
    return [
        Table(
            caption=caption,
            columns=("attack", "ε", f"test {metric.label}", "sd"),
            rows=tuple(rows),
            words=frozenset({1}),
        )
    ]


def calibration(study: StudyRecords) -> list[Block]:
    """How far confidence is to be believed."""
    found = study.measures
    if study.is_regression:
        return [Missing(what="Calibration", how="a regression gives no probabilities")]
    if found.mean("ece") is None and found.mean("nll") is None:
        return [Missing(what="Calibration", how=study.not_evaluated)]
    table = Table(
        caption=f"Calibration of {study.short}: {study.measured_on}. Temperature "
        f"{number(found.anywhere('temperature'))}, fitted on validation",
        columns=("measure (less is better)", "as it is", "sd", "after temperature scaling", "sd"),
        rows=tuple(
            (title, *found.cells(name, number), *found.cells(name, number, "temperature_scaled"))
            for name, title in _CALIBRATION
        ),
    )
    bins = []
    for condition in found.conditions("reliability_confidence"):
        parts = [found.mean(f"reliability_{part}", condition) for part in ("confidence", "accuracy", "num")]
        if all(part is not None for part in parts):
            bins.append((parts[0] or 0.0, parts[1] or 0.0, parts[2] or 0.0))
    if not bins:
        return [table]
    surest, least = max(bins), min(bins)
    return [
        Figure(
            svg=reliability(f"{study.anchor}-reliability", study.color, sorted(bins)),
            alt=f"Right answers of {study.short}: {points(surest[1])} of 100 where it was {points(surest[0])} sure, "
            f"{points(least[1])} where it was {points(least[0])} sure.",
            caption=f"Right answers of {study.short} against how sure it was, before temperature scaling; below the "
            "diagonal is overconfident.",
            basis=study.basis(
                num=f"{study.num_test} in {len(bins)} bins of equal mass",
                unmeasured="the interval of a single bin; calibration on perturbed inputs",
            ),
        ),
        table,
    ]


def drifted(study: StudyRecords) -> list[Block]:
    """How far the features moved, block by block."""
    found = study.measures
    blocks = []
    for condition in found.conditions("cka"):
        place, value = condition.removeprefix("block:"), found.mean("cka", condition)
        if place.isdigit() and value is not None:
            blocks.append((int(place), value))
    if not blocks:
        return [Missing(what="Drift of the features (CKA)", how="set evaluation.num_drifted above 0")]
    blocks.sort()
    spoken = ", ".join(f"{value:.2f}" for _, value in blocks)
    return [
        Figure(
            svg=drift(f"{study.anchor}-drift", study.color, blocks, study.row["best_freeze_depth"]),
            alt=f"Similarity of each block of {study.short} to the pretrained one, from the input: {spoken}.",
            caption=f"How far the features of {study.short} moved from the pretrained ones, block by block; 1 is "
            "unchanged.",
            basis=study.basis(
                num=f"{plural(len(blocks), 'block')}, {study.part_of_test('num_drifted')}",
                unmeasured="positions within a sample: features are averaged over them",
            ),
        )
    ]


def explanations(study: StudyRecords) -> list[Block]:
    """Whether explanations point at what matters."""
    found = study.measures
    kinds = list(dict.fromkeys(c for name, _ in _EXPLAINED for c in found.conditions(name) if c))
    if not kinds:
        how = "install the extra explain and set evaluation.num_explained above 0"
        return [Missing(what="Explanations (LIME, KernelSHAP, integrated gradients)", how=how)]
    return [
        Table(
            caption=f"Explanations of {study.short}: do the parts they point at matter? Against random parts; "
            f"{study.part_of_test('num_explained')}, mean of {study.seeds}. No part of the score",
            columns=("explainer", *(title for _, title in _EXPLAINED)),
            rows=tuple(
                (kind.replace("_", " "), *(number(_explained(found, name, kind)) for name, _ in _EXPLAINED))
                for kind in kinds
            ),
        )
    ]


def _explained(found: MeasureSet, name: str, kind: str) -> float | None:
    """Of one explainer; random orders are the same for all."""
    return found.mean(name, "" if name.startswith("random_") else kind)
