"""The text of a sweep file that people read: in blocks, comments below one another, in one order."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from orchestrator.config.yaml_source import plain_value
from orchestrator.errors import one_line

__all__ = ["Block", "render"]

Block = Sequence[tuple[str, str]]
"""Lines with the comment behind each; an empty comment is none."""

_WIDTH: Final = 110
_FARTHEST: Final = 60
"""Column beyond which a long value pushes its own comment alone."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./~@][\w./~@+-]*")


def render(head: Iterable[str], name: str, task: Mapping[str, Any], backbones: Block, rest: Mapping[str, Any],
           comments: Mapping[str, str]) -> str:  # fmt: skip
    """A file.

    Args:
        head: what stands over it, as comments.
        name: of the sweep.
        task: its only one.
        backbones: items of the list, without their dash; one that begins with ``#`` is a comment as a whole.
        rest: the other keys with their values, of which mappings become blocks.
        comments: what is said behind a key, by its name; of a block's own key ``key:``, above it.
    """
    lines = [f"# {one_line(line)}".rstrip() for line in head]
    lines += ["", *_block([(f"name: {_value(name)}", comments.get("name", ""))])]
    pairs = [(f"{key}: {_value(value)}", comments.get(key, "")) for key, value in task.items()]
    lines += ["", *_above("tasks", comments), "tasks:"]
    lines += _block([(("    " if index else "  - ") + text, said) for index, (text, said) in enumerate(pairs)])
    lines += ["", *_above("backbones", comments), "backbones:"]
    lines += _block([(f"  # - {t[1:].strip()}" if t.startswith("#") else f"  - {_value(t)}", s) for t, s in backbones])
    for key, value in rest.items():
        lines += ["", *_above(key, comments)]
        if isinstance(value, Mapping):
            inner = [(f"  {name}: {_value(item)}", comments.get(name, "")) for name, item in value.items()]
            lines += [f"{key}:", *_block(inner)]
        else:
            lines += _block([(f"{key}: {_value(value)}", comments.get(key, ""))])
    return "\n".join(lines) + "\n"


def _above(key: str, comments: Mapping[str, str]) -> list[str]:
    said = comments.get(f"{key}:", "")
    return [f"# {line}" for line in textwrap.wrap(one_line(said), _WIDTH - 2)]


def _block(pairs: Block) -> list[str]:
    """Comments begin in one column, two behind the longest value that is not far out."""
    column = max((len(text) for text, said in pairs if said and len(text) <= _FARTHEST), default=0)
    return [f"{text:<{column}}  # {one_line(said)}" if said else text for text, said in pairs]


def _value(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and plain_value(value) == value
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
