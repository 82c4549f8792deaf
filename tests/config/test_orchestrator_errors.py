"""Messages: one line each, in columns, without secrets; and the tree that the module draws."""

from __future__ import annotations

import inspect
import pickle

import pytest

from orchestrator import errors
from orchestrator.errors import ConfigError, OrchestratorError, Problem, redact, shown


def test_problems_stand_in_columns() -> None:
    error = ConfigError(
        [
            Problem(where="a.yaml:7", key="budget.trials", rule="must be >= 1", value="0"),
            Problem(where="--set seed", key="seed", rule="must be >= 0", value="-1", hint="write 1"),
        ]
    )
    assert str(error) == (
        "a.yaml:7    budget.trials  must be >= 1, got 0\n--set seed  seed           must be >= 0, got -1; write 1"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_problem_is_one_line_of_bounded_length() -> None:
    problem = Problem(where="x\n\x1b[31m", key="k" * 10_000, rule="r", value="v\r\n")
    assert str(ConfigError([problem])).isprintable()
    assert len(str(ConfigError([problem]))) < 1000


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("http://host/path", "http://host/path"),
        ("postgresql://ada:pw@host/db", "postgresql://***@host/db"),
        ("postgresql://ada:p@w/x@host/db", "postgresql://***@host/db"),
        ("http://token@host", "http://***@host"),
        ("http://host/?Password=x&y=1", "http://host/?Password=***&y=1"),
        ("timm/vit@random", "timm/vit@random"),
    ],
)
def test_redact(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_shown_is_redacted_before_it_is_cut() -> None:
    assert "pw" not in shown("postgresql://ada:" + "pw" * 60 + "@host")
    assert shown(10**5000) == "a int too large to print"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, OrchestratorError)]
    assert errors.__doc__ is not None
    for cls in classes:
        drawn = next(line.split() for line in errors.__doc__.splitlines() if cls.__name__ in line.split())
        assert int(drawn[drawn.index(cls.__name__) + 1]) == cls.exit_code
