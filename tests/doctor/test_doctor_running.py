"""A check that crashes, dies or hangs is one broken line, and the others go on."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.doctor import CHECKS, Check, Finding, Subject
from orchestrator.doctor.finding import ok
from orchestrator.doctor.running import run_checks

TORCH = next(check for check in CHECKS if check.name == "torch")


def fine(subject: Subject) -> Iterator[Finding]:
    yield ok("fine", "it works")


def crash(subject: Subject) -> Iterator[Finding]:
    yield ok("begun", "so far")
    raise ZeroDivisionError("nobody thought of postgresql://ada:s3cr3t-canary@host")


def hang(subject: Subject) -> Iterator[Finding]:
    threading.Event().wait(30)
    yield ok("hung", "too late")


def test_a_crash_and_a_hang_are_lines_in_their_places() -> None:
    checks = [
        Check(name="hang", look=hang, timeout_s=0.3),
        Check(name="crash", look=crash),
        Check(name="fine", look=fine),
    ]
    begin = time.monotonic()
    found = run_checks(checks, Subject())
    assert time.monotonic() - begin < 5
    assert [(f.name, f.status) for f in found] == [
        ("hang", "broken"),
        ("begun", "ok"),
        ("crash", "broken"),
        ("fine", "ok"),
    ]
    assert found[0].detail == "no answer within 0.3 s"
    assert found[2].detail.startswith("the check itself failed: ZeroDivisionError: nobody thought of postgresql://***@")
    assert "test_doctor_running.py:" in found[2].detail
    assert all(f.fix for f in found if f.status == "broken")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libtorch_cpu.so: undefined symbol')", "cannot be imported: libtorch_cpu.so"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the process that tried it died of SIGSEGV"),
        ("import os; print('noise', flush=True); os._exit(3)", "ended with exit code 3"),
    ],
)
def test_a_library_that_cannot_be_loaded(stubs: Callable[[str, str], None], code: str, said: str) -> None:
    stubs("torch", code)
    [finding] = run_checks([TORCH], Subject())
    assert (finding.name, finding.status) == ("torch", "broken")
    assert said in finding.detail
    assert finding.fix


def test_a_library_that_never_returns_is_ended(stubs: Callable[[str, str], None], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    stubs("torch", f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    slow = dataclasses.replace(TORCH, timeout_s=4.0)
    [finding] = run_checks([slow], Subject())
    assert finding.detail == "no answer within 4 s"
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and Path(f"/proc/{pid}/stat").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_a_finding_is_one_line_without_secrets() -> None:
    finding = ok("a\nb", "mlflow at http://ada:s3cr3t-canary@host\nagain")
    assert "\n" not in finding.name + finding.detail
    assert "canary" not in finding.detail
    assert json.loads(json.dumps(dataclasses.asdict(finding)))["status"] == "ok"
    assert os.linesep not in finding.fix
