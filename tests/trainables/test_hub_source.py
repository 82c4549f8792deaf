"""Datasets of the hub's library: saved ones, folders, and what is said where the hub is out of reach."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from trainables.config import TaskSpec
from trainables.data.source import Source, open_source
from trainables.errors import DataError, MissingExtra

datasets = pytest.importorskip("datasets")


def opened(data: str, **fields: Any) -> Source:
    return open_source(TaskSpec(name="t", data=data, **fields))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def reviews(labels: list[int], text: str = "t") -> Any:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos", "never"])}
    )
    return datasets.Dataset.from_dict(
        {"text": [f"{text}{i}" for i in range(len(labels))], "label": labels}, features=features
    )


@pytest.mark.parametrize("data", ["hf/./saved", "saved"])
def test_a_saved_dataset(data: str) -> None:
    splits = {"train": reviews([0, 1] * 5), "validation": reviews([1, 0], "v"), "test": reviews([-1] * 3, "u")}
    datasets.DatasetDict({**splits, "unsupervised": reviews([-1] * 4)}).save_to_disk("saved")
    source = opened(data)
    assert source.given_split is not None
    assert source.given_split.tolist() == [0] * 10 + [1] * 2
    assert source.class_names == ("neg", "pos")
    assert source.load(10) == "v0"
    assert source.targets[10] == 1
    assert source.names[10] == "hf/./saved validation, row 1"
    assert source.notes == (
        "split 'unsupervised' of hf/./saved (4 rows) is not used",
        "hf/./saved test has no labels: its 3 rows are left aside",
        "1 of 3 classes have no sample and are left out: never",
    )


def test_rows_that_were_chosen_before_it_was_saved() -> None:
    reviews([0, 1] * 5).select([7, 2]).save_to_disk("saved")
    source = opened("hf/./saved")
    assert [source.load(i) for i in range(2)] == ["t7", "t2"]
    assert source.given_split is None


def test_a_folder_of_parquet() -> None:
    Path("folder").mkdir()
    reviews([0, 1] * 5).to_parquet("folder/train.parquet")
    reviews([1, 0]).to_parquet("folder/test.parquet")
    through_library, by_ourselves = opened("hf/./folder"), opened("folder")
    for source in (through_library, by_ourselves):
        assert source.class_names == ("neg", "pos")
        assert source.targets.tolist() == [0, 1] * 5 + [1, 0]
        assert source.given_split is not None
        assert source.given_split.tolist() == [0] * 10 + [2] * 2


def test_images_are_read_here_not_there() -> None:
    contents = []
    for shade in (0, 90, 200):
        file = io.BytesIO()
        Image.new("RGB", (5, 4), (shade, 0, 0)).save(file, "PNG")
        contents.append({"bytes": file.getvalue(), "path": None})
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"picture": [*contents, {"bytes": b"broken", "path": None}], "label": [0, 1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk("saved")
    source = opened("hf/./saved")
    assert (source.modality, source.input_columns) == ("image", ("picture",))
    assert np.asarray(source.load(2)).max() == 200
    with pytest.raises(ValueError, match="cannot identify"):
        source.load(3)


def test_sounds_are_read_here_not_there() -> None:
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.full((80, 2), 0.5, dtype=np.float32), 8000, format="WAV", subtype="FLOAT")
    features = datasets.Features({"audio": datasets.Audio(), "genre": datasets.ClassLabel(names=["a", "b"])})
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = pa.table({"audio": pa.array([{"bytes": file.getvalue()}] * 2, type=kind), "genre": [0, 1]})
    datasets.Dataset(rows.replace_schema_metadata(features.arrow_schema.metadata)).save_to_disk("saved")
    source = opened("hf/./saved")
    assert source.modality == "audio"
    waveform, rate = source.load(1)
    assert (waveform.tolist(), rate) == ([0.5] * 80, 8000)


def test_lists_of_classes() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c"]))}
    )
    rows = {"text": ["x", "y", "z"], "labels": [[0], [0, 2], []]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk("saved")
    source = opened("hf/./saved", kind="multilabel")
    assert source.class_names == ("a", "c")
    assert source.targets.tolist() == [[1, 0], [1, 1], [0, 0]]


def test_test_samples_from_another_dataset() -> None:
    reviews([0, 1] * 5).save_to_disk("one")
    reviews([1, 0], "u").save_to_disk("two")
    source = opened("hf/./one", test_data="hf/./two")
    assert source.given_split is not None
    assert source.given_split.tolist() == [0] * 10 + [2] * 2
    assert source.load(10) == "u0"


def test_a_dataset_out_of_reach_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"dataset 'nobody/nothing' is not in the cache .* \(HF_HUB_OFFLINE is set\)"):
        opened("hf/nobody/nothing@plain")
    assert time.monotonic() - start < 5
    assert constants.HF_HUB_OFFLINE


def test_no_such_folder() -> None:
    with pytest.raises(DataError, match="no such folder"):
        opened("hf/./nowhere")
    Path("empty").mkdir()
    with pytest.raises(DataError, match="neither a dataset saved by save_to_disk nor a folder that datasets can load"):
        opened("hf/./empty")


def test_only_held_out_splits() -> None:
    datasets.DatasetDict({"test": reviews([0, 1])}).save_to_disk("saved")
    with pytest.raises(DataError, match="has no train split; it has 'test'"):
        opened("hf/./saved")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'pip install "orchestrator\[text\]"'):
        opened("hf/imdb")
