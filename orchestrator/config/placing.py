"""One rule for every relative path of a sweep file but `storage`: it is made absolute when the file is loaded.

Against the home folder where it begins with ``~``, else against the working folder of whoever loads it (not the
file's own folder). Workers have other working folders and other homes, and so may whoever goes on with the sweep.
`storage` is looked for by every command that takes ``--storage``, and stays as it was written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from trainables.catalog import is_checkpoint_path, lookup

__all__ = ["LOCAL_STARTS", "absolute_path", "placed_backbone", "placed_data", "placed_tracking_uri"]

LOCAL_STARTS: Final = (".", "/", "~")
"""How a folder begins where a name could stand as well."""

_SQLITE: Final = re.compile(r"(sqlite(?:\+\w+)?:///)([^/?][^?]*)(.*)", re.DOTALL)
_HF: Final = "hf/"


def absolute_path(path: str) -> str:
    """`path` from the root, with links and ``..`` as they are."""
    return str(Path(os.path.expanduser(path)).absolute())


def placed_backbone(name: str) -> str:
    """The name of a backbone with the paths in it absolute: of a checkpoint's file behind ``@``, and of a
    folder of transformers. Any other name stays as it was written.

    Raises:
        UnknownName: as `lookup`.
    """
    spec = lookup(name)
    if spec.source == "hf" and spec.architecture.startswith(LOCAL_STARTS):
        revision = "" if spec.weights is None else f"@{spec.weights}"
        return f"{_HF}{absolute_path(spec.architecture)}{revision}"
    if spec.source != "hf" and spec.weights is not None and is_checkpoint_path(spec.weights):
        return f"{spec.source}/{spec.architecture}@{absolute_path(spec.weights)}"
    return name


def placed_data(place: str) -> str:
    """A place of data, made absolute where it is a path."""
    if place == "digits" or place.startswith("torchvision/"):
        return place
    if not place.startswith(_HF):
        return absolute_path(place)
    folder = place.removeprefix(_HF)
    return f"{_HF}{absolute_path(folder)}" if folder.startswith(LOCAL_STARTS) else place


def placed_tracking_uri(uri: str) -> str:
    """An address of MLflow with the file of a SQLite database absolute: ``sqlite:///x.db`` is a relative one."""
    match = _SQLITE.fullmatch(uri)
    return uri if match is None else f"{match[1]}{absolute_path(match[2])}{match[3]}"
