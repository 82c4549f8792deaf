"""The file itself: what safetensors reads, what a driver reads without torch, and that no damage goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from trainables.checkpoint_file import (
    CheckpointFile,
    DamagedCheckpoint,
    Entry,
    checkpoint_bytes,
    checkpoint_files,
    read_checkpoint,
    read_values,
    write_checkpoint,
)
from trainables.config import EpochMetrics

METRICS = EpochMetrics(
    epoch=1,
    step=2,
    train_loss=0.1 + 0.2,
    val_loss=1 / 3,
    val_accuracy=None,
    val_f1_macro=None,
    val_r2=-0.5,
    val_mae=2.0,
    val_score=-0.5,
    train_s=1.0,
    eval_s=0.25,
    is_best=True,
)
VALUES: dict[str, Any] = {"epochs": [asdict(METRICS)], "facts": {"node": "näher", "duration_s": 1.25, "more": [None]}}
TENSORS = {
    "b": torch.arange(6, dtype=torch.int64),
    "a.w": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)),
}
ENTRIES = {"b": Entry("I64", (6,), 48), "a.w": Entry("F32", (3, 2), 24)}


def write(folder: Path, epoch: int = 1, attempt: int = 1, **values: Any) -> Path:
    contents = (tensor.numpy().data.cast("B") for tensor in TENSORS.values())
    write_checkpoint(folder, {**VALUES, **values}, ENTRIES, contents, epoch=epoch, attempt=attempt)
    return folder / f"{epoch:05d}-{attempt}.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"))


def test_safetensors_reads_it(whole: Path) -> None:
    loaded = load_file(whole)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())


def test_what_is_not_a_tensor_comes_back_as_it_was(whole: Path) -> None:
    saved = read_checkpoint(whole.parent)
    assert saved is not None
    assert (saved.epoch, saved.attempt) == (1, 1)
    assert saved.epochs == (METRICS,)
    assert saved.facts == VALUES["facts"]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_cut_and_no_flipped_bit_goes_unnoticed(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[position:]
    damaged = whole.with_name("damaged")
    damaged.write_bytes(content)
    with pytest.raises(DamagedCheckpoint):
        read_values(damaged)


def test_a_tail_that_does_not_belong_to_it_is_noticed(whole: Path) -> None:
    damaged = whole.with_name("damaged")
    damaged.write_bytes(whole.read_bytes() + b"\0")
    with pytest.raises(DamagedCheckpoint):
        read_values(damaged)


def test_another_format_is_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.checkpoint_file.FORMAT", 2)
    file = write(tmp_path)
    monkeypatch.undo()
    with pytest.raises(DamagedCheckpoint, match="its format is 2 and not 1"):
        read_values(file)
    assert read_checkpoint(tmp_path) is None


def test_the_newest_is_of_the_latest_attempt_and_other_files_are_none(tmp_path: Path) -> None:
    files = [write(tmp_path, epoch, attempt) for epoch, attempt in ((9, 1), (10, 1), (100000, 2))]
    write(tmp_path, 3, 10)
    for name in ("notes.txt", "00001-0.safetensors", "1-1.safetensors", ".00004-10.tmp", "00001-1.safetensors.part"):
        (tmp_path / name).touch()
    assert checkpoint_files(tmp_path) == [CheckpointFile(10, 3, tmp_path / "00003-10.safetensors")]
    assert not any(file.exists() for file in files), "none of them is of an epoch before the third"


@pytest.mark.parametrize("values", [{"epochs": None}, {"epochs": [{"epoch": 1}]}, {"epochs": [{**VALUES, "new": 1}]}])
def test_a_text_that_says_something_else_is_no_checkpoint(values: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2, **values)
    saved = read_checkpoint(tmp_path)
    assert saved is not None
    assert saved.epoch == 1


def test_the_estimate_of_disk_is_for_three_files_of_weights_best_weights_and_moments() -> None:
    assert checkpoint_bytes(10**6, "adamw") == pytest.approx(3 * 4 * 4e6, rel=0.06)
    assert checkpoint_bytes(10**6, "sgd") == pytest.approx(3 * 3 * 4e6, rel=0.06)
    assert checkpoint_bytes(0, "adam") > 0


def test_a_driver_reads_it_without_torch(whole: Path) -> None:
    script = f"""
import json, sys
from dataclasses import asdict
from pathlib import Path
from trainables.checkpoint_file import checkpoint_bytes, read_checkpoint
from trainables.watchdog import Watchdog, timeout_reason
saved = read_checkpoint(Path({str(whole.parent)!r}))
print(json.dumps([asdict(saved), sorted({{"torch", "numpy", "safetensors"}} & sys.modules.keys())]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    saved, loaded = json.loads(done.stdout)
    assert saved["epochs"] == [asdict(METRICS)]
    assert loaded == []
