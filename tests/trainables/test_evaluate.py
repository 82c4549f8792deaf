"""Quality is scikit-learn's and torch's own, and the main metric is fixed by the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from trainables.data.task import main_metric
from trainables.evaluate import quality


def test_quality_of_known_answers() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    measured = quality(logits, torch.tensor([0, 1, 1, 0]))
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert measured.loss == pytest.approx((3 * right + wrong) / 4)
    assert measured.accuracy == 0.75
    assert measured.f1_macro == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)


def test_f1_is_made_of_precision_and_recall_and_not_of_accuracy() -> None:
    truth = torch.tensor([0] * 8 + [1, 2])
    measured = quality(torch.nn.functional.one_hot(torch.zeros(10, dtype=torch.int64), 3).float(), truth)
    assert measured.accuracy == 0.8
    assert measured.f1_macro == pytest.approx(f1_score(truth, np.zeros(10), average="macro"))
    assert (measured.score("accuracy"), measured.score("f1_macro")) == (0.8, measured.f1_macro)


@pytest.mark.parametrize(
    ("counts", "metric"),
    [((10, 10), "accuracy"), ((15, 10), "accuracy"), ((16, 10), "f1_macro"), ((90, 5, 5), "f1_macro")],
)
def test_the_main_metric_is_fixed_by_the_balance_of_test(counts: tuple[int, ...], metric: str) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    found, chance = main_metric(labels, len(counts))
    majority = torch.nn.functional.one_hot(labels.mode().values, len(counts)).float().expand(len(labels), -1)
    assert found == metric
    assert chance == pytest.approx(quality(majority, labels).score(found))
