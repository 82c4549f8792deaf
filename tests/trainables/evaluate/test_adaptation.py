"""Before and after tuning, in eval mode, from the same fitted head whatever the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from other_kinds import bits, with_targets
from torch import Tensor

from trainables.data import Task
from trainables.evaluate import Evaluation, Findings, Subject, adaptation
from trainables.evaluate.adaptation import Standing, compared


def values(found: Findings) -> dict[tuple[str, str], float]:
    assert len({(m.name, m.split) for m in found.measures}) == len(found.measures)
    return {(m.name, m.split): m.value for m in found.measures}


def standing(loss: float, score: float) -> Standing:
    return Standing(loss=loss, score=score, accuracy=score)


def test_gaps_and_gains_follow_from_four_standings() -> None:
    found = {
        (m.name, m.split): m.value
        for m in compared(
            before_train=standing(0.6, 0.8),
            before_test=standing(0.9, 0.7),
            train=standing(0.1, 1.0),
            test=standing(0.4, 0.85),
        )
    }
    assert found["gap_loss", "test"] == pytest.approx(0.3)
    assert found["gap_score", "test"] == pytest.approx(0.15)
    assert found["gain_probe", "test"] == pytest.approx(0.15)
    assert found["gain_probe_relative", "test"] == pytest.approx(0.5)  # half of the errors are gone
    assert (found["loss_before", "test"], found["loss", "test"]) == (0.9, 0.4)
    assert (found["loss_before", "train"], found["loss", "train"]) == (0.6, 0.1)
    assert (found["score_before", "train"], found["accuracy", "train"]) == (0.8, 1.0)


def test_nothing_can_be_gained_relative_to_no_error() -> None:
    perfect, worse = standing(0.0, 1.0), standing(0.5, 0.9)
    found = compared(before_train=perfect, before_test=perfect, train=worse, test=worse)
    (relative,) = [m.value for m in found if m.name == "gain_probe_relative"]
    assert math.isnan(relative)


def by_hand(subject: Subject, samples: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    """In batches of other samples than those that are measured together."""
    with torch.no_grad():
        return torch.cat([network(subject.prepared(part)).float() for part in samples.split(7)])


def test_it_is_what_the_networks_give_whatever_is_beside_a_sample(tuned: Subject) -> None:
    found, task = values(adaptation(tuned, Evaluation())), tuned.task
    for name, split in (("train", task.train), ("test", task.test)):
        samples, targets = split.batch(torch.arange(len(split)))
        assert isinstance(samples, Tensor)
        for suffix, network in (("_before", tuned.probe), ("", tuned.tuned)):
            quality = task.objective.quality(by_hand(tuned, samples, network), targets)
            assert found[f"loss{suffix}", name] == pytest.approx(quality.loss, rel=1e-4)
            assert found[f"score{suffix}", name] == pytest.approx(quality.score(task.objective.metric))
    assert found["gap_loss", "test"] == pytest.approx(found["loss", "test"] - found["loss", "train"])
    assert found["loss_uniform", "test"] == pytest.approx(math.log(10))
    # The fitted head knows more than a guess does: what a random one would not.
    assert found["loss_before", "test"] < found["loss_uniform", "test"]
    assert ("accuracy", "test") not in found  # it is `quality`'s


def test_what_was_before_is_the_same_for_every_run(subject_of: Callable[..., Subject]) -> None:
    runs = [values(adaptation(subject_of(freeze_depth=d, seed=s), Evaluation())) for d, s in ((14, 0), (9, 5))]
    for key in [key for key in runs[0] if key[0].endswith("_before")]:
        assert runs[0][key] == runs[1][key]
    assert runs[0]["loss", "test"] != runs[1]["loss", "test"]


def test_a_run_that_only_fits_the_head_gains_nothing(subject_of: Callable[..., Subject]) -> None:
    still = subject_of(freeze_depth=14, head_init="probe", head_learning_rate=0.0)
    found = values(adaptation(still, Evaluation()))
    assert found["gain_probe", "test"] == 0
    assert found["loss", "train"] == pytest.approx(found["loss_before", "train"], rel=1e-5)


@pytest.mark.parametrize(("num", "measured"), [(9_999, 9_999), (19_999, 19_999), (20_000, 10_000), (35_000, 11_667)])
def test_of_many_training_samples_an_even_share_is_measured(tuned: Subject, num: int, measured: int) -> None:
    train = replace(tuned.task.train, rows=torch.arange(num), targets=torch.zeros(num, dtype=torch.int64))
    subject = Subject(tuned.finetuner)
    subject.task = replace(tuned.task, train=train)
    rows = subject.measured_train.rows
    assert len(rows) == len(subject.measured_train.targets) == measured
    assert len(np.unique(np.diff(rows.numpy()))) == 1


def test_labels_and_numbers_too(subject_of: Callable[..., Subject], digits: Task) -> None:
    labels = with_targets(digits, "multilabel", ("1", "2", "4"), bits)
    found = values(adaptation(subject_of(task=labels, freeze_depth=14), Evaluation()))
    assert found["loss_uniform", "test"] == pytest.approx(math.log(2))
    assert found["score_before", "train"] > 0.8
    numbers = with_targets(digits, "regression", ("number",), lambda t: t.float()[:, None])
    found = values(adaptation(subject_of(task=numbers, freeze_depth=14), Evaluation()))
    assert ("loss_uniform", "test") not in found
    assert ("accuracy_before", "test") not in found
    assert found["gain_probe", "test"] == pytest.approx(found["score", "test"] - found["score_before", "test"])
