"""Whether a network's answers can be explained: captum's explanations as numbers and as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import torch

from trainables.evaluate.chosen import chosen
from trainables.evaluate.findings import Findings, Measure, Picture
from trainables.evaluate.overlays import picture_of
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.explain import (
    Answer,
    Examination,
    Network,
    Question,
    examine,
    explainers_for,
    pieces_of,
    randomised,
    require_captum,
)
from trainables.preprocessing import State

__all__ = ["interpretability"]

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
    network = Network(subject.tuned, subject.config.precision, subject.device)
    control = randomised(network, _training_samples(subject), _SEED)
    split = chosen(subject.task.test, evaluation.num_explained)
    found: list[Examination] = []
    pictures: list[Picture] = []
    for position in range(len(split)):
        encoded = subject.encoded(split, torch.tensor([position]))
        question = _question(subject, network, subject.prepared(encoded), seed=position)
        if question.pieces.num < _LEAST_PIECES:
            continue
        found.append(examine(question, control, explainers_for(question)))
        if len(pictures) < _NUM_PICTURES:
            name = f"explanation_{len(pictures)}"
            pictures.append(picture_of(found[-1], subject.task, split, position, encoded, name))
    return Findings(measures=tuple(_measures(found)), pictures=tuple(pictures), notes=tuple(_notes(found, len(split))))


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


def _measures(found: Sequence[Examination]) -> Iterator[Measure]:
    if not found:
        return
    for name in found[0].attributions:
        values = {
            "faithfulness": [one.faithfulness(name) for one in found],
            "deletion_auc": [one.areas[name].deletion for one in found],
            "insertion_auc": [one.areas[name].insertion for one in found],
            "randomised_similarity": [one.similarity[name] for one in found],
        }
        for measure, each in values.items():
            yield Measure(name=measure, value=_mean(each), condition=name)
        fits = [one.attributions[name].fit for one in found]
        known = [fit for fit in fits if fit is not None]
        if known:
            deviation = sum(fit.squared_deviation for fit in known)
            error = sum(fit.squared_error for fit in known)
            r2 = 1 - error / deviation if deviation > _LEAST_DEVIATION else math.nan
            yield Measure(name="fidelity_r2", value=r2, condition=name)
    yield Measure(name="random_deletion_auc", value=_mean(one.random.deletion for one in found))
    yield Measure(name="random_insertion_auc", value=_mean(one.random.insertion for one in found))


def _mean(values: Iterable[float]) -> float:
    """Over those that are defined; NaN where none is."""
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _notes(found: Sequence[Examination], num: int) -> Iterator[str]:
    if len(found) < num:
        yield (
            f"{num - len(found)} of {num} samples to explain have fewer than {_LEAST_PIECES} pieces and were left out"
        )
    is_image = bool(found) and found[0].question.pieces.sample[0].ndim == 4
    if is_image and "grad_cam" not in found[0].attributions:
        yield "grad_cam was not measured: no block of this backbone gives square feature maps"
