"""``python -m orchestrator doctor``: exit codes, streams, JSON, and once for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Shell

from orchestrator import doctor
from orchestrator.cli import main
from orchestrator.doctor import Finding, Subject
from orchestrator.doctor.finding import broken, ok, skipped, warning

ALL = [ok("first", "works"), skipped("second one", "not asked for", "pip install x"), warning("third", "slow", "do y")]
BROKEN = broken("fourth", "gone", "do z")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the checks find; may be changed."""
    findings = list(ALL)
    monkeypatch.setattr(doctor, "diagnose", lambda subject: findings)
    return findings


def test_lines_and_exit_codes(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok      first       works",
        "-       second one  not asked for",
        "                    if wanted: pip install x",
        "warn    third       slow",
        "                    fix: do y",
        "0 broken, 1 to look at, 0 s",
    ]
    found.append(BROKEN)
    assert main(["doctor", "-q"]) == 4
    assert capsys.readouterr().out.splitlines() == [
        "warn    third       slow",
        "                    fix: do y",
        "broken  fourth      gone",
        "                    fix: do z",
    ]


def test_json(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(BROKEN)
    assert main(["doctor", "--json"]) == 4
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["usable"], err) == (False, "")
    assert document["findings"][-1] == {"name": "fourth", "status": "broken", "detail": "gone", "fix": "do z"}


def test_a_sweep_file_that_breaks_rules_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nbackbone: []\n")
    assert main(["doctor", str(tmp_path / "bad.yaml")]) == 2
    assert "backbones" in capsys.readouterr().err


def test_options_reach_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Subject] = []
    monkeypatch.setattr(doctor, "diagnose", lambda subject: asked.append(subject) or [ALL[0]])
    assert main(["doctor", "quickstart", "--storage", "/a b", "--address", "h:1", "--set", "seed=3", "--insecure"]) == 0
    [subject] = asked
    assert subject.config.storage == "/a b"
    assert subject.config.seed == 3
    assert (subject.address, subject.insecure) == ("h:1", True)


@pytest.mark.slow
def test_this_machine(new_shell: Callable[[str], Shell]) -> None:
    """All checks for real, Ray's start among them; nothing stays behind."""
    shell = new_shell("doctor")
    before = set(shell.folder.iterdir())
    done = shell.run("doctor", "quickstart", "--json", timeout_s=120)
    found = {finding["name"]: finding for finding in done.document["findings"]}
    assert {name: f["status"] for name, f in found.items() if f["status"] == "broken"} == {}
    assert (done.code, done.document["usable"]) == (0, True)
    for name in ("torch", "ray", "room", "storage", "tracking", "disk", "weights", "data digits"):
        assert found[name]["status"] in ("ok", "warning"), found[name]
    assert "a worker in" in found["ray"]["detail"]
    assert set(shell.folder.iterdir()) == before
    assert list(shell.ray_folder.iterdir()) == []
