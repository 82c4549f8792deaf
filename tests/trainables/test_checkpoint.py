"""A run that is taken up from its checkpoints is the run that nobody interrupted, to the bit."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_scenes import CPU, MAX_EPOCHS, images, start, tiny, untimed
from hf_checkpoints import SOUNDS, TEXTS
from probe_scenes import Features
from torch import Tensor, nn

from trainables import findings
from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.checkpoint import load_checkpoint, save_checkpoint
from trainables.checkpoint_file import checkpoint_bytes, checkpoint_files
from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.data import load_task
from trainables.evaluate import evaluate
from trainables.evaluation import Evaluation
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.validation import epoch_metrics


def layout(tensor: Tensor) -> tuple[Any, ...]:
    return (
        tensor.dtype,
        tuple(tensor.shape),
        tuple(s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1),
    )


def require_equal_states(found: Finetuner, wanted: Finetuner) -> None:
    """Weights, statistics, moments and the best weights: values, types and how they lie in memory."""
    a, b = found.state(), wanted.state()
    assert a.values.keys() == b.values.keys()
    timed = {"best"}
    assert {k: v for k, v in a.values.items() if k not in timed} == {
        k: v for k, v in b.values.items() if k not in timed
    }
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in b.tensors.items():
        assert torch.equal(a.tensors[name], tensor), name
        assert layout(a.tensors[name]) == layout(tensor), name


def epoch_by_epoch(make_run: Callable[[], Finetuner], folder: Path) -> tuple[list[EpochMetrics], Finetuner]:
    """Every epoch by a run of its own, which knows of the others what their checkpoints say."""
    epochs: list[EpochMetrics] = []
    for number in range(1, MAX_EPOCHS + 1):
        torch.manual_seed(77 * number)
        run = make_run()
        restored = load_checkpoint(folder, run)
        assert list(restored.epochs) == epochs
        assert restored.notes == ()
        epochs.append(run.train_epoch())
        save_checkpoint(folder, run, attempt=number, epochs=epochs, facts={"number": number})
    last = make_run()
    load_checkpoint(folder, last)
    return epochs, last


def require_the_same(make_run: Callable[[], Finetuner], folder: Path) -> Finetuner:
    """The uninterrupted run, which the interrupted one equals."""
    whole = make_run()
    expected = untimed(whole.epochs())
    epochs, last = epoch_by_epoch(make_run, folder)
    assert untimed(epochs) == expected
    assert len({metrics.train_loss for metrics in expected}) == MAX_EPOCHS, "the test shows nothing"
    require_equal_states(last, whole)
    a, b = last.measure_test(), whole.measure_test()
    assert a.quality == b.quality
    assert np.array_equal(a.example_scores, b.example_scores)
    size = sum(file.path.stat().st_size for file in checkpoint_files(folder))
    assert size * 1.5 <= checkpoint_bytes(whole.num_params_trainable, whole.config.optimizer)
    return whole


OPTIONS: dict[str, dict[str, Any]] = {
    "adamw, all tuned": {"optimizer": "adamw", "schedule": "cosine", "layer_decay": 0.8},
    "adam, step, a window": {"optimizer": "adam", "schedule": "step", "tune_window": (1, 3), "stay_near": 0.01},
    "sgd, warm-up": {"optimizer": "sgd", "schedule": "constant", "warmup_frac": 0.6, "learning_rate": 1e-2},
    "a fitted head": {"head_init": "probe", "stay_near": 0.01, "class_weight": "balanced"},
    "new views in every epoch": {"augmentation": "crop_flip", "freeze_depth": 2},
    "kept views": {"augmentation": "flip", "augment_views": 2, "freeze_depth": 2, "cache": "always"},
    "a cached prefix": {"freeze_depth": 3, "cache": "always"},
    "no cached prefix": {"freeze_depth": 3, "cache": "off", "precision": "bf16"},
    "a probe": {"freeze_depth": "all", "optimizer": "sgd", "head_learning_rate": 0.1},
}


@pytest.mark.parametrize("named", OPTIONS)
def test_an_interrupted_run_equals_the_uninterrupted_one(tmp_path: Path, named: str) -> None:
    options = dict(OPTIONS[named])
    execution = Execution(activation_cache=options.pop("cache", "auto"))
    if options.get("freeze_depth") == "all":
        options["freeze_depth"] = tiny().num_blocks
    whole = require_the_same(lambda: start(execution=execution, **options), tmp_path / "run")
    if named == "adamw, all tuned":
        assert any(not t.is_contiguous() for t in whole.state().part("moving").values()), "channels_last shows nothing"
        assert any("running_mean" in name for name in whole.state().tensors)


@pytest.fixture
def first_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the scores are."""

    def judged(*args: Any, **options: Any) -> EpochMetrics:
        return replace(epoch_metrics(*args, **options), is_best=options["epoch"] == 1)

    monkeypatch.setattr("trainables.finetune.epoch_metrics", judged)


