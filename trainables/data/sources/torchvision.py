"""The classification datasets of torchvision by name, with the splits they were published with."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.sources.contract import PARTS, Source
from trainables.data.sources.reading import to_rgb
from trainables.errors import DataError, UnknownName, WeightsUnavailable, did_you_mean

__all__ = ["open_torchvision", "torchvision_names"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    """How torchvision's class is called for each split."""

    host: str
    """Where it is downloaded from."""

    parts: Mapping[int, Mapping[str, Any]]
    """Arguments by the number of the split: 0 train, 1 val, 2 test."""

    framed: bool = False
    always: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of every split."""


_FLAG: Final = {0: {"train": True}, 2: {"train": False}}
_TRAIN_TEST: Final = {0: {"split": "train"}, 2: {"split": "test"}}
_ALL_THREE: Final = {0: {"split": "train"}, 1: {"split": "val"}, 2: {"split": "test"}}
_WHOLE: Final[dict[int, dict[str, Any]]] = {0: {}}
_DRIVE: Final = "drive.google.com"

_SETS: Final = {
    "CIFAR10": _Published(host="www.cs.toronto.edu", parts=_FLAG, framed=True),
    "CIFAR100": _Published(host="www.cs.toronto.edu", parts=_FLAG, framed=True),
    "Caltech101": _Published(host=_DRIVE, parts=_WHOLE),
    "Caltech256": _Published(host=_DRIVE, parts=_WHOLE),
    "Country211": _Published(
        host="openaipublic.azureedge.net",
        parts={0: {"split": "train"}, 1: {"split": "valid"}, 2: {"split": "test"}},
    ),
    "DTD": _Published(host="www.robots.ox.ac.uk", parts=_ALL_THREE, always={"partition": 1}),
    "EMNIST": _Published(host="biometrics.nist.gov", parts=_FLAG, framed=True, always={"split": "balanced"}),
    "EuroSAT": _Published(host="huggingface.co", parts=_WHOLE, framed=True),
    "FGVCAircraft": _Published(host="www.robots.ox.ac.uk", parts=_ALL_THREE),
    "FashionMNIST": _Published(host="fashion-mnist.s3-website.eu-central-1.amazonaws.com", parts=_FLAG, framed=True),
    "Flowers102": _Published(host="thor.robots.ox.ac.uk", parts=_ALL_THREE),
    "Food101": _Published(host="data.vision.ee.ethz.ch", parts=_TRAIN_TEST),
    "GTSRB": _Published(host="sid.erda.dk", parts=_TRAIN_TEST, framed=True),
    "Imagenette": _Published(host="s3.amazonaws.com", parts={0: {"split": "train"}, 2: {"split": "val"}}),
    "KMNIST": _Published(host="codh.rois.ac.jp", parts=_FLAG, framed=True),
    "MNIST": _Published(host="ossci-datasets.s3.amazonaws.com", parts=_FLAG, framed=True),
    "OxfordIIITPet": _Published(host="thor.robots.ox.ac.uk", parts={0: {"split": "trainval"}, 2: {"split": "test"}}),
    "PCAM": _Published(host=_DRIVE, parts=_ALL_THREE, framed=True),
    "RenderedSST2": _Published(host="openaipublic.azureedge.net", parts=_ALL_THREE, framed=True),
    "STL10": _Published(host="ai.stanford.edu", parts=_TRAIN_TEST, framed=True),
    "SUN397": _Published(host="vision.princeton.edu", parts=_WHOLE),
    "SVHN": _Published(host="ufldl.stanford.edu", parts=_TRAIN_TEST, framed=True),
    "StanfordCars": _Published(host="", parts=_TRAIN_TEST),
    "USPS": _Published(host="www.csie.ntu.edu.tw", parts=_FLAG, framed=True),
}
"""Imagenette was published with train and val only: its val measures, and validation comes out of train."""


def torchvision_names() -> tuple[str, ...]:
    """Names that ``torchvision/<name>`` takes."""
    return tuple(_SETS)


def open_torchvision(name: str, root: Path) -> Source:
    """One dataset, downloaded into `root` unless it lies there.

    Raises:
        UnknownName: no dataset has that name.
        DataError: it is neither there nor to be downloaded, or not as it was published.
    """
    if name not in _SETS:
        by_case = {known.lower(): known for known in _SETS}
        hint = did_you_mean(by_case.get(name.lower(), name), _SETS)
        raise UnknownName(f"torchvision has no classification dataset {name!r}{hint}; there are {', '.join(_SETS)}")
    published = _SETS[name]
    parts = {part: _build(name, published, part, root) for part in published.parts}
    labels = {part: _labels(dataset) for part, dataset in parts.items()}
    datasets, ends = list(parts.values()), list(accumulate(len(found) for found in labels.values()))
    targets = np.concatenate(list(labels.values()))

    def load(index: int) -> Image.Image:
        at = bisect_right(ends, index)
        try:
            return to_rgb(datasets[at][index - (ends[at - 1] if at else 0)][0])
        except Exception as error:  # decoders raise what they like on damaged files
            raise ValueError(str(error)) from error

    return Source(
        modality="image",
        key=hashlib.sha256(f"{name}\0{root.resolve()}\0".encode() + targets.tobytes()).hexdigest()[:16],
        names=tuple(f"{name} {PARTS[part]}[{i}]" for part, found in labels.items() for i in range(len(found))),
        targets=targets,
        class_names=_class_names(datasets[0], targets),
        given_split=np.repeat(list(parts), [len(found) for found in labels.values()]).astype(np.int64)
        if len(parts) > 1
        else None,
        load=load,
        framed=published.framed,
    )


def _build(name: str, published: _Published, part: int, root: Path) -> Any:
    """The dataset of one split: from what lies in `root`, else downloaded into it."""
    import torchvision.datasets

    arguments = {"root": str(root), **published.always, **published.parts[part]}
    build = getattr(torchvision.datasets, name)
    _unpack_idx(root / name / "raw")
    try:
        return build(**arguments, download=False)
    except Exception as absent:  # each class has its own way to say that files are missing
        reason = str(absent).splitlines()[0] if str(absent) else type(absent).__name__
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _quick_where_out_of_reach(published.host):
            return build(**arguments, download=True)
    except Exception as error:
        where = f"cannot be fetched from {published.host} ({error})" if published.host else "has to be fetched by hand"
        raise DataError(
            f"torchvision/{name} ({PARTS[part]}) is not in {root} ({reason}) and {where}; bring the files or archives "
            f"of {name} there as torchvision.datasets.{name} lays them out, or set TORCHVISION_DATA to the folder "
            "that has them"
        ) from error


@contextmanager
def _quick_where_out_of_reach(host: str) -> Iterator[None]:
    """Give up on each connection after 3 s where `host` cannot be reached.

    The download is tried all the same: it unpacks archives that lie there already, and only then asks.
    """
    from trainables.network import require_network

    before = socket.getdefaulttimeout()
    try:
        if host:
            require_network(f"https://{host}", "")
    except WeightsUnavailable:
        socket.setdefaulttimeout(3.0)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unpack_idx(raw: Path) -> None:
    """Unpack the files of MNIST and its like that lie there as ``.gz``, as Debian's packages have them:
    torchvision knows one published compression of each only."""
    if not raw.is_dir():
        return
    for packed in sorted(raw.glob("*-ubyte.gz")):
        target = packed.with_suffix("")
        if target.exists():
            continue
        temporary = target.with_suffix(f".{os.getpid()}")
        try:
            with gzip.open(packed) as source, temporary.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            os.replace(temporary, target)
        except (OSError, EOFError) as error:
            raise DataError(f"{packed} cannot be unpacked: {error}; fetch it again") from error
        finally:
            temporary.unlink(missing_ok=True)


def _labels(dataset: Any) -> npt.NDArray[np.int64]:
    """Class numbers without decoding an image; each class of torchvision keeps them elsewhere."""
    for name in ("targets", "labels", "_labels", "y"):
        found = getattr(dataset, name, None)
        if found is not None:
            return np.asarray(found, dtype=np.int64)
    if hasattr(dataset, "_samples"):
        return np.array([label for _, label in dataset._samples], dtype=np.int64)
    targets_file = dataset._base_folder / dataset._FILES[dataset._split]["targets"][0]
    with dataset.h5py.File(targets_file) as file:
        return np.asarray(file["y"][:, 0, 0, 0], dtype=np.int64)


def _class_names(dataset: Any, targets: npt.NDArray[np.int64]) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    count = int(targets.max()) + 1
    if names is None or len(names) < count:
        return tuple(str(number) for number in range(count))
    return tuple(str(name) for name in names)
