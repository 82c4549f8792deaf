"""What counts as a secret, and that it is taken out of texts."""

from __future__ import annotations

import threading

import pytest

from orchestrator.cli import app
from orchestrator.errors import redact
from orchestrator.redaction import hide, unrevealing

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://ada:{CANARY}@host/db",
        f"http://{CANARY}@host",
        f"http://host/?password={CANARY}&x=1",
        f"MLFLOW_TRACKING_PASSWORD={CANARY} was set",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        f"{{'user': 'ada', 'password': '{CANARY}'}}",
        f'{{"api_key": "{CANARY}"}}',
        f"Authorization: Basic {CANARY}",
        f"'Authorization': 'Bearer {CANARY}'",
        f"bearer {CANARY}-and-some-more",
    ],
)
def test_what_looks_like_a_secret(text: str) -> None:
    assert CANARY not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text", ["/srv/main/x.py", "timm/vit@random", "5 tokens=", "sqlite:////a/b.db", "a bearer of news", "key=value"]
)
def test_what_does_not(text: str) -> None:
    assert redact(text) == text


def test_what_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
    assert redact(f"refused: {CANARY} has expired") == "refused: *** has expired"
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    assert CANARY in redact(CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{CANARY}@host")
    assert CANARY not in redact(f"cannot read {CANARY!r}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for name in ("RAY_AUTH_TOKEN_PATH", "TOKENIZERS_PARALLELISM", "PWD", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "/a/path/or/a/name")
    assert redact("see /a/path/or/a/name") == "see /a/path/or/a/name"


def test_a_password_is_known_again_wherever_it_turns_up() -> None:
    hide("http://ada:n0t-%40-w0rd/or-two@host")
    for text in ("as integer value as 'n0t-%40-w0rd'", "password n0t-@-w0rd/or-two is wrong", "path /or-two@host"):
        assert "w0rd" not in redact(text)
    assert redact("or-two") == "***"


def test_an_error_that_names_a_secret_is_told_without_it() -> None:
    harmless = ValueError("no such file")
    assert unrevealing(harmless) is harmless
    leaky = KeyError(f"http://ada:{CANARY}@host")
    told = unrevealing(leaky)
    assert CANARY not in str(told)
    assert str(told).startswith("KeyError: 'http://***@host")


def test_an_error_in_a_thread_is_told_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(f"http://ada:{CANARY}@host")

    before, threading.excepthook = threading.excepthook, app._tell_of_thread
    try:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
    told = capsys.readouterr().err
    assert "ValueError: http://***@host" in told
    assert CANARY not in told
