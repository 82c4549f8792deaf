"""Which versions this package asks for, which it is tested with, and which are installed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

__all__ = ["Declared", "declared", "installed", "pins_file", "tested_versions"]

_NAME: Final = "orchestrator"
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What a package says of itself."""

    python: str
    """Specifier of Python versions."""

    required: tuple[Requirement, ...]
    extras: dict[str, tuple[Requirement, ...]]
    """Requirements by the name of the extra; one extra that stands for others names them with ``orchestrator[...]``."""


@cache
def declared() -> Declared:
    """What ``pyproject.toml`` says in a checkout, else what was installed.

    The metadata of a package installed with ``-e`` are those of the day it was installed; the file is today's.
    """
    file = _ROOT / "pyproject.toml"
    if file.is_file():
        project: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return Declared(
            python=project["requires-python"],
            required=tuple(map(Requirement, project["dependencies"])),
            extras={name: tuple(map(Requirement, lines)) for name, lines in project["optional-dependencies"].items()},
        )
    about = metadata(_NAME)
    lines = [Requirement(line) for line in about.get_all("Requires-Dist") or ()]
    of_extra = {name: tuple(r for r in lines if _only_with(r, name)) for name in about.get_all("Provides-Extra") or ()}
    plain = tuple(r for r in lines if r.marker is None or r.marker.evaluate({"extra": ""}))
    return Declared(python=about["Requires-Python"], required=plain, extras=of_extra)


def _only_with(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def installed(name: str) -> Version | None:
    """Version of a distribution; None where it is not installed."""
    try:
        return Version(distribution(name).version)
    except PackageNotFoundError:
        return None


def pins_file() -> Path:
    """The constraints this project is tested with. It comes with the package, for ``pip install -c``."""
    return Path(str(files("orchestrator.doctor") / "constraints.txt"))


@cache
def tested_versions() -> dict[str, Version]:
    """Version of every distribution in `pins_file`, by its canonical name."""
    lines = (line.partition("#")[0].strip() for line in pins_file().read_text(encoding="utf-8").splitlines())
    pins = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, _, version in pins}
