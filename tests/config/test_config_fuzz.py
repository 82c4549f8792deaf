"""Whatever is given for a sweep file, or after ``--set``: it loads, or every problem is told in a line.

Deterministic, unless ``FUZZ_EXAMPLES`` asks for so many examples of each kind, drawn anew.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator import redaction
from orchestrator.cli import main
from orchestrator.config import load_sweep, resolved_yaml, sweep_mapping
from orchestrator.config.yaml_source import parse_yaml
from orchestrator.errors import MAX_TOLD, ConfigError, UsageError, redact
from orchestrator.planning.plan import plan, plan_to_dict
from orchestrator.planning.table import render_plan

ASKED = int(os.environ.get("FUZZ_EXAMPLES", "0"))
MAX_LINE = 2500

fuzzed = settings(
    max_examples=ASKED or 50,
    derandomize=not ASKED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)

VALID: dict[str, Any] = {
    **sweep_mapping(load_sweep("quickstart")),
    "tasks": [
        {"name": "a", "data": "digits", "image_size": 32, "num_train": 100, "num_val": 50, "num_test": 10},
        {"name": "b", "data": "x.csv", "label_columns": ["y"], "kind": "regression", "max_length": 128},
    ],
    "space": {
        "base": "default",
        "freeze_depth": {"low": 0, "high": "num_blocks", "num": 3},
        "batch_size": {"choice": [16, 32]},
        "tune_window": None,
        "stay_near": {"low": 1e-4, "high": 1, "log": True, "when": "unfrozen"},
    },
    "finetune": {"optimizer": "adamw", "warmup_frac": 0.1},
    "ranking": {"preset": "default", "weights": {"quality": 1, "ease": 0.5}},
}

SECRETS = (
    "postgresql://ada:hunter2@host/db",
    "http://ada:hunter2@host:5000/?token=hunter2",
    "s3://hunter2@bucket/x",
    "timm/resnet18@https://ada:hunter2@host/x.pth",
    "mysql+pymysql://ada:hunter2@x:y@host/db?password=hunter2&x=1",
)


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value in `node`, at any depth."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [place for key, below in inner for place in places(below, (*path, key))]
    return [path, *found] if path else found


def at(root: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        root = root[key]
    return root


PLACES = places(VALID)
NAMES = sorted({key for place in PLACES for key in place if isinstance(key, str)})
OPTIONS = sorted({value for place in PLACES if isinstance(value := at(VALID, place), str)} | {
    "race", "off", "always", "bf16", "sgd", "step", "probe", "balanced", "flip", "skip", "text", "audio", "image",
    "classification", "multilabel", "few_labels", "accuracy_only", "none", "full", "torchvision/CIFAR10", "./x", "~/x",
    "hf/./x", "hf/a/b@c", "timm/resnet18@./x.pth", "hf/distilbert/distilbert-base-uncased", "s3://b/x", "http://host:1",
})  # fmt: skip
TEXTS = st.text(max_size=20) | st.sampled_from([*NAMES, *OPTIONS])
WHOLE = st.integers(-3, 100) | st.integers() | st.sampled_from([2**31 - 1, 2**31, 2**63, 10**30, 10**7, 4096])
NUMBERS = st.floats() | st.floats(0, 1) | st.sampled_from([1e308, 5e-324, -0.0, float("nan"), float("inf"), 0.1])
SCALARS = (
    st.none()
    | st.booleans()
    | WHOLE
    | NUMBERS
    | TEXTS
    | st.sampled_from([*SECRETS, "x" * 5000, "\u202e\u0000\x1b[2J😀"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)


def alike(value: Any) -> st.SearchStrategy[Any]:
    """Values that may well stand where `value` stands."""
    match value:
        case bool():
            return st.booleans()
        case int():
            return st.integers(0, 12) | st.integers(0, 10**6) | WHOLE | NUMBERS
        case float():
            return NUMBERS | WHOLE
        case list() if value:
            return st.lists(st.sampled_from(value) | alike(value[0]), max_size=3)
        case dict() if value:
            return st.fixed_dictionaries({}, optional={key: st.just(below) for key, below in value.items()})
        case _:
            return st.sampled_from(OPTIONS) | WHOLE | NUMBERS


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A sweep that is right but for a few changes: values changed, replaced, repeated or removed, keys renamed."""
    root = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(root)))
        node = at(root, tuple(way))
        change = draw(st.sampled_from(["alike"] * 7 + ["any", "remove", "rename", "add", "repeat"]))
        match change:
            case "alike":
                node[last] = draw(alike(node[last]))
            case "remove":
                del node[last]
            case "rename" if isinstance(node, dict):
                node[draw(TEXTS | st.sampled_from(SECRETS))] = node.pop(last)
            case "add" if isinstance(node, dict):
                node[draw(TEXTS)] = draw(VALUES)
            case "repeat" if isinstance(node, list):
                node.append(copy.deepcopy(node[last]))
            case _:
                node[last] = draw(VALUES)
    return root


