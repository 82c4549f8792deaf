"""A run that is taken up from its checkpoints is the run that nobody interrupted, to the bit."""

from __future__ import annotations

import csv
import errno
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_checkpoints import SOUNDS, TEXTS
from probe_scenes import Features
from torch import Tensor, nn

from trainables import findings
from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.checkpoint import Restored, load_checkpoint, save_checkpoint
from trainables.checkpoint_file import checkpoint_bytes, checkpoint_files, read_checkpoint
from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.data import Task, load_task
from trainables.errors import FrozenMoved, InvalidConfig
from trainables.evaluate import evaluate
from trainables.evaluation import Evaluation
from trainables.execution import Execution
from trainables.finetune import Finetuner

CPU = torch.device("cpu")
MAX_EPOCHS = 3


def untimed(epochs: Any) -> list[EpochMetrics]:
    return [replace(metrics, train_s=0.0, eval_s=0.0) for metrics in epochs]


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


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    """Convolutions under channels_last, BatchNorm; five blocks that take milliseconds."""
    return build(lookup("timm/test_resnet@random"))


@pytest.fixture(scope="module")
def images(tiny: Backbone) -> Task:
    return load_task(TaskSpec(name="t", image_size=32, num_train=18, num_val=12, num_test=12), tiny.preprocessing)


Start = Callable[..., Finetuner]


@pytest.fixture
def start(tiny: Backbone, images: Task) -> Start:
    def start(task: Task = images, execution: Execution | None = None, **options: Any) -> Finetuner:
        config = {"backbone": tiny.spec.name, "batch_size": 8, "max_epochs": MAX_EPOCHS, **options}
        return Finetuner(FinetuneConfig(**config), tiny, task, CPU, execution or Execution())

    return start


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
def test_an_interrupted_run_equals_the_uninterrupted_one(
    start: Start, tiny: Backbone, tmp_path: Path, named: str
) -> None:
    options = dict(OPTIONS[named])
    execution = Execution(activation_cache=options.pop("cache", "auto"))
    if options.get("freeze_depth") == "all":
        options["freeze_depth"] = tiny.num_blocks
    whole = require_the_same(lambda: start(execution=execution, **options), tmp_path / "run")
    if named == "adamw, all tuned":
        assert any(not t.is_contiguous() for t in whole.state().part("moving").values()), "channels_last shows nothing"
        assert any("running_mean" in name for name in whole.state().tensors)


