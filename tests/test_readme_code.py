"""Every piece of a sweep file in the README is checked, and every line of Python run.

What loads an exported model is run where one is exported: in `test_readme`.
"""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from readme_blocks import Block, blocks, fragments, scores

from orchestrator.config import config_schema, load_sweep, sweep_from_mapping


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml(block: Block, tmp_path: Path) -> None:
    """Whole sweep files load, and so do pieces of one beside the least that a sweep needs."""
    found = yaml.safe_load(block.text)
    if {"name", "tasks", "backbones"} <= set(found):
        file = tmp_path / f"written-{block.line}.yaml"
        file.write_text(block.text, encoding="utf-8")
        assert load_sweep(str(file)) == sweep_from_mapping(found)
        return
    _load(found)


@pytest.mark.parametrize("fragment", fragments())
def test_fragment(fragment: str) -> None:
    _load(yaml.safe_load(fragment))


def _load(found: dict[str, Any]) -> None:
    known = config_schema()["properties"]
    least = {"name": "piece", "tasks": [{"name": "digits"}], "backbones": ["timm/resnet18", "timm/resnet34"]}
    whole = {**least, **{key: value for key, value in found.items() if key in known}}
    inner = {key: value for key, value in found.items() if key not in known}
    if inner:  # parameters of the space, where these take the place of freeze_depth
        whole["space"] = {"base": "default", "freeze_depth": None, **inner}
    assert sweep_from_mapping(whole).name == "piece"


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.needs_model], ids=str)
def test_python(block: Block, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(repository))
    (tmp_path / "scores.csv").write_text(scores(), encoding="utf-8")
    parsed = ast.parse(block.text)
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(parsed, f"README.md:{block.line}", "exec"), namespace)
    functions = [node.name for node in parsed.body if isinstance(node, ast.FunctionDef)]
    if functions == ["build"]:  # of a plug-in
        from trainables.catalog import BackboneSpec

        made = namespace["build"](BackboneSpec(source="mine", architecture="three_layers", weights=None))
        assert made.num_blocks == 3


@pytest.mark.parametrize("block", [b for b in blocks() if b.language not in ("", "text")], ids=str)
def test_every_language_has_a_test(block: Block) -> None:
    known = ("bash", "sh", "shell", "console", "yaml", "toml", "python", "json", "csv", "markdown")
    assert block.language in known
    if block.language == "json":
        json.loads(block.text)
