"""The evaluator: what it measures and draws of a tuned network, and that it leaves the network as it was."""

from __future__ import annotations

import ast
import importlib.util
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from planted import (
    PIXELS,
    SOUND,
    TEXT,
    corner_image,
    corner_network,
    keyword_network,
    loud_network,
    question,
    sound,
    text,
)

import trainables
from trainables.backbones import build
from trainables.catalog import lookup
from trainables.config import FinetuneConfig, TaskSpec
from trainables.data import load_task
from trainables.errors import InvalidConfig
from trainables.evaluate import EVALUATORS, Findings, Subject
from trainables.evaluate.interpretability import interpretability
from trainables.evaluate.overlays import picture_of
from trainables.evaluation import Evaluation
from trainables.explain import EXPLAINERS, Examination, Network, examine, explainers_for
from trainables.explain.pictures import draw_image, draw_sound, draw_text
from trainables.finetune import Finetuner
from trainables.objective import make_objective

MOST_BYTES = 60_000
EXAMINED = {"integrated_gradients": EXPLAINERS["integrated_gradients"]}
PER_EXPLAINER = ("faithfulness", "deletion_auc", "insertion_auc", "randomised_similarity")


@pytest.fixture(scope="module")
def tuned() -> Finetuner:
    backbone = build(lookup("timm/test_resnet@random"))
    spec = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=22)
    task = load_task(spec, backbone.preprocessing)
    config = FinetuneConfig(backbone=backbone.spec.name, freeze_depth=2, batch_size=8, max_epochs=1, learning_rate=1e-2)
    finetuner = Finetuner(config, backbone, task, torch.device("cpu"))
    finetuner.train_epoch()
    return finetuner


@pytest.fixture(scope="module")
def found(tuned: Finetuner) -> Findings:
    with tuned.at_best():
        return interpretability(Subject(tuned), Evaluation(num_explained=2))


def test_every_measure_of_every_explainer(found: Findings) -> None:
    values = {(one.name, one.condition): one.value for one in found.measures}
    expected = {(name, explainer) for name in PER_EXPLAINER for explainer in EXPLAINERS}
    expected |= {("fidelity_r2", "lime"), ("random_deletion_auc", ""), ("random_insertion_auc", "")}
    assert set(values) == expected
    assert len(found.measures) == len(expected)
    assert all(math.isfinite(value) for value in values.values())
    assert all(abs(values["randomised_similarity", name]) <= 1 for name in EXPLAINERS)
    for name in EXPLAINERS:
        area = values["insertion_auc", name] - values["deletion_auc", name]
        assert values["faithfulness", name] == pytest.approx(area, abs=1e-9)
    assert {one.split for one in found.measures} == {"test"}


def test_a_picture_of_each_sample_with_truth_and_answer(tuned: Finetuner, found: Findings) -> None:
    assert [one.name for one in found.pictures] == ["explanation_0", "explanation_1"]
    for one in found.pictures:
        assert "true class" in one.caption
        assert "answered" in one.caption
        check_png(one.png)


def test_fewer_are_the_first_of_more_and_the_network_and_the_generator_are_left_alone(
    tuned: Finetuner, found: Findings
) -> None:
    before = {name: tensor.clone() for name, tensor in tuned.backbone.state_dict().items()}
    state = torch.random.get_rng_state()
    with tuned.at_best():
        again = interpretability(Subject(tuned), Evaluation(num_explained=1))
    assert again.pictures == found.pictures[:1]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tuned.backbone.state_dict().items())


def test_it_is_one_of_the_evaluators_and_does_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpretability in EVALUATORS
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    nothing: Any = None
    assert interpretability(nothing, Evaluation()) == Findings()


def test_without_captum_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tuned: Finetuner) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "captum" else real(name))
    with pytest.raises(InvalidConfig, match=r'pip install "orchestrator\[explain\]"'):
        interpretability(Subject(tuned), Evaluation(num_explained=1))


def test_captum_and_matplotlib_are_not_loaded_where_nothing_is_explained() -> None:
    """Nothing imports them but functions, and what only type checkers read."""
    root = Path(trainables.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in named} & {"captum", "matplotlib"}, path


def test_a_sample_takes_as_many_passes_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, taken = question(corner_network(), corner_image()), []
    explainers = explainers_for(asked)
    outputs = Network.outputs

    def counted(network: Network, state: Any, start: int = 0) -> Any:
        taken.append(len(state))
        return outputs(network, state, start)

    monkeypatch.setattr(Network, "outputs", counted)
    examine(asked, asked.network, explainers)
    # `last_spatial_block` runs blocks alone, once for each of two explanations by Grad-CAM.
    assert sum(taken) + 2 == 1155


