"""Samples that cannot be read stop the run, all named, or are left out, counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stored_images import encoded, in_memory, load, pixels, refuse_to_open, stored

from trainables.config import TaskSpec
from trainables.data.encode import encode
from trainables.errors import DataError
from trainables.preprocessing import ImagePreprocessing


class TestUnreadable:
    @pytest.fixture
    def damaged(self, image_folder: Path) -> Path:
        for name in ("train/red/1.png", "train/green/2.png", "train/blue/3.png", "test/blue/0.png"):
            (image_folder / name).write_bytes(b"x")
        return image_folder

    def test_stop_names_all_and_says_how_to_go_on(
        self, damaged: Path, cache: Path, preprocessing: ImagePreprocessing
    ) -> None:
        with pytest.raises(DataError) as caught:
            encoded(damaged, preprocessing)
        message = str(caught.value)
        assert message.startswith("4 of 42 images cannot be read; on_bad_sample: skip leaves them out:\n")
        assert "train/green/2.png: " in message

    def test_skip_leaves_them_out_and_counts_them(
        self, damaged: Path, cache: Path, preprocessing: ImagePreprocessing
    ) -> None:
        what = encoded(damaged, preprocessing, on_bad_sample="skip")
        assert np.flatnonzero(~what.usable).tolist() == [row for row, _ in what.unreadable]
        assert (what.fingerprints[~what.usable] == 0).all()
        task = load(damaged, preprocessing, on_bad_sample="skip")
        assert "4 of 42 images cannot be read and are left out: " in task.notes[0]
        assert task.notes[0].endswith(", ...")
        rows = torch.cat([task.train.rows, task.val.rows, task.test.rows])
        assert sorted(rows.tolist()) == np.flatnonzero(what.usable).tolist()

    def test_changing_ones_mind_decodes_nothing_again(
        self, damaged: Path, cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(DataError, match="4 of 42"):
            encoded(damaged, preprocessing)
        monkeypatch.setattr(Image, "open", refuse_to_open)
        assert encoded(damaged, preprocessing, on_bad_sample="skip").usable.sum() == 38
        assert len(stored(cache)) == 1

    def test_stop_looks_again_at_those_that_could_not_be_read(
        self, cache: Path, preprocessing: ImagePreprocessing
    ) -> None:
        fault, calls = [True], []

        def load_one(row: int) -> Image.Image:
            calls.append(row)
            if fault[0] and row == 1:
                raise ValueError("the server is away")
            return Image.new("RGB", (16, 16), (row, 0, 0))

        source = in_memory(load_one, 3)
        spec = TaskSpec(name="t")
        for _ in range(2):
            with pytest.raises(DataError, match=r"1: the server is away"):
                encode(source, spec, preprocessing)
        assert sorted(calls) == [0, 1, 1, 2]
        fault[0] = False
        assert pixels(encode(source, spec, preprocessing))[:, 0, 0, 0].tolist() == [0, 1, 2]

    def test_none_left_is_an_error_even_when_skipping(self, cache: Path, preprocessing: ImagePreprocessing) -> None:
        def load_one(row: int) -> Image.Image:
            raise ValueError("no")

        with pytest.raises(DataError, match="3 of 3 images cannot be read:"):
            encode(in_memory(load_one, 3), TaskSpec(name="t", on_bad_sample="skip"), preprocessing)