# fmt: off
YAML_PARTS = st.sampled_from([
    "name: ", "tasks:\n", "- ", "backbones: ", "space: ", ": ", "[", "]", "{", "}", "\n", "  ", "&x ", "*x", "<<: *x",
    "!!python/object/apply:os.system ", "!!t ", "'", '"', "#", "\t", "|", ">", "---\n", "...\n", "%YAML 1.1\n", "? ",
    "\ufeff", "\x00", "\x85", "1e-4", "0x1F", "9" * 50, ".nan", "null", "a", "timm/a", *SECRETS,
])
# fmt: on
CONTENTS = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(YAML_PARTS, max_size=30).map(lambda parts: "".join(parts).encode())
    | st.lists(YAML_PARTS, max_size=10).map(lambda parts: (yaml.safe_dump(VALID) + "".join(parts)).encode())
)
WILD = st.lists(st.sampled_from([*NAMES, "0", "1", "99", "-1", "", "x"]), min_size=1, max_size=4).map(".".join)


def spelled(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """What could follow ``--set``: mostly a value for a key that there is."""
    place = draw(st.sampled_from(PLACES))
    key = draw(st.just(".".join(map(str, place))) | st.sampled_from([WILD, st.text(max_size=12)]).flatmap(lambda s: s))
    value = draw(
        alike(at(VALID, place)).map(spelled) | VALUES.map(repr) | st.lists(YAML_PARTS, max_size=6).map("".join)
    )
    return draw(st.sampled_from([f"{key}={value}"] * 9 + [value]))


OVERRIDES = st.lists(overrides(), min_size=1, max_size=3)


@pytest.fixture(autouse=True, scope="module")
def _forgets_passwords() -> Iterator[None]:
    with patch.object(redaction, "_hidden", set()):
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "my.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """A working folder in which nothing may be left."""
    folder = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(folder)
    return lambda: list(folder.iterdir())


def check(file: Path, overrides: list[str]) -> None:
    """It loads, is planned and comes back; or it is refused in bounded, printable lines without secrets."""
    redaction._hidden.clear()
    # Also drawn where nothing tells it for a secret, as it is written in this file.
    told = "hunter2" in redact("\n".join([file.read_text(encoding="utf-8", errors="replace"), *overrides]))
    if refusal := refused(file, overrides):
        lines = refusal.splitlines()
        assert len(lines) <= MAX_TOLD + 1
        assert all(line.isprintable() and len(line) <= MAX_LINE for line in lines)
        assert told or "hunter2" not in refusal
        code, err = run("validate", file, overrides)
        # The command has seen passwords in its arguments, and hides them wherever they turn up.
        assert (code, err) == (2, redact("error: " + "\n" * (len(lines) > 1) + refusal + "\n"))
        return
    config = load_sweep(file, overrides)
    again = file.with_name("again.yaml")
    again.write_text(resolved_yaml(config), encoding="utf-8")
    assert load_sweep(again) == config
    assert told or "hunter2" not in resolved_yaml(config, redacted=True)
    assert run("sweep", file, overrides, "--plan", "--quiet") == (0, "")


def refused(file: Path, overrides: list[str]) -> str:
    """What is wrong, empty where nothing is. Any other exception is a failure."""
    try:
        planned = plan(load_sweep(file, overrides))
    except (ConfigError, UsageError) as error:
        return str(error)
    assert render_plan(planned, None)
    assert plan_to_dict(planned)
    return ""


def run(command: str, file: Path, overrides: list[str], *more: str) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    options = [f"--set={override}" for override in overrides]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([command, str(file), *options, *more])
    assert "Traceback" not in err.getvalue()
    assert code == 0 or not out.getvalue()
    return code, err.getvalue()


@given(content=CONTENTS)
@fuzzed
def test_any_content(file: Path, elsewhere: Callable[[], list[Path]], content: bytes) -> None:
    file.write_bytes(content)
    check(file, [])
    assert elsewhere() == []


@given(mapping=mutated())
@fuzzed
def test_a_sweep_with_changes(file: Path, elsewhere: Callable[[], list[Path]], mapping: dict[str, Any]) -> None:
    text = yaml.safe_dump(mapping, allow_unicode=False, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    check(file, [])
    assert elsewhere() == []


@given(overrides=OVERRIDES)
@fuzzed
def test_any_override(file: Path, elsewhere: Callable[[], list[Path]], overrides: list[str]) -> None:
    file.write_text(yaml.safe_dump(VALID), encoding="utf-8")
    check(file, overrides)
    assert elsewhere() == []


def test_what_is_changed_is_right_to_begin_with(file: Path) -> None:
    file.write_text(yaml.safe_dump(VALID), encoding="utf-8")
    check(file, ["seed=3"])
    assert parse_yaml(yaml.safe_dump(VALID), "x").value == VALID
