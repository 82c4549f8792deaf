"""Whatever has become of the files, a run goes on from the best there is, and of its own only."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from checkpoint_scenes import images, start, untimed

from trainables.checkpoint import Restored, load_checkpoint, save_checkpoint
from trainables.checkpoint_file import checkpoint_files, read_checkpoint
from trainables.config import EpochMetrics
from trainables.errors import FrozenMoved, InvalidConfig
from trainables.finetune import Finetuner


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


@pytest.fixture(scope="module")
def whole() -> list[EpochMetrics]:
    """Of the run that nobody interrupted."""
    return untimed(start().epochs())


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of both."""
    folder, run, epochs = tmp_path_factory.mktemp("saved"), start(), []
    for _ in range(2):
        epochs.append(run.train_epoch())
        save_checkpoint(folder, run, attempt=1, epochs=epochs, facts={"seconds": 1.5})
    return folder


class TestDamage:
    @pytest.fixture
    def folder(self, two_epochs: Path, tmp_path: Path) -> Path:
        return shutil.copytree(two_epochs, tmp_path / "run")

    @pytest.mark.parametrize("harm", HARMS)
    def test_the_one_before_is_used(self, folder: Path, whole: list[EpochMetrics], harm: str) -> None:
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
        assert untimed([*restored.epochs, *resumed.epochs()]) == whole

    def test_where_none_is_whole_the_run_begins_anew(self, folder: Path, whole: list[EpochMetrics]) -> None:
        for file in checkpoint_files(folder):
            os.truncate(file.path, 5000)
        run = start()
        restored = load_checkpoint(folder, run)
        assert restored.epochs == ()
        (note,) = restored.notes
        assert note.count("is damaged") == 2
        assert note.endswith(": begins anew")
        assert read_checkpoint(folder) is None
        assert untimed(run.epochs()) == whole

    def test_the_damaged_one_does_not_take_the_place_of_a_good_one(self, folder: Path) -> None:
        os.truncate(folder / "00002-1.safetensors", 5000)
        run = start()
        epochs = [*load_checkpoint(folder, run).epochs, run.train_epoch()]
        save_checkpoint(folder, run, attempt=2, epochs=epochs, facts={})
        assert sorted(path.name for path in folder.iterdir()) == ["00001-1.safetensors", "00002-2.safetensors"]

    def test_tensors_of_another_shape_are_no_checkpoint_of_this_run(self, folder: Path) -> None:
        fewer = replace(images().objective, num_outputs=9)
        run = start(task=replace(images(), objective=fewer))
        restored = load_checkpoint(folder, run)
        assert restored.epochs == ()
        assert "must be torch.float32 of shape (9" in restored.notes[0]
        assert run.epoch == run.step == 0


class TestOneFolder:
    def test_two_files_are_kept_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        run = start()
        (tmp_path / ".00001-1.tmp").write_bytes(b"of a process that was killed")
        epochs = []
        for metrics in run.epochs():
            epochs.append(metrics)
            save_checkpoint(tmp_path, run, attempt=2, epochs=epochs, facts={})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["00002-2.safetensors", "00003-2.safetensors"]

    def test_an_attempt_that_was_given_up_harms_no_later_one(self, tmp_path: Path) -> None:
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

    def test_a_folder_that_cannot_be_written_is_an_oserror_and_nothing_is_lost(self, tmp_path: Path) -> None:
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

    def test_no_folder_is_no_checkpoint(self, tmp_path: Path) -> None:
        assert load_checkpoint(tmp_path / "nowhere", start()) == Restored()
        assert read_checkpoint(tmp_path / "nowhere") is None


class TestAnotherRun:
    def saved(self, run: Finetuner, folder: Path) -> None:
        save_checkpoint(folder, run, attempt=1, epochs=[run.train_epoch()], facts={})

    def test_of_other_frozen_blocks(self, tmp_path: Path) -> None:
        self.saved(start(freeze_depth=2), tmp_path)
        with pytest.raises(FrozenMoved, match="3 frozen blocks of timm/test_resnet@random differ"):
            load_checkpoint(tmp_path, start(freeze_depth=3))

    def test_of_another_configuration(self, tmp_path: Path) -> None:
        self.saved(start(), tmp_path)
        with pytest.raises(InvalidConfig, match="seed 0 and not 3; name another folder"):
            load_checkpoint(tmp_path, start(seed=3))

    def test_of_other_samples(self, tmp_path: Path) -> None:
        self.saved(start(), tmp_path)
        with pytest.raises(InvalidConfig, match="the same samples, got other splits or labels"):
            load_checkpoint(tmp_path, start(task=images().reduced(0.5)))
