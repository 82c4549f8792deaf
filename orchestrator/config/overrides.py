"""``--set a.b=x``: one value put on top of what a file says."""

from __future__ import annotations

from typing import Any, Final, Protocol

from orchestrator.config.yaml_source import Document, Keys, parse_yaml
from orchestrator.errors import ConfigError, Problem, shown

__all__ = ["set_value"]


MAX_INDEX_DIGITS: Final = 6


class _Refuse(Protocol):
    def __call__(self, rule: str, *, value: str = "", hint: str = "") -> None: ...


def set_value(document: Document, argument: str) -> None:
    """Apply one ``--set a.b=x`` to `document`; `x` is read as YAML. What is wrong goes to its problems."""
    path, equals, text = argument.partition("=")
    where = f"--set {path.strip()}"
    keys = path.strip().split(".")

    def refuse(rule: str, *, value: str = "", hint: str = "") -> None:
        document.problems.append(Problem(where=where, key=path.strip(), rule=rule, value=value, hint=hint))

    if not equals or not all(keys):
        hint = "e.g. --set budget.trials=4"
        rule = "must be key=value"
        document.problems.append(Problem(where="--set", key="", rule=rule, value=shown(argument), hint=hint))
        return
    try:
        value = parse_yaml(text, where, with_lines=False).value
    except ConfigError as error:
        document.problems.extend(error.problems)
        return
    place = _descend(document.value, keys, refuse)
    if place is not None:
        container, last = place
        container[last] = value
        _mark(document, keys, where)


def _descend(root: Any, keys: list[str], refuse: _Refuse) -> tuple[Any, str | int] | None:
    """The container and the key that `keys` end in, making mappings on the way; None when refused."""
    node = root
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(node, list):
            if not (key.isdecimal() and len(key) <= MAX_INDEX_DIGITS and int(key) < len(node)):
                indices = f"0 to {len(node) - 1}" if node else "none, as the list is empty"
                refuse(f"{'.'.join(keys[:position])} is a list: its index must be {indices}", value=shown(key))
                return None
            if last:
                return node, int(key)
            node = node[int(key)]
        elif isinstance(node, dict):
            if last:
                return node, key
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
        else:
            above = ".".join(keys[:position])
            hint = f"--set {above}=... replaces it as a whole"
            refuse(f"{above or 'the file'} must be a mapping to be set in part", value=shown(node), hint=hint)
            return None
    return None


def _mark(document: Document, keys: list[str], where: str) -> None:
    """Say that the value at `keys` and all below it was written at `where`."""
    root = document.value
    path: Keys = ()
    for key in keys:
        step: str | int = int(key) if isinstance(root, list) else key
        root = root[step]
        path = (*path, step)
        document.marks.setdefault(path, where)
    for below in [keys_ for keys_ in document.marks if keys_[: len(path)] == path]:
        del document.marks[below]
    document.marks[path] = where
