"""Python and packages: what is asked for, what is tested, what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from looking import Only
from packaging.requirements import Requirement
from packaging.version import Version

from orchestrator.doctor import Subject, pins, versions
from orchestrator.doctor.pins import Declared, declared, pins_file
from orchestrator.errors import EnvironmentUnusable
from orchestrator.requirements import require_versions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that asks for what nobody has."""
    lacking = Declared(
        python=">=3.11",
        required=(Requirement("ray>=99"), Requirement("no-such-package>=2"), Requirement("numpy")),
        extras={name: (Requirement("no-such-package>=2"),) for name in versions._EXTRAS},
    )
    monkeypatch.setattr(versions, "declared", lambda: lacking)


def test_the_pins_that_come_with_the_package_are_the_constraints(repository: Path) -> None:
    assert pins_file().read_bytes() == (repository / "constraints.txt").read_bytes()
    assert len(pins.tested_versions()) == len(
        [line for line in (repository / "constraints.txt").read_text().splitlines() if "==" in line]
    )


def test_another_python(monkeypatch: pytest.MonkeyPatch, only: Only) -> None:
    assert only(versions.python).status == "ok"
    monkeypatch.setattr("platform.python_version", lambda: "3.10.14")
    finding = only(versions.python)
    assert (finding.status, finding.detail) == ("broken", "Python must be >=3.11, got 3.10.14")
    assert "python3.11 -m venv" in finding.fix


def test_packages_outside_their_ranges_or_missing(asked: None, only: Only) -> None:
    finding = only(versions.packages)
    assert finding.status == "broken"
    assert finding.detail.startswith("ray must be >=99, got 2.")
    assert finding.detail.endswith("; no-such-package is not installed")
    assert finding.fix == f"pip install -c {pins_file()} 'no-such-package>=2' ray"


def test_a_sweep_refuses_them_in_one_line(asked: None) -> None:
    with pytest.raises(EnvironmentUnusable, match=r"ray must be >=99, got .*: pip install -c \S+ .*ray$") as caught:
        require_versions()
    assert "\n" not in str(caught.value)


def test_versions_that_are_not_tested(monkeypatch: pytest.MonkeyPatch, only: Only) -> None:
    others = {"numpy": Version("1.0"), "ray": Version("1.0"), "no-such-package": Version("1.0")}
    monkeypatch.setattr(versions, "tested_versions", lambda: others)
    finding = only(versions.tested)
    assert finding.status == "warning"
    assert finding.detail.startswith("not as tested: ray 2.")
    assert "numpy" in finding.detail
    assert "no-such-package" not in finding.detail
    assert finding.fix == f"pip install -c {pins_file()} numpy ray"


def test_extras_that_this_sweep_asks_for(asked: None) -> None:
    found = {f.name: f for f in versions.extras(Subject(file="quickstart", overrides=("tasks.0.data=hf/imdb",)))}
    assert found["extra text"].status == "broken"
    assert "which this sweep asks for" in found["extra text"].detail
    assert found["extra text"].fix.endswith("'no-such-package>=2'")
    assert {f.status for name, f in found.items() if name != "extra text"} == {"skipped"}
    assert all(f.fix for f in found.values())


def test_what_is_installed_says_the_same_as_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ``pyproject.toml`` beside it, as from a wheel."""
    checkout = declared()
    lines = [f"Requires-Dist: {r}" for r in checkout.required]
    for name, group in checkout.extras.items():
        lines += [f"Provides-Extra: {name}", *(f'Requires-Dist: {r}; extra == "{name}"' for r in group)]
    folder = tmp_path / "orchestrator-0.1.0.dist-info"
    folder.mkdir()
    about = ["Metadata-Version: 2.4", "Name: orchestrator", "Version: 0.1.0", "Requires-Python: >=3.11", *lines]
    (folder / "METADATA").write_text("\n".join(about) + "\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(pins, "_ROOT", tmp_path)
    installed = pins.declared.__wrapped__()
    assert (installed.python, installed.required) == (">=3.11", checkout.required)
    for name, group in checkout.extras.items():
        assert [r.name for r in installed.extras[name]] == [r.name for r in group]
        assert [r.specifier for r in installed.extras[name]] == [r.specifier for r in group]