def test_the_best_epoch_is_kept_where_it_is_not_the_last(start: Start, tmp_path: Path) -> None:
    def make_run() -> Finetuner:
        return start(learning_rate=0.5, head_learning_rate=0.5, seed=1)

    whole = require_the_same(make_run, tmp_path)
    assert whole.best is not None
    assert whole.best.epoch < MAX_EPOCHS
    assert whole.state().part("best"), "the test shows nothing"


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
    tiny: Backbone, images: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where nobody has run out of memory: its masks would be others."""
    torch.manual_seed(0)
    head = nn.Linear(24, 10)
    backbone = Backbone(tiny.spec, [Features(), Wide()], head, tiny.preprocessing)
    config = FinetuneConfig(backbone=backbone.spec.name, freeze_depth=1, batch_size=8, max_epochs=MAX_EPOCHS)

    def new_machine(name: str) -> None:
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / name))
        monkeypatch.setattr(findings, "_noted", {})

    def make_run(most: int) -> Finetuner:
        run = Finetuner(config, backbone, images, CPU)
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


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


@dataclass(frozen=True)
class Harm:
    do: Callable[[Path], Any]
    said: str


HARMS: dict[str, Harm] = {
    "truncated": Harm(lambda file: os.truncate(file, file.stat().st_size * 2 // 3), "cut off or changed"),
    "a header cut off": Harm(lambda file: os.truncate(file, 100), "its header is cut off"),
    "empty": Harm(lambda file: os.truncate(file, 0), "its header is cut off"),
    "zeros": Harm(lambda file: file.write_bytes(bytes(file.stat().st_size)), "its header is cut off"),
    "something else": Harm(lambda file: file.write_bytes(b"\x40" + bytes(7) + b"#" * 999), "does not begin"),
    "a flipped bit": Harm(lambda file: flip(file, file.stat().st_size - 1000), "cut off or changed"),
    "a flipped bit of the text": Harm(lambda file: flip(file, 300), "cut off or changed"),
    "a folder": Harm(lambda file: (file.unlink(), file.mkdir()), "Is a directory"),
}


class TestDamage:
    @pytest.fixture
    def folder(self, start: Start, tmp_path: Path) -> Path:
        """Of two epochs, in the files of each."""
        run, epochs = start(), []
        for _ in range(2):
            epochs.append(run.train_epoch())
            save_checkpoint(tmp_path / "run", run, attempt=1, epochs=epochs, facts={"seconds": 1.5})
        return tmp_path / "run"

    @pytest.mark.parametrize("harm", HARMS)
    def test_the_one_before_is_used(self, start: Start, folder: Path, harm: str) -> None:
        HARMS[harm].do(folder / "00002-1.safetensors")
        resumed = start()
        restored = load_checkpoint(folder, resumed)
        assert [metrics.epoch for metrics in restored.epochs] == [1]
        assert restored.facts == {"seconds": 1.5}
        (note,) = restored.notes
        assert note.startswith("checkpoint of epoch 2 is damaged (")
        assert HARMS[harm].said in note
        assert note.endswith("): went back to epoch 1")
        saved = read_checkpoint(folder)
        assert saved is not None
        assert (saved.epoch, saved.attempt, saved.epochs) == (1, 1, restored.epochs)
        assert untimed([*restored.epochs, *resumed.epochs()]) == untimed(start().epochs())

    def test_where_none_is_whole_the_run_begins_anew(self, start: Start, folder: Path) -> None:
        for file in checkpoint_files(folder):
            os.truncate(file.path, 5000)
        run = start()
        restored = load_checkpoint(folder, run)
        assert restored.epochs == ()
        (note,) = restored.notes
        assert note.count("is damaged") == 2
        assert note.endswith(": begins anew")
        assert read_checkpoint(folder) is None
        assert untimed(run.epochs()) == untimed(start().epochs())

    def test_the_damaged_one_does_not_take_the_place_of_a_good_one(self, start: Start, folder: Path) -> None:
        os.truncate(folder / "00002-1.safetensors", 5000)
        run = start()
        epochs = [*load_checkpoint(folder, run).epochs, run.train_epoch()]
        save_checkpoint(folder, run, attempt=2, epochs=epochs, facts={})
        assert sorted(path.name for path in folder.iterdir()) == ["00001-1.safetensors", "00002-2.safetensors"]

    def test_tensors_of_another_shape_are_no_checkpoint_of_this_run(
        self, start: Start, folder: Path, tiny: Backbone, images: Task
    ) -> None:
        fewer = replace(images.objective, num_outputs=9)
        run = start(task=replace(images, objective=fewer))
        restored = load_checkpoint(folder, run)
        assert restored.epochs == ()
        assert "must be torch.float32 of shape (9" in restored.notes[0]
        assert run.epoch == run.step == 0


class TestOneFolder:
    def test_two_files_are_kept_and_nothing_else_is_left(self, start: Start, tmp_path: Path) -> None:
        run = start()
        (tmp_path / ".00001-1.tmp").write_bytes(b"of a process that was killed")
        epochs = []
        for metrics in run.epochs():
            epochs.append(metrics)
            save_checkpoint(tmp_path, run, attempt=2, epochs=epochs, facts={})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["00002-2.safetensors", "00003-2.safetensors"]

    def test_an_attempt_that_was_given_up_harms_no_later_one(self, start: Start, tmp_path: Path) -> None:
        """It may go on for a while where a node is cut off: it is further, and does not count any more."""
        cut_off, epochs = start(), []
        epochs.append(cut_off.train_epoch())
        save_checkpoint(tmp_path, cut_off, attempt=1, epochs=epochs, facts={})
        second = start()
        restored = load_checkpoint(tmp_path, second)
        others = [*restored.epochs, second.train_epoch()]
        save_checkpoint(tmp_path, second, attempt=2, epochs=others, facts={"attempt": 2})
        (tmp_path / ".00003-2.tmp").write_bytes(b"being written")
        for metrics in cut_off.epochs():
            epochs.append(metrics)
            save_checkpoint(tmp_path, cut_off, attempt=1, epochs=epochs, facts={"attempt": 1})
        assert (tmp_path / "00002-2.safetensors").exists()
        assert (tmp_path / ".00003-2.tmp").exists()
        saved = read_checkpoint(tmp_path)
        assert saved is not None
        assert (saved.epoch, saved.attempt, saved.facts) == (2, 2, {"attempt": 2})
        third = start()
        assert load_checkpoint(tmp_path, third).facts == {"attempt": 2}
        assert third.epoch == 2

    def test_a_folder_that_cannot_be_written_is_an_oserror_and_nothing_is_lost(
        self, start: Start, tmp_path: Path
    ) -> None:
        run = start()
        first = run.train_epoch()
        save_checkpoint(tmp_path, run, attempt=1, epochs=[first], facts={})
        before = (tmp_path / "00001-1.safetensors").read_bytes()
        second = run.train_epoch()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        try:
            with pytest.raises(OSError) as caught:
                save_checkpoint(tmp_path, run, attempt=1, epochs=[first, second], facts={})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert [path.name for path in tmp_path.iterdir()] == ["00001-1.safetensors"]
        assert (tmp_path / "00001-1.safetensors").read_bytes() == before
        (tmp_path / "file").touch()
        with pytest.raises(OSError):
            save_checkpoint(tmp_path / "file", run, attempt=1, epochs=[first, second], facts={})

    def test_no_folder_is_no_checkpoint(self, start: Start, tmp_path: Path) -> None:
        assert load_checkpoint(tmp_path / "nowhere", start()) == Restored()
        assert read_checkpoint(tmp_path / "nowhere") is None


class TestAnotherRun:
    def saved(self, run: Finetuner, folder: Path) -> None:
        save_checkpoint(folder, run, attempt=1, epochs=[run.train_epoch()], facts={})

    def test_of_other_frozen_blocks(self, start: Start, tmp_path: Path) -> None:
        self.saved(start(freeze_depth=2), tmp_path)
        with pytest.raises(FrozenMoved, match="3 frozen blocks of timm/test_resnet@random differ"):
            load_checkpoint(tmp_path, start(freeze_depth=3))

    def test_of_another_configuration(self, start: Start, tmp_path: Path) -> None:
        self.saved(start(), tmp_path)
        with pytest.raises(InvalidConfig, match="seed 0 and not 3; name another folder"):
            load_checkpoint(tmp_path, start(seed=3))

    def test_of_other_samples(self, start: Start, tmp_path: Path, images: Task) -> None:
        self.saved(start(), tmp_path)
        with pytest.raises(InvalidConfig, match="the same samples, got other splits or labels"):
            load_checkpoint(tmp_path, start(task=images.reduced(0.5)))


def test_a_finished_run_can_still_be_measured_and_evaluated(start: Start, tmp_path: Path) -> None:
    """A worker that was killed while it evaluated."""
    options = {"learning_rate": 0.5, "head_learning_rate": 0.5, "seed": 1}
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
