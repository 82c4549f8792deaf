"""Whether a network's answers can be explained: captum's explanations as numbers and as pictures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import torch

from trainables.data import Split
from trainables.evaluate.chosen import chosen
from trainables.evaluate.findings import Findings, Measure, Picture
from trainables.evaluate.overlays import picture_of
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.explain import (
    Answer,
    Examination,
    Fit,
    Network,
    Question,
    examine,
    explainers_for,
    pieces_of,
    randomised,
    require_captum,
)
from trainables.preprocessing import ImagePreprocessing, State

__all__ = ["interpretability"]

Name: TypeAlias = tuple[str, str]
"""Of a measure, and its condition."""

_SEED: Final = 0

_NUM_PICTURES: Final = 8

_NUM_FOR_NORMS: Final = 128
"""Training samples that a control's batch norms are measured on."""

_LEAST_PIECES: Final = 2

_LEAST_DEVIATION: Final = 1e-9
"""Squared, of probabilities: below it R² is of rounding errors."""


def interpretability(subject: Subject, evaluation: Evaluation) -> Findings:
    """Explain the answers to `num_explained` test samples, the same ones for every backbone.

    Each is the mean over samples, per explainer as the condition: ``faithfulness`` in about [-1, 1], insertion
    minus deletion area minus the same of random orders; ``deletion_auc`` and ``insertion_auc``, those areas
    (`trainables.explain.areas`); ``randomised_similarity`` in [-1, 1], the rank correlation with explanations of
    a copy with randomised weights: near 1, it is the input that is explained and not the network. Without
    condition: ``random_deletion_auc`` and ``random_insertion_auc``. Of LIME also ``fidelity_r2``, at most 1: R² of
    its linear model on perturbed samples that it was not fitted to, pooled over all samples.

    The numbers are of a network and an explainer together, on inputs that no training has shown: they belong in a
    report and in no ranking. How many passes they take: `trainables.explain.examine`.

    Raises:
        InvalidConfig: captum is not installed, or images are too small to be cut.
    """
    if not evaluation.num_explained:
        return Findings()
    require_captum()
    with subject.differentiable():
        return _explained(subject, chosen(subject.task.test, evaluation.num_explained))


def _explained(subject: Subject, split: Split) -> Findings:
    network = Network(subject.tuned, subject.config.precision, subject.device)
    control = randomised(network, _training_samples(subject), _SEED)
    found: list[dict[Name, float]] = []
    fits: defaultdict[str, list[Fit]] = defaultdict(list)
    pictures: list[Picture] = []
    for position in range(len(split)):
        encoded = subject.encoded(split, torch.tensor([position]))
        question = _question(subject, network, subject.prepared(encoded), seed=position)
        if question.pieces.num < _LEAST_PIECES:
            continue
        # Numbers alone outlive their sample: what is examined holds it on the device.
        examined = examine(question, control, explainers_for(question))
        found.append(_figures(examined))
        for name, attribution in examined.attributions.items():
            if attribution.fit is not None:
                fits[name].append(attribution.fit)
        if len(pictures) < _NUM_PICTURES:
            name = f"explanation_{len(pictures)}"
            pictures.append(picture_of(examined, subject.task, split, position, encoded, name))
    notes = []
    if len(found) < len(split):
        num = len(split) - len(found)
        notes.append(
            f"{num} of {len(split)} samples to explain have fewer than {_LEAST_PIECES} pieces and were left out"
        )
    if isinstance(subject.task.preprocessing, ImagePreprocessing) and ("faithfulness", "grad_cam") not in found[0]:
        notes.append("grad_cam was not measured: no block of this backbone gives square feature maps")
    return Findings(measures=tuple(_measures(found, fits)), pictures=tuple(pictures), notes=tuple(notes))


def _training_samples(subject: Subject) -> Iterator[State]:
    split = chosen(subject.task.train, _NUM_FOR_NORMS)
    for positions in torch.arange(len(split)).tensor_split(math.ceil(len(split) / 32)):
        yield subject.prepared(subject.encoded(split, positions))


def _question(subject: Subject, network: Network, sample: State, seed: int) -> Question:
    with torch.no_grad():
        outputs = network.outputs(sample)[0].cpu()
    return Question(
        network=network,
        pieces=pieces_of(subject.task.preprocessing, sample),
        answer=Answer(objective=subject.objective, outputs=outputs),
        seed=_SEED + seed,
    )


def _figures(examined: Examination) -> dict[Name, float]:
    """Of one sample."""
    figures = {
        ("random_deletion_auc", ""): examined.random.deletion,
        ("random_insertion_auc", ""): examined.random.insertion,
    }
    for name, areas in examined.areas.items():
        figures["faithfulness", name] = examined.faithfulness(name)
        figures["deletion_auc", name] = areas.deletion
        figures["insertion_auc", name] = areas.insertion
        figures["randomised_similarity", name] = examined.similarity[name]
    return figures


def _measures(found: Sequence[Mapping[Name, float]], fits: Mapping[str, Sequence[Fit]]) -> Iterator[Measure]:
    for name, condition in found[0] if found else ():
        yield Measure(name=name, value=_mean(one[name, condition] for one in found), condition=condition)
    for condition, of_samples in fits.items():
        deviation = sum(fit.squared_deviation for fit in of_samples)
        error = sum(fit.squared_error for fit in of_samples)
        r2 = 1 - error / deviation if deviation > _LEAST_DEVIATION else math.nan
        yield Measure(name="fidelity_r2", value=r2, condition=condition)


def _mean(values: Iterable[float]) -> float:
    """Over those that are defined; NaN where none is."""
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan
