"""What a sweep is told before it starts."""

from __future__ import annotations

import runpy
import sys
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import load_sweep
from orchestrator.errors import EnvironmentUnusable
from orchestrator.requirements import advice, require_versions


def test_the_versions_that_are_tested_are_taken() -> None:
    require_versions()


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"ray": "2.40.0"}, "ray must be <2.62,>=2.59, got 2.40.0: pip install -c "),
        ({"optuna": "4.9.0"}, "optuna must be <6,>=5.0, got 4.9.0: pip install -c "),
        ({"mlflow": None}, "mlflow is not installed: pip install -c "),
        ({"ray": "2.70.1", "torch": "1.0"}, "got 2.70.1; torch must be >=2.11, got 1.0: pip install -c "),
    ],
    ids=str,
)
def test_other_versions_are_one_line_with_the_command_to_run(
    installed: dict[str, str | None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        def __init__(self, version: str) -> None:
            self.version = version

    def of(name: str) -> object:
        if name not in installed:
            return distribution(name)
        version = installed[name]
        if version is None:
            raise PackageNotFoundError(name)
        return Other(version)

    monkeypatch.setattr("orchestrator.doctor.pins.distribution", of)
    with pytest.raises(EnvironmentUnusable) as caught:
        require_versions()
    message = str(caught.value)
    assert said in message
    assert message.endswith(" ".join(sorted(installed)))
    assert len(message.splitlines()) == 1
    assert caught.value.exit_code == 4


def test_another_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.10.14")
    with pytest.raises(EnvironmentUnusable, match=r"Python must be >=3\.11, got 3\.10\.14: "):
        require_versions()


def test_an_old_python_is_told_before_it_meets_code_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("orchestrator", run_name="__main__")
    assert caught.value.code == 4
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "Python must be at least 3.11, got 3.10.14" in err


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ("0.4", "2 trials fit on a GPU, which leaves 20% of it unused; 0.5 uses all of it"),
        ("0.6", "1 trial fits on a GPU, which leaves 40% of it unused; 1 uses all of it"),
        ("0.3", "3 trials fit on a GPU, which leaves 10% of it unused; 0.333 uses all of it"),
        ("0.5", ""),
        ("0.33", ""),
        ("0", ""),
        ("2", ""),
        ("auto", ""),
    ],
)
def test_fractions_that_waste_a_gpu(gpus: str, said: str) -> None:
    told = advice(load_sweep("quickstart", [f"resources.gpus_per_trial={gpus}"]))
    assert [said in sentence for sentence in told] == [True] * bool(said)


@given(gpus=st.floats(0.001, 0.999))
@settings(max_examples=50, deadline=None)
def test_what_is_advised_wastes_nothing(gpus: float) -> None:
    for sentence in advice(load_sweep("quickstart", [f"resources.gpus_per_trial={gpus}"])):
        better = sentence.removesuffix(" uses all of it").rpartition(" ")[2]
        assert float(better) >= gpus
        assert advice(load_sweep("quickstart", [f"resources.gpus_per_trial={better}"])) == ()