def examined(network: Any, sample: Any) -> Examination:
    asked = question(network, sample)
    return examine(asked, asked.network, dict.fromkeys(explainers_for(asked), EXPLAINERS["integrated_gradients"]))


def check_png(png: bytes) -> np.ndarray[Any, Any]:
    assert len(png) < MOST_BYTES
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert 300 <= image.width <= 800
        assert 50 <= image.height <= 800
        return np.asarray(image.convert("RGB")).astype(int)


def is_red(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (pixels[..., 0] - pixels[..., 1] > 60) & (pixels[..., 0] - pixels[..., 2] > 60)


def a_task(preprocessing: Any, names: tuple[str, ...], target: Any) -> tuple[Any, Any]:
    """A task, and a split of one sample of it, as far as pictures need them."""
    task = SimpleNamespace(spec=SimpleNamespace(name="planted"), class_names=names, preprocessing=preprocessing)
    return task, SimpleNamespace(rows=torch.tensor([40]), targets=torch.tensor([target]))


class TestCaptions:
    def test_of_a_class(self) -> None:
        sample = text(9, 10, 7, padding=0)
        task, split = a_task(TEXT, ("dull", "bright"), 0)
        shown = picture_of(examined(keyword_network(), sample), task, split, 0, sample, "one")
        assert shown.name == "one"
        assert shown.caption.startswith("planted, sample 40: true class dull, answered bright (p = 0.9")
        check_png(shown.png)

    def test_of_labels(self) -> None:
        asked = question(corner_network(), corner_image(), make_objective("multilabel", 2, torch.eye(2), torch.eye(2)))
        task, split = a_task(PIXELS, ("day", "night"), [0.0, 0.0])
        pixels = torch.zeros(1, 3, 28, 28, dtype=torch.uint8)
        shown = picture_of(examine(asked, asked.network, {}), task, split, 0, pixels, "one")
        assert "label night: true no, answered yes (p = 0.9" in shown.caption

    def test_of_numbers_in_their_own_units(self) -> None:
        targets = torch.tensor([[0.0, 100.0], [2.0, 300.0]])
        sample = sound(3)
        asked = question(loud_network(3), sample, make_objective("regression", 2, targets, targets))
        task, split = a_task(SOUND, ("speed", "height"), [0.5, 120.0])
        shown = picture_of(examine(asked, asked.network, EXAMINED), task, split, 0, sample, "one")
        answers = 1 + asked.answer.outputs[0], 200 + 100 * asked.answer.outputs[1]
        assert f"true speed 0.5, answered {float(answers[0]):.3g}" in shown.caption
        assert f"true height 120, answered {float(answers[1]):.3g}" in shown.caption
        check_png(shown.png)


class TestPictures:
    def test_what_speaks_for_the_answer_is_red(self) -> None:
        pixels = torch.full((3, 28, 28), 128, dtype=torch.uint8)
        shown = check_png(draw_image(examined(corner_network(), corner_image()), pixels))
        columns = is_red(shown).any(axis=0).nonzero()[0]
        panel = shown.shape[1] / (1 + len(EXPLAINERS))
        # One red cell of 7 in each panel but the first, at its left.
        assert {int(column // panel) for column in columns} == {1, 2, 3, 4}
        assert (columns % panel < 0.3 * panel).all()

    def test_noise_is_not_too_many_bytes(self) -> None:
        pixels = torch.randint(256, (3, 384, 384), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        check_png(draw_image(examined(corner_network(), corner_image()), pixels))

    @pytest.mark.parametrize("tokens", [["w"] * 6, ["$x_", "語彙", "a" * 100, "", "\n", "##ing"]])
    def test_a_text_with_its_keyword_red(self, tokens: list[str]) -> None:
        network = keyword_network()
        shown = check_png(draw_text(examined(network, text(9, 10, 7, padding=1)), tokens))
        assert is_red(shown).any()

    def test_a_long_text_is_cut(self) -> None:
        check_png(draw_text(examined(keyword_network(), text(*[9] * 150, 7, padding=0)), ["word"] * 153))

    @pytest.mark.parametrize("duration_s", [1.6, None])
    def test_a_waveform_with_its_loud_stretch_red(self, duration_s: float | None) -> None:
        sample = sound(3)
        shown = check_png(draw_sound(examined(loud_network(3), sample), sample[0][0], duration_s))
        columns = is_red(shown).any(axis=0).nonzero()[0] / shown.shape[1]
        assert columns.min() > 3 / 16 - 0.05
        assert columns.max() < 4 / 16 + 0.05

    def test_a_spectrogram(self) -> None:
        check_png(draw_sound(examined(loud_network(3), sound(3)), torch.randn(160, 20), 1.6))
