"""Robustness is measured on the same samples for all, and is what a network whose weakness is known must have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_networks import first, images_task, linear, planted, square_reader, squares_task, value
from torch import Tensor

from trainables.data import Task
from trainables.evaluate import Findings, Subject
from trainables.evaluate.chosen import chosen
from trainables.evaluate.robustness import robustness
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner
from trainables.perturbations import SEVERITIES, perturbed_splits
from trainables.perturbations.contract import generator
from trainables.perturbations.image import IMAGE
from trainables.perturbations.raw import _Images

EVERYTHING = Evaluation()


def conditions(findings: Findings, name: str) -> set[str]:
    return {m.condition for m in findings.measures if m.name == name}


@pytest.fixture(scope="module")
def squares() -> Task:
    return squares_task()


@pytest.fixture(scope="module")
def of_squares(squares: Task) -> Findings:
    return robustness(square_reader(squares), EVERYTHING)


class TestPlanted:
    def test_what_cannot_touch_the_answer_costs_nothing(self, of_squares: Findings) -> None:
        assert value(of_squares, "perturbed_accuracy", "clean") == 1
        for harmless in ("contrast", "brightness", "jpeg"):  # the square stays the darkest, or the brightest
            assert value(of_squares, "robust_drop", harmless) == 0
            assert value(of_squares, "flip_rate", harmless) == 0

    def test_covering_what_is_read_costs_those_samples_that_it_covers(
        self, of_squares: Findings, squares: Task
    ) -> None:
        # A dark square that is covered is brighter than its surroundings, if they are not covered as well.
        for severity in SEVERITIES:
            flipped = 0
            for row in range(len(squares.test)):
                image = squares.test.samples.batch(torch.tensor([row]))[0]
                assert isinstance(image, Tensor)
                covered = IMAGE["occlusion"](image, severity, generator("occlusion", row)).float()
                middle, beside = covered[:, 12:20, 12:20].mean(), covered[:, 12:20, [2, 3, 28, 29]].mean()
                flipped += int(middle > beside) != row % 2
            accuracy = value(of_squares, "perturbed_accuracy", f"occlusion:{severity}")
            assert accuracy == pytest.approx(1 - flipped / len(squares.test))
        assert value(of_squares, "robust_drop", "occlusion") < -0.05
        assert value(of_squares, "flip_rate", "occlusion") == -value(of_squares, "robust_drop", "occlusion")

    def test_what_leaves_everything_as_it_was_costs_exactly_nothing(
        self, squares: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_Images, "perturbations", {"nothing": lambda image, severity, rng: image})
        found = robustness(square_reader(squares), EVERYTHING)
        assert value(found, "robust_drop") == value(found, "robust_drop", "nothing") == 0.0
        assert value(found, "flip_rate") == 0.0
        assert found.perturbed_score == value(found, "perturbed_score", "clean")

    def test_who_guesses_has_nothing_to_lose(self, squares: Task) -> None:
        guesser = planted(squares, [lambda images: images.mean(dim=(1, 2, 3))[:, None]], linear([[0.0], [0.0]]))
        found = robustness(guesser, EVERYTHING)
        assert value(found, "perturbed_accuracy", "clean") == 0.5
        assert all(math.isnan(m.value) for m in found.measures if m.name == "robust_drop")
        assert found.perturbed_score == 0.5


class TestMeasures:
    def test_every_perturbation_at_every_severity(self, of_squares: Findings) -> None:
        wanted = {f"{name}:{severity}" for name in IMAGE for severity in SEVERITIES}
        assert conditions(of_squares, "perturbed_accuracy") == conditions(of_squares, "perturbed_score")
        assert conditions(of_squares, "perturbed_accuracy") == wanted | {"clean"}
        assert conditions(of_squares, "robust_drop") == conditions(of_squares, "flip_rate") == {"", *IMAGE}
        assert {m.split for m in of_squares.measures} == {"test"}

    def test_means_are_means(self, of_squares: Findings) -> None:
        scores = [m.value for m in of_squares.measures if m.name == "perturbed_score" and m.condition != "clean"]
        assert of_squares.perturbed_score == pytest.approx(np.mean(scores))
        assert of_squares.perturbed_example_scores is not None
        assert of_squares.perturbed_example_scores.dtype == np.float32
        assert of_squares.perturbed_example_scores.mean() == pytest.approx(np.mean(scores))
        assert value(of_squares, "robust_drop") == pytest.approx(np.mean(scores) - 1)

    def test_off_is_said(self, squares: Task) -> None:
        found = robustness(square_reader(squares), Evaluation(perturbations="none"))
        assert found.measures == ()
        assert found.perturbed_score is None
        assert "evaluation.perturbations is none" in found.notes[0]

    def test_a_regression_has_no_accuracy(self, squares: Task) -> None:
        images = squares.test.samples.batch(torch.arange(len(squares.test)))
        assert isinstance(images, Tensor)
        numbers = images[:, :, 12:20, 12:20].float().mean(dim=(1, 2, 3))[:, None] / 255 - 0.5
        task = images_task(images, numbers, "regression")
        scale = float(numbers.std(correction=0))
        reader = planted(
            task,
            [lambda x: x[:, :, 12:20, 12:20].mean(dim=(1, 2, 3))[:, None]],
            linear([[1 / scale]], [(-0.5 - float(numbers.mean())) / scale]),
        )
        found = robustness(reader, EVERYTHING)
        assert {m.name for m in found.measures} == {"perturbed_score", "robust_drop"}
        assert value(found, "perturbed_score", "clean") == pytest.approx(1)
        assert value(found, "robust_drop", "occlusion") < -0.1
        assert found.perturbed_example_scores is not None
        assert found.perturbed_example_scores.mean() == pytest.approx(found.perturbed_score, abs=1e-5)
        assert "a target is the same" in robustness(reader, Evaluation(num_perturbed=1)).notes[0]

    def test_several_labels(self, squares: Task) -> None:
        images = squares.test.samples.batch(torch.arange(len(squares.test)))
        assert isinstance(images, Tensor)
        labels = torch.stack([squares.test.targets, 1 - squares.test.targets], dim=1).float()
        task = images_task(images, labels, "multilabel")
        single = square_reader(squares)
        reader = planted(task, list(single.tuned.blocks), linear([[1.0], [-1.0]]))
        found, wanted = robustness(reader, EVERYTHING), robustness(single, EVERYTHING)
        for name in ("perturbed_accuracy", "robust_drop", "flip_rate"):
            condition = "occlusion" + ":2" * (name == "perturbed_accuracy")
            assert value(found, name, condition) == value(wanted, name, condition)

    def test_answers_that_are_no_numbers_are_not_ranked(self, squares: Task) -> None:
        images = squares.test.samples.batch(torch.arange(len(squares.test)))
        assert isinstance(images, Tensor)
        task = images_task(images, squares.test.targets[:, None].float(), "regression")
        broken = planted(task, [lambda x: x.mean(dim=(1, 2, 3))[:, None]], linear([[math.inf]]))
        found = robustness(broken, EVERYTHING)
        assert found.perturbed_score is None
        assert "not finite" in found.notes[0]


class TestSamples:
    def test_which_are_chosen_depends_on_their_number_alone(self, squares: Task) -> None:
        few, many = chosen(squares.test, 7), chosen(squares.test, 20)
        assert torch.equal(few.rows, many.rows[:7])
        assert len(set(many.rows.tolist())) == 20
        assert torch.equal(few.targets, squares.test.targets[few.rows])
        assert torch.equal(chosen(squares.test, 10**6).rows.sort().values, squares.test.rows)
        moved = replace(squares.test, rows=squares.test.rows.flip(0))
        assert torch.equal(len(moved) - 1 - chosen(moved, 7).rows, few.rows)

    def test_neighbours_change_nothing(self) -> None:
        squares = squares_task(num=8)
        whole = {(name, severity): split for name, severity, split in perturbed_splits(squares, squares.test)}
        part = first(squares, 5).test
        for name, severity, split in perturbed_splits(squares, part):
            alone = torch.cat([split.batch(torch.tensor([position]))[0] for position in (4, 2)])
            together, _ = whole[name, severity].batch(torch.arange(8))
            assert torch.equal(alone, together[[4, 2]])

    def test_example_scores_are_those_of_the_chosen(self, squares: Task) -> None:
        found = robustness(square_reader(squares), Evaluation(num_perturbed=9)).perturbed_example_scores
        whole = robustness(square_reader(squares), EVERYTHING).perturbed_example_scores
        assert found is not None
        assert whole is not None
        assert np.array_equal(found, whole[:9])

    def test_little_memory_changes_nothing(self, squares: Task, of_squares: Findings) -> None:
        reader = square_reader(squares)
        outputs = reader.outputs

        def small(prepared: Tensor) -> Tensor:
            if len(prepared) > 7:
                raise torch.OutOfMemoryError("no room")
            return outputs(prepared)

        reader.outputs = small  # type: ignore[assignment, method-assign]
        found = robustness(reader, EVERYTHING)
        assert found.measures == of_squares.measures


class TestTrained:
    def test_of_a_fine_tuned_network(self, make: Callable[..., Finetuner], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_Images, "perturbations", {name: IMAGE[name] for name in ("gaussian_noise", "rotation")})
        finetuner = make(max_epochs=1)
        finetuner.train_epoch()
        with finetuner.at_best():
            subject = Subject(finetuner)
            state = torch.get_rng_state()
            before = {name: tensor.clone() for name, tensor in subject.tuned.state_dict().items()}
            found, again = (robustness(subject, EVERYTHING) for _ in range(2))
            assert torch.equal(state, torch.get_rng_state())
            assert all(torch.equal(before[name], t) for name, t in subject.tuned.state_dict().items())
        # NaN is not equal to itself: an untrained network may be at chance.
        assert [repr(m) for m in found.measures] == [repr(m) for m in again.measures]
        measured = finetuner.measure_test()
        assert value(found, "perturbed_accuracy", "clean") == pytest.approx(measured.quality.accuracy)
        assert value(found, "perturbed_score", "clean") == pytest.approx(
            measured.quality.score(finetuner.task.objective.metric)
        )
