"""Datasets of torchvision, from files in each one's own format and without a network."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import socket
import tarfile
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from trainables.config import TaskSpec
from trainables.data.source import Source, open_source
from trainables.data.sources.torchvision import torchvision_names
from trainables.errors import DataError, UnknownName


def opened(name: str, **fields: Any) -> Source:
    return open_source(TaskSpec(name="t", data=f"torchvision/{name}", **fields))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHVISION_DATA", str(tmp_path))
    return tmp_path


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """30 training and 20 test images; gives the former."""
    folder, rng = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir()
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    images = []
    for name, count, where in (
        ("data_batch_1", 10, "train_list"), ("data_batch_2", 20, "train_list"), ("test_batch", 20, "test_list")
    ):  # fmt: skip
        data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [i % 10 for i in range(count)]}))
        lists[where].append([name, md5(folder / name)])
        if where == "train_list":
            images.append(data)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"kind {i}" for i in range(10)]}))
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    for name, value in {**lists, "meta": meta}.items():
        monkeypatch.setattr(torchvision.datasets.CIFAR10, name, value)
    return np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def test_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_cifar10(root, monkeypatch)
    source = opened("CIFAR10")
    assert source.given_split is not None
    assert np.bincount(source.given_split).tolist() == [30, 0, 20]
    assert source.class_names[3] == "kind 3"
    assert source.targets[[0, 13, 30]].tolist() == [0, 3, 0]
    assert source.names[30] == "CIFAR10 test[0]"
    assert source.framed
    assert (np.asarray(source.load(12)) == images[12]).all()


def test_an_archive_that_lies_there_is_unpacked_without_a_network(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(root, monkeypatch)
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(archive))
    for path in (root / "cifar-10-batches-py").iterdir():
        path.unlink()
    assert len(opened("CIFAR10").names) == 50


@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "as Debian packs it"])
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_idx_files(root: Path, name: str, packed: bool) -> None:
    raw, rng = root / name / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    images = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images[part] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for file, array in (("images-idx3", images[part]), ("labels-idx1", np.arange(count) % 10)):
            if packed:
                (raw / f"{part}-{file}-ubyte.gz").write_bytes(gzip.compress(idx(array), mtime=0))
            else:
                (raw / f"{part}-{file}-ubyte").write_bytes(idx(array))
    source = opened(name)
    assert len(source.names) == 50
    assert len(source.class_names) == 10
    assert (np.asarray(source.load(31)) == images["t10k"][1][..., None]).all()
    assert source.load(31).mode == "RGB"


def test_a_damaged_archive_is_named(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10_000))[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be unpacked"):
        opened("MNIST")
    assert [path.name for path in raw.iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_a_set_of_three_splits(root: Path) -> None:
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for kind in ("banded", "woven"):
        (base / "images" / kind).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(base / "images" / kind / f"{i}.jpg")
    for i, part in enumerate(("train", "val", "test")):
        lines = [f"{kind}/{j}.jpg" for kind in ("banded", "woven") for j in (2 * i, 2 * i + 1)]
        (base / "labels" / f"{part}1.txt").write_text("\n".join(lines))
    source = opened("DTD")
    assert source.given_split is not None
    assert np.bincount(source.given_split).tolist() == [4, 4, 4]
    assert source.class_names == ("banded", "woven")
    assert abs(np.asarray(source.load(9)).astype(int)[..., 0] - 200).max() < 10
    (base / "images" / "banded" / "0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot identify"):
        source.load(0)


def test_a_set_without_splits(root: Path) -> None:
    for kind in ("Forest", "River"):
        folder = root / "eurosat" / "2750" / kind
        folder.mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8)).save(folder / f"{i}.jpg")
    source = opened("EuroSAT")
    assert source.given_split is None
    assert source.targets.tolist() == [0, 0, 0, 1, 1, 1]


def test_what_is_missing_says_at_once_where_it_belongs(root: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        opened("CIFAR10")
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert f"torchvision/CIFAR10 (train) is not in {root}" in message
    assert "cannot be fetched from www.cs.toronto.edu" in message
    assert "set TORCHVISION_DATA to the folder that has them" in message
    assert socket.getdefaulttimeout() is None


def test_one_that_torchvision_cannot_fetch_any_more(root: Path) -> None:
    with pytest.raises(DataError, match=r"StanfordCars .* has to be fetched by hand"):
        opened("StanfordCars")


@pytest.mark.parametrize("name", torchvision_names())
def test_torchvision_knows_every_name(name: str) -> None:
    assert hasattr(torchvision.datasets, name)


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownName, match="no classification dataset 'cifar10'; did you mean 'CIFAR10'"):
        opened("cifar10")


def test_what_published_sets_are_not() -> None:
    with pytest.raises(DataError, match="is a classification of images, got kind regression"):
        opened("CIFAR10", kind="regression")
    with pytest.raises(DataError, match="test_data cannot join torchvision/CIFAR10"):
        opened("CIFAR10", test_data="x")
