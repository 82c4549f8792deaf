"""Python and packages: are they what is asked for, and what is tested?"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from orchestrator.doctor.finding import Finding, broken, ok, skipped, warning
from orchestrator.doctor.pins import declared, installed, pins_file, tested_versions
from orchestrator.doctor.subject import Subject

__all__ = ["extras", "packages", "python", "tested"]

_SHOWN: Final = 4
_EXTRAS: Final = {
    "quickstart": "weights of the shipped sweep",
    "text": "data sets of the Hugging Face hub",
    "audio": "sounds",
    "explain": "explanations",
    "stats": "distribution-free bands",
    "cluster": "ray up, Ray's dashboard and jobs",
}
"""What each is for. `dev` is for who works on this package."""


def python(subject: Subject) -> Iterator[Finding]:
    """The interpreter's version."""
    version, wanted = platform.python_version(), declared().python
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield ok("python", version)
    else:
        yield broken(
            "python",
            f"Python must be {wanted}, got {version}",
            "make a virtual environment with another Python: python3.11 -m venv .venv",
        )


def packages(subject: Subject) -> Iterator[Finding]:
    """Whether every required package is there, in the range that is asked for."""
    required = declared().required
    wrong = list(_wrong(required))
    if wrong:
        yield broken("packages", "; ".join(text for _, text in wrong), pip_install(name for name, _ in wrong))
    else:
        yield ok("packages", f"{len(required)} required, all in their ranges")


def _wrong(requirements: Iterable[Requirement]) -> Iterator[tuple[str, str]]:
    """Name, and what is wrong with it."""
    for requirement in requirements:
        version = installed(requirement.name)
        if version is None:
            yield requirement.name, f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield requirement.name, f"{requirement.name} must be {requirement.specifier}, got {version}"


def tested(subject: Subject) -> Iterator[Finding]:
    """Whether what is installed is what this project is tested with."""
    pins = tested_versions()
    others = {
        name: f"{name} {version} (tested: {pin})"
        for name, pin in pins.items()
        if (version := installed(name)) is not None and version.public != pin.public
    }
    if not others:
        yield ok("versions", "all as tested")
        return
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    direct = [name for name in map(canonicalize_name, (r.name for r in declared().required)) if name in others]
    shown = [others[name] for name in dict.fromkeys([*direct, *others])]
    yield warning("versions", f"not as tested: {', '.join(shown[:_SHOWN])}{more}", pip_install(others))


def pip_install(names: Iterable[str]) -> str:
    """The line that brings these packages to the versions that are tested."""
    wanted = {canonicalize_name(name) for name in names}
    known = tested_versions()
    ranges = {
        canonicalize_name(r.name): str(r)
        for group in (declared().required, *declared().extras.values())
        for r in group
        if r.marker is None and r.name != "orchestrator"
    }
    words = [name if name in known else ranges.get(name, name) for name in sorted(wanted)]
    return f"pip install -c {shlex.quote(str(pins_file()))} {' '.join(map(shlex.quote, words))}"


def extras(subject: Subject) -> Iterator[Finding]:
    """Which optional parts are here, and which of them the sweep needs."""
    needed = _needed(subject)
    for name, purpose in _EXTRAS.items():
        wrong = list(_wrong(declared().extras[name]))
        if not wrong:
            yield ok(f"extra {name}", f"installed: {purpose}")
            continue
        detail = f"{'; '.join(text for _, text in wrong)}: {purpose}"
        fix = pip_install(name for name, _ in wrong)
        if name in needed:
            yield broken(f"extra {name}", f"{detail}, which this sweep asks for", fix)
        else:
            yield skipped(f"extra {name}", detail, fix)


def _needed(subject: Subject) -> set[str]:
    sweep = subject.sweep
    if sweep is None:
        return set()
    places = [place for task in sweep.tasks for place in (task.data, task.val_data, task.test_data) if place]
    wanted = {
        "text": any(place.startswith("hf/") for place in places),
        "audio": any(task.modality == "audio" for task in sweep.tasks),
        "explain": sweep.evaluation is not None and sweep.evaluation.num_explained > 0,
    }
    return {name for name, is_wanted in wanted.items() if is_wanted}
