"""The networks that a sweep keeps: which of them stands for each study, and which need not stay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from orchestrator.folder import SweepFolder
from orchestrator.models.card import model_card
from orchestrator.models.merit import merit
from orchestrator.ranking import superseded
from orchestrator.tracking import ModelInfo
from trainables.errors import WeightsUnavailable
from trainables.exported.facts import ModelFacts, read_facts

__all__ = ["KeptModel", "kept_models", "model_infos", "remove_superseded_models"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptModel:
    """The network of one confirmation."""

    study: str
    number: int
    folder: Path
    facts: ModelFacts


def kept_models(folder: SweepFolder) -> dict[str, KeptModel]:
    """The model of each study that has one.

    Of the confirmations that count it is the one that is best on validation, of equals the first. Test scores have
    no say, so that the model's own is as honest as any.
    """
    best: dict[str, KeptModel] = {}
    for model in _standing(folder):
        rival = best.get(model.study)
        if rival is None or _merit(model) > _merit(rival):
            best[model.study] = model
    return best


def remove_superseded_models(folder: SweepFolder) -> None:
    """Remove every network but the one of each study: of other seeds, and of what was chosen before more budget."""
    kept = {model.folder for model in kept_models(folder).values()}
    for place in (folder.path / "models").glob("*/*"):
        if place not in kept:
            shutil.rmtree(place, ignore_errors=True)


def model_infos(folder: SweepFolder, ranking: pa.Table) -> dict[tuple[str, str], ModelInfo]:
    """What MLflow is told of each model, by task and backbone.

    Args:
        ranking: of schema RANKING, with a row for every study.
    """
    rows = {(row["task"], row["backbone"]): row for row in ranking.to_pylist()}
    tests = folder.tests.read().select(["study", "number", "test_score"]).to_pylist()
    confirmations = _confirmations(folder)
    found = {}
    for study, model in kept_models(folder).items():
        key = model.facts.task, model.facts.backbone
        scores = [row["test_score"] for row in tests if (row["study"], row["number"]) in confirmations[study]]
        found[key] = ModelInfo(
            task=key[0],
            backbone=key[1],
            folder=model.folder,
            facts=model.facts,
            number=model.number,
            card=model_card(model.facts, rows.get(key, {}), scores),
        )
    return found


def _standing(folder: SweepFolder) -> Iterator[KeptModel]:
    """Networks of confirmations that ended and count."""
    for study, runs in _confirmations(folder).items():
        index = folder.study_indices().get(study)
        if index is None:
            continue
        for _, number in sorted(runs):
            place = folder.model_folder(index, number)
            try:
                yield KeptModel(study=study, number=number, folder=place, facts=read_facts(place))
            except WeightsUnavailable:  # it was not the best, or could not be kept
                continue


def _confirmations(folder: SweepFolder) -> Mapping[str, set[tuple[str, int]]]:
    """Study and number of each confirmation that ended and counts, by study."""
    trials = folder.trials.read()
    out = superseded(trials)
    found: dict[str, set[tuple[str, int]]] = {}
    for row in trials.select(["study", "number", "phase", "state"]).to_pylist():
        run = row["study"], row["number"]
        if row["phase"] == "confirmation" and row["state"] == "completed" and run not in out:
            found.setdefault(row["study"], set()).add(run)
    return found


def _merit(model: KeptModel) -> tuple[float, int]:
    return merit(model.facts.val_score, model.number)
