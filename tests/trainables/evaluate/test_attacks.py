"""Attacks find what can be computed by hand, stay within their limits, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attacking import of_all, untouched
from planted_networks import images_task, linear, planted, value
from torch import Tensor, nn

from trainables.evaluate import Subject
from trainables.evaluate.attacks import Adversary, attacks
from trainables.evaluate.surfaces import EPSILONS
from trainables.evaluation import Evaluation
from trainables.finetune import Finetuner

EPSILON = 4 / 255
ALL = Evaluation(num_attacked=1000)


def linear_images(num: int = 60, kind: Any = "classification") -> tuple[Subject, Tensor, Tensor]:
    """A linear network of images of 6 pixels, its weight vector and the numbers that it makes of the images: near 0,
    so that an attack of a few grey levels can turn some answers and not all."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(60, 190, (num, 3, 6, 6)).astype(np.uint8))
    weight = torch.from_numpy(rng.normal(size=108).astype(np.float32))
    weight[:10] = 0  # what is not read has no gradient, and is not moved
    logits = (images.flatten(1).float() / 255) @ weight
    bias = float(logits.median())
    targets = (logits > bias).long()
    targets[::9] = 1 - targets[::9]  # some are wrong from the start
    if kind == "regression":
        scale = float(logits.std(correction=0))
        head = linear((weight / scale)[None], [-float(logits.mean()) / scale])
        task = images_task(images, logits[:, None], kind)
    else:
        head = linear(torch.stack([-weight, weight]), [bias, -bias])
        task = images_task(images, targets)
    return planted(task, [lambda x: x.flatten(1)], head), weight, logits - bias


class TestByHand:
    def test_fgsm_goes_against_the_sign_of_the_weights(self) -> None:
        subject, weight, _ = linear_images()
        surface, targets, _ = of_all(subject)
        attacked = Adversary(subject).fgsm(surface, targets, EPSILON)
        away = torch.where(targets == 1, -1.0, 1.0)[:, None] * weight.sign()
        assert torch.allclose(attacked, surface.values + 4 * away.view(-1, 3, 6, 6), atol=1e-4)

    def test_accuracy_is_that_of_the_margins(self) -> None:
        subject, weight, logits = linear_images()
        found = attacks(subject, ALL)
        targets = subject.task.test.targets
        margin = torch.where(targets == 1, logits, -logits)
        assert value(found, "attacked_accuracy", "clean") == pytest.approx(float((margin > 0).float().mean()))
        for name, epsilon in EPSILONS["image"].items():
            wanted = float((margin > epsilon * weight.abs().sum()).float().mean())
            for attack in ("fgsm", "pgd"):
                assert value(found, "attacked_accuracy", f"{attack}:{name}") == pytest.approx(wanted)
        assert 0 < value(found, "attacked_accuracy", "pgd:1/255") < value(found, "attacked_accuracy", "clean")

    def test_pgd_reaches_the_corner_wherever_it_begins(self) -> None:
        subject, weight, _ = linear_images()
        surface, targets, rows = of_all(subject)
        adversary = Adversary(subject)
        fgsm, pgd = adversary.fgsm(surface, targets, EPSILON), adversary.pgd(surface, targets, EPSILON, rows)
        read = (weight != 0).view(3, 6, 6).expand_as(pgd)
        assert torch.allclose(fgsm[read], pgd[read], atol=1e-3)
        assert not torch.allclose(fgsm[~read], pgd[~read], atol=1e-3), "where nothing pulls it stays where it began"

    def test_a_regression_is_pushed_from_its_targets(self) -> None:
        subject, weight, logits = linear_images(kind="regression")
        found = attacks(subject, ALL)
        assert {m.name for m in found.measures} == {"attacked_score"}
        assert value(found, "attacked_score", "clean") == pytest.approx(1, abs=1e-5)
        shift = float(EPSILON * weight.abs().sum())  # from where it is hit, by either sign
        wanted = 1 - shift**2 / float(logits.var(correction=0))
        # At the very target the loss has no slope: PGD begins beside it.
        assert value(found, "attacked_score", "pgd:4/255") == pytest.approx(wanted, rel=1e-3)


