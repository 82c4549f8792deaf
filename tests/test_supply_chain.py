"""What we depend on is past the holes we know of, and our own code opens none of the usual ones."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

FIXED: Final = {
    "CVE-2026-27482": ("ray", "2.54.0"),
    "CVE-2025-11201": ("mlflow", "3.0.0"),
    "CVE-2026-2614": ("mlflow", "3.10.0"),
    "CVE-2026-2651": ("mlflow", "3.11.0"),
    "CVE-2026-2652": ("mlflow", "3.10.0"),
    "CVE-2026-4372": ("transformers", "5.3.0"),
    "CVE-2026-1839": ("transformers", "5.0.0"),
    "CVE-2025-32434": ("torch", "2.6.0"),
}
"""The first version without the hole, of advisories that concern what this package does."""

OWN: Final = ("orchestrator", "trainables", "search_spaces", "benchmarks")
UNPICKLERS: Final = ("pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib")
RUNNERS: Final = ("eval", "exec", "os.system", "os.popen", "asyncio.create_subprocess_shell", "tempfile.mktemp")


@pytest.mark.parametrize("advisory", FIXED)
def test_versions_are_past_known_holes(advisory: str, repository: Path) -> None:
    name, fixed = FIXED[advisory]
    pins = dict(line.split("==") for line in (repository / "constraints.txt").read_text().splitlines() if "==" in line)
    assert Version(pins[name]) >= Version(fixed)
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    [asked] = [r for r in map(Requirement, project["dependencies"]) if r.name == name]
    lowest = min(Version(s.version) for s in asked.specifier if s.operator in (">=", "=="))
    assert lowest >= Version(fixed), f"{asked} allows a version with {advisory}"


def test_every_exception_of_the_audit_has_a_reason(repository: Path) -> None:
    lines = (repository / ".ci" / "audit-exceptions.txt").read_text(encoding="utf-8").splitlines()
    for line in [line for line in lines if line and not line.startswith("#")]:
        name, _, reason = line.partition(" ")
        assert re.fullmatch(r"CVE-\d{4}-\d+|GHSA(-\w{4}){3}|PYSEC-\d{4}-\d+", name)
        assert len(reason.split()) >= 8, f"{name} needs a reason"
    assert "--strict" in (repository / ".ci" / "audit").read_text()


def holes(tree: ast.AST) -> Iterator[str]:
    """What opens a hole, as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(_opens(node)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = ("MAX_IMAGE_PIXELS", "LOAD_TRUNCATED_IMAGES", "verify_mode", "check_hostname")
            if any(isinstance(t, ast.Attribute) and t.attr in names for t in targets):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield from (f"from {node.module} import {a.name}" for a in node.names if a.name != "UnpicklingError")


def _opens(call: ast.Call) -> Iterator[bool]:
    name = ast.unparse(call.func)
    module, _, function = name.rpartition(".")
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
    yield name in RUNNERS
    yield module in UNPICKLERS
    yield function in ("read_pickle", "_create_unverified_context")
    yield name == "torch.load" and keywords.get("weights_only") != "True"
    yield module == "yaml" and function in ("load", "load_all", "unsafe_load", "full_load")
    yield module in ("np", "numpy") and keywords.get("allow_pickle", "False") != "False"
    yield keywords.get("shell", "False") != "False"
    yield keywords.get("verify", "True") != "True"
    yield keywords.get("trust_remote_code") == "True"
    yield keywords.get("use_safetensors") == "False"


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "exec(text)",
        "pickle.loads(content)",
        "from pickle import loads",
        "joblib.load(file)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "tempfile.mktemp()",
        "requests.get(url, verify=False)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "Image.MAX_IMAGE_PIXELS = None",
        "ImageFile.LOAD_TRUNCATED_IMAGES = True",
    ],
)
def test_a_hole_is_seen(code: str) -> None:
    assert list(holes(ast.parse(code)))


def test_our_code_opens_none(repository: Path) -> None:
    files = [file for package in OWN for file in sorted((repository / package).rglob("*.py"))]
    assert len(files) > 100
    found = {
        f"{file.relative_to(repository)}: {hole}"
        for file in files
        for hole in holes(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == set()


def test_no_key_of_a_sweep_file_lets_code_in() -> None:
    from orchestrator.config import config_schema

    keys = set(re.findall(r'"(\w+)":', json.dumps(config_schema())))
    assert not {key for key in keys if re.search("trust|remote|pickle|safetensors|insecure|unsafe", key)}
    assert "backbones" in keys
