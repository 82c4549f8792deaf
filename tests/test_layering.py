"""The layers: what may import what, in which order modules depend on each other, and their form."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("trainables", "search_spaces", "orchestrator")
MAX_LINES = 300

FORBIDDEN = {
    "trainables*": ("ray", "mlflow", "optuna", "orchestrator", "search_spaces"),
    "search_spaces*": (
        "torch",
        "torchvision",
        "timm",
        "transformers",
        "ray",
        "mlflow",
        "optuna",
        "orchestrator",
    ),
    "orchestrator.planning*": ("torch", "ray", "mlflow", "optuna"),
    "orchestrator.config*": ("torch", "ray", "mlflow", "optuna"),
    "orchestrator.report*": ("torch", "ray", "mlflow", "optuna", "trainables"),
}
"""Top-level packages that no module of the pattern imports, at its top or inside a function."""

ALLOWED = {
    "ray": (
        *("interrupt", "cluster.*", "doctor.ray_start", "sweep", "forgetting"),
        *("workers.worker", "searching.searcher", "searching.scheduling"),
    ),
    "optuna": ("searching.*", "sweep", "importance"),
    "mlflow": ("tracking.*",),
}
"""The only modules of `orchestrator` that import each of the three."""

RANKING = ("numpy", "scipy", "pyarrow", "opda", "orchestrator.records", "orchestrator.errors", "orchestrator.ranking")
SEARCH_SPACES = ("trainables.config", "trainables.catalog", "trainables.errors")


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """What `module` imports anywhere: dotted names, of a module of ours down to that module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in modules() else base


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = modules()[module].name == "__init__.py"
    parents = module.split(".")[: -node.level + 1 or None] if is_package else module.split(".")[: -node.level]
    return ".".join([*parents, *([node.module] if node.module else [])])


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)


def matching(pattern: str) -> list[str]:
    found = [module for module in modules() if fnmatch(module, pattern)]
    assert found, f"no module is called {pattern}: this test must follow a renaming"
    return found


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_layer_imports_a_higher_one(pattern: str) -> None:
    leaks = {m: n for m in matching(pattern) for n in imports(m) if n.split(".")[0] in FORBIDDEN[pattern]}
    assert leaks == {}


def test_search_spaces_know_no_more_of_the_trainables_than_their_values() -> None:
    used = {n for m in matching("search_spaces*") for n in imports(m) if n.split(".")[0] == "trainables"}
    assert {name for name in used if not within(name, SEARCH_SPACES)} == set()


@pytest.mark.parametrize("library", ALLOWED)
def test_each_library_is_imported_where_it_is_needed_only(library: str) -> None:
    users = {m for m in matching("orchestrator*") if any(n.split(".")[0] == library for n in imports(m))}
    patterns = [f"orchestrator.{name}" for name in ALLOWED[library]]
    assert {m for m in users if not any(fnmatch(m, p) for p in patterns)} == set()
    idle = [p for p in patterns if not any(fnmatch(m, p) for m in users)]
    assert idle == [], "these no longer import it: take them off the list"


def test_ranking_is_pure() -> None:
    leaks = {
        f"{module} imports {name}"
        for module in matching("orchestrator.ranking*")
        for name in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names and not within(name, RANKING)
    }
    assert leaks == set()


def test_no_cycle() -> None:
    graph = {module: {name for name in imports(module) if name in modules()} - {module} for module in modules()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(modules())


@pytest.mark.parametrize("module", modules())
def test_form(module: str) -> None:
    path, parsed = modules()[module], tree(module)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    if path.name == "__init__.py" and not parsed.body:
        return
    assert ast.get_docstring(parsed), "a module says what it is"
    if path.name != "__main__.py":
        # Whether it names what the module holds is checked by ruff (F822).
        assigned = [ast.unparse(n.targets[0]) for n in parsed.body if isinstance(n, ast.Assign)]
        assert "__all__" in assigned, "a module says what it gives"