class TestLimits:
    def bent(self, num: int = 12) -> Subject:
        """A network with curvature on noise, black and white."""
        rng = np.random.default_rng(1)
        images = torch.from_numpy(rng.choice([0, 1, 90, 254, 255], (num, 3, 8, 8)).astype(np.uint8))
        torch.manual_seed(0)
        head = nn.Sequential(nn.Linear(192, 20), nn.Tanh(), nn.Linear(20, 3))
        return planted(images_task(images, torch.arange(num) % 3), [lambda x: x.flatten(1)], head)

    def test_pixels_stay_within_epsilon_and_the_range(self) -> None:
        subject = self.bent()
        surface, targets, rows = of_all(subject)
        adversary = Adversary(subject)
        for attacked in (
            adversary.fgsm(surface, targets, EPSILON),
            adversary.pgd(surface, targets, EPSILON, rows),
        ):
            assert float((attacked - surface.values).abs().max()) <= 4 + 1e-4
            assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 255
            assert attacked.dtype == torch.float32

    def test_losses_grow_with_epsilon_and_pgd_beats_fgsm(self) -> None:
        subject = self.bent()
        surface, targets, rows = of_all(subject)
        adversary = Adversary(subject)

        def loss(values: Tensor) -> float:
            return float(subject.objective.loss(adversary.outputs(surface, values), targets))

        losses = [
            loss(surface.values),
            loss(adversary.fgsm(surface, targets, 1 / 255)),
            loss(adversary.fgsm(surface, targets, 8 / 255)),
        ]
        assert losses == sorted(set(losses))
        assert loss(adversary.pgd(surface, targets, 8 / 255, rows)) >= 0.98 * losses[-1]

    def test_it_is_the_same_again_and_in_other_batches(self) -> None:
        subject = self.bent()
        test = subject.task.test
        adversary = Adversary(subject)
        state = torch.get_rng_state()

        def outputs(positions: list[int]) -> dict[str, Tensor]:
            attacked = adversary.batch(test, torch.tensor(positions))
            assert attacked is not None
            return dict(attacked)

        whole, part = outputs(list(range(12))), outputs([7, 3])
        assert torch.equal(state, torch.get_rng_state())
        for condition, found in whole.items():
            assert torch.allclose(found[[7, 3]], part[condition], atol=1e-5)
        assert all(torch.equal(found, whole[condition]) for condition, found in outputs(list(range(12))).items())

    def test_little_memory_changes_nothing(self) -> None:
        whole, bent = attacks(self.bent(), ALL), self.bent()
        outputs = bent.outputs

        def small(prepared: Tensor) -> Tensor:
            if len(prepared) > 5:
                raise torch.OutOfMemoryError("no room")
            return outputs(prepared)

        bent.outputs = small  # type: ignore[assignment, method-assign]
        assert attacks(bent, ALL).measures == whole.measures

    def test_none_is_said(self) -> None:
        found = attacks(self.bent(), Evaluation(num_attacked=0))
        assert found.measures == ()
        assert "num_attacked is 0" in found.notes[0]

    def test_recurrent_layers_are_attacked_without_cudnn(self) -> None:
        class Recurrent(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm = nn.LSTM(24, 5, batch_first=True)
                self.seen: list[bool] = []

            def forward(self, images: Tensor) -> Tensor:
                self.seen.append(torch.backends.cudnn.enabled)
                last: Tensor = self.lstm(images.flatten(1).unflatten(1, (8, 24)))[0][:, -1]
                return last

        task, layer = self.bent().task, Recurrent()
        attacks(planted(task, [layer], nn.Linear(5, 3)), ALL)
        assert set(layer.seen) == {False}
        assert torch.backends.cudnn.enabled


def test_a_fine_tuned_network_is_left_as_it_was(make: Callable[..., Finetuner]) -> None:
    finetuner = make(freeze_depth=4, max_epochs=1)
    finetuner.train_epoch()
    for parameter in finetuner.backbone.parameters():
        parameter.grad = None
    subject = Subject(finetuner)
    found = untouched(subject, lambda: attacks(subject, Evaluation(num_attacked=6)))
    assert {m.condition for m in found.measures} == {"clean", "fgsm:1/255", "pgd:1/255", "fgsm:4/255", "pgd:4/255"}
    assert {m.name for m in found.measures} == {"attacked_accuracy", "attacked_score"}