@pytest.mark.usefixtures("first_is_best")
def test_the_best_epoch_is_kept_where_it_is_not_the_last(tmp_path: Path) -> None:
    whole = require_the_same(lambda: start(freeze_depth=2), tmp_path)
    assert whole.best is not None
    assert whole.best.epoch == 1
    best, last = whole.state().part("best"), whole.state().part("moving")
    assert any(not torch.equal(best[name], last[name]) for name in last)


def text_file(folder: Path) -> Path:
    """Texts of unequal lengths."""
    rng = np.random.default_rng(0)
    with (folder / "texts.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        for row in range(60):
            words = [f"word{i}" for i in rng.integers(0, 40, rng.integers(3, 12))]
            rows.writerow([" ".join([*words, f"word{row % 2}"]), "ny"[row % 2]])
    return folder / "texts.csv"


def sound_folder(folder: Path) -> Path:
    """Two pitches, in sounds of unequal lengths."""
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for name, pitch in (("low", 300), ("high", 1200)):
        (folder / "sounds" / name).mkdir(parents=True)
        for index in range(20):
            seconds = np.arange(rng.integers(400, 900)) / 16_000
            soundfile.write(
                folder / "sounds" / name / f"{index}.wav", 0.5 * np.sin(2 * np.pi * pitch * seconds), 16_000
            )
    return folder / "sounds"


@pytest.mark.parametrize(("family", "data"), [(TEXTS["bert"], text_file), (SOUNDS["wav2vec2"], sound_folder)])
def test_texts_and_sounds(family: Any, data: Callable[[Path], Path], tmp_path: Path) -> None:
    """Batches of unequal lengths, attention, dropout."""
    family.save(tmp_path / "model")
    backbone = build(lookup(f"hf/{tmp_path / 'model'}"))
    spec = TaskSpec(name="t", data=str(data(tmp_path)), num_train=24, num_val=8, num_test=8)
    task = load_task(spec, backbone.preprocessing)
    config = FinetuneConfig(backbone=backbone.spec.name, freeze_depth=1, batch_size=6, max_epochs=MAX_EPOCHS)
    require_the_same(lambda: Finetuner(config, backbone, task, CPU), tmp_path / "run")


class Wide(nn.Module):
    """Dropout draws other masks for parts of a batch; more samples than `most` do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(24, 24), nn.Tanh(), nn.Dropout(0.5))
        self.most = 4
        self.num_failures = 0

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(x) > self.most:
            self.num_failures += 1
            raise torch.OutOfMemoryError("no room")
        result: Tensor = self.layers(x)
        return result


def test_a_run_in_parts_goes_on_in_parts_where_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where nobody has run out of memory: its masks would be others."""
    torch.manual_seed(0)
    head = nn.Linear(24, 10)
    backbone = Backbone(tiny().spec, [Features(), Wide()], head, tiny().preprocessing)
    config = FinetuneConfig(backbone=backbone.spec.name, freeze_depth=1, batch_size=8, max_epochs=MAX_EPOCHS)

    def new_machine(name: str) -> None:
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / name))
        monkeypatch.setattr(findings, "_noted", {})

    def make_run(most: int) -> Finetuner:
        run = Finetuner(config, backbone, images(), CPU)
        block = run.backbone.blocks[1]
        assert isinstance(block, Wide)
        block.most = most
        return run

    new_machine("first")
    whole = make_run(most=4)
    expected = untimed(whole.epochs())
    new_machine("second")
    interrupted = make_run(most=4)
    first = interrupted.train_epoch()
    save_checkpoint(tmp_path / "run", interrupted, attempt=1, epochs=[first], facts={})
    new_machine("third")
    roomy = make_run(most=1000)
    load_checkpoint(tmp_path / "run", roomy)
    assert untimed([first, *roomy.epochs()]) == expected
    anew = make_run(most=1000)
    assert untimed(anew.epochs()) != expected, "the test shows nothing"


@pytest.mark.usefixtures("first_is_best")
def test_a_finished_run_can_still_be_measured_and_evaluated(tmp_path: Path) -> None:
    """A worker that was killed while it evaluated."""
    options = {"freeze_depth": 2, "head_learning_rate": 0.05}
    whole = start(**options)
    epochs = list(whole.epochs())
    save_checkpoint(tmp_path, whole, attempt=1, epochs=epochs, facts={})
    resumed = start(**options)
    assert load_checkpoint(tmp_path, resumed).epochs == tuple(epochs)
    assert list(resumed.epochs()) == []
    assert resumed.best == whole.best
    assert resumed.measure_test().quality == whole.measure_test().quality
    asked = Evaluation(perturbations="none", num_attacked=2, num_drifted=4)
    found, expected = (
        {
            (measure.name, measure.split, measure.condition): measure.value
            for measure in evaluate(run, asked).measures
            if measure.name not in ("latency_s", "throughput", "energy_j")
        }
        for run in (resumed, whole)
    )
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
