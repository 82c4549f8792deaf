"""Strict YAML: text to plain values, with the line of every key.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``1e-4`` is a number (1.1 reads text),
``010`` is ten (not eight), ``no`` and ``on`` are text (not booleans), ``1:30`` is text (not ninety).
What is quoted is text. Tags, merge keys (``<<``), keys that are not text and a key given twice are
refused: no sweep needs them, and each can silently change what is meant.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from orchestrator.errors import ConfigError, Problem

__all__ = ["Document", "Keys", "dotted", "dump_yaml", "parse_yaml", "plain_value", "read_yaml"]

MAX_BYTES: Final = 1_000_000
MAX_ALIASES: Final = 100
MAX_DEPTH: Final = 40
MAX_DIGITS: Final = 40
MAX_VALUES: Final = 20_000
"""Counted with every alias written out, so that nested aliases cannot multiply without end."""

_NULL: Final = re.compile(r"~|null|Null|NULL|")
_TRUE: Final = re.compile(r"true|True|TRUE")
_FALSE: Final = re.compile(r"false|False|FALSE")
_INT: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_HINTS: Final = {
    "'\\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "quote a text that holds ': ', and line up the keys of a mapping",
    "end of stream": (
        "a quote or a bracket that opens here is not closed; quote the whole text, or write one '- ' line per item"
    ),
    "expected ',' or ']'": "quote the text, or write one '- ' line per item",
    "expected <block end>": "line up the keys of a mapping",
}

Keys = tuple[str | int, ...]
"""Where a value is: mapping keys and list indices from the root."""


def dotted(keys: Keys) -> str:
    """``tasks.0.num_train``, as ``--set`` takes it."""
    return ".".join(key if isinstance(key, str) else str(key) for key in keys)


def plain_value(text: str) -> Any:
    """The value of a scalar without quotes, by the YAML 1.2 core schema."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return bool(_TRUE.fullmatch(text))
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def dump_yaml(value: Any) -> str:
    """`value` as YAML that `parse_yaml` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 reads as a number though PyYAML's 1.1 does not, such as ``1e-4``, and
    escapes line breaks of Unicode, which would be folded into spaces."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(plain_value(text), str)
    style = (None if plain else "'") if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


@dataclass(slots=True)
class Document:
    """Plain values with the place each was written at."""

    source: str
    """Path of the file, or what else the values came from."""

    value: Any
    marks: dict[Keys, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the text though it could be read, such as a key given twice."""

    def where(self, keys: Keys) -> str:
        """Place of the value at `keys`, or of the nearest value around it."""
        ends = range(len(keys), -1, -1)
        return next((self.marks[keys[:end]] for end in ends if keys[:end] in self.marks), self.source)


def read_yaml(path: Path, *, source: str | None = None) -> Document:
    """Read a YAML file of at most 1 MB in UTF-8, called `source` in messages (None: its path).

    Raises:
        ConfigError: it cannot be read, is too large, is not UTF-8 or is not YAML.
    """
    source = source or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(where=source, key="", rule=f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(where=source, key="", rule="must be at most 1 MB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        rule = "must be text in UTF-8"
        raise ConfigError([Problem(where=f"{source}:{line}", key="", rule=rule)]) from None
    return parse_yaml(text, source)


def parse_yaml(text: str, source: str, *, with_lines: bool = True) -> Document:
    """Read one YAML document.

    Raises:
        ConfigError: `text` is empty, not YAML, has tags or merge keys, or is larger than the caps.
    """
    return _Builder(text, source, with_lines=with_lines).document()


class _Builder:
    """Builds the values of one document from PyYAML's events (its own constructor never runs)."""

    def __init__(self, text: str, source: str, *, with_lines: bool) -> None:
        self._text = text
        self._source = source
        self._with_lines = with_lines
        self._events: Iterator[Any] = iter(())
        self._marks: dict[Keys, str] = {}
        self._problems: list[Problem] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliases = 0
        self._values = 0

    def document(self) -> Document:
        try:
            return self._document()
        except yaml.reader.ReaderError as error:
            line = self._text[: error.position].count("\n")
            self._refuse(line, f"is not YAML: the character U+{error.character:04X} is not allowed")
        except yaml.MarkedYAMLError as error:
            at_end = "end of stream" in (error.problem or "")  # where it began says more
            mark = (at_end and error.context_mark) or error.problem_mark or error.context_mark
            problem = error.problem or error.context or "cannot be read"
            hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
            self._refuse(mark.line if mark else 0, f"is not YAML: {problem}", hint)

    def _document(self) -> Document:
        self._events = iter(yaml.parse(self._text, Loader=yaml.SafeLoader))
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            self._refuse(0, "is empty: it needs a value")
        value = self._node(next(self._events), ())
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._refuse(event.start_mark.line, "must hold one YAML document, and a second one starts here")
        return Document(source=self._source, value=value, marks=self._marks, problems=self._problems)

    def _node(self, event: Any, keys: Keys) -> Any:
        line = event.start_mark.line
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line)
        before = self._values
        self._count(1, line)
        if len(keys) > MAX_DEPTH:
            self._refuse(line, f"must be nested at most {MAX_DEPTH} deep")
        if event.tag is not None:
            self._refuse(line, f"must not have tags, got {event.tag!r}", "write the plain value")
        if isinstance(event, yaml.MappingStartEvent):
            value: Any = self._mapping(keys)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(keys)
        else:
            value = event.value if event.style is not None else self._resolved(event.value, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._values - before)
        return value

    def _mapping(self, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line
            key = self._key(event)
            path = (*keys, key)
            if key in lines:
                self._node(next(self._events), keys)
                rule = f"{key!r} given twice (first on line {lines[key] + 1})"
                self._problems.append(self._problem(line, rule, key=dotted(path)))
                continue
            lines[key] = line
            self._marks[path] = self._where(line)
            mapping[key] = self._node(next(self._events), path)
        return mapping

    def _key(self, event: Any) -> str:
        line = event.start_mark.line
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            self._refuse(line, "must have plain text as keys")
        key = event.value if event.style is not None else self._resolved(event.value, line)
        if key == "<<" and event.style is None:
            self._refuse(line, "must not have merge keys (<<)", "write the keys out")
        if not isinstance(key, str):
            self._refuse(line, f"must have text as keys, got {key!r}", "quote it")
        return key

    def _sequence(self, keys: Keys) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            path = (*keys, len(items))
            self._marks[path] = self._where(event.start_mark.line)
            items.append(self._node(event, path))
        return items

    def _alias(self, anchor: str | None, line: int) -> Any:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._refuse(line, f"must have at most {MAX_ALIASES} aliases")
        if anchor is None or anchor not in self._anchors:
            self._refuse(line, f"is not YAML: the alias *{anchor} has no anchor &{anchor} before it")
        value, size = self._anchors[anchor]
        self._count(size, line)
        return copy.deepcopy(value)

    def _resolved(self, text: str, line: int) -> Any:
        if len(text) > MAX_DIGITS and (_INT.fullmatch(text) or _BASED.fullmatch(text)):
            self._refuse(line, f"must have numbers of at most {MAX_DIGITS} digits")
        return plain_value(text)

    def _count(self, values: int, line: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            self._refuse(line, f"must hold at most {MAX_VALUES} values, aliases written out")

    def _where(self, line: int) -> str:
        return f"{self._source}:{line + 1}" if self._with_lines else self._source

    def _problem(self, line: int, rule: str, *, key: str = "", hint: str = "") -> Problem:
        return Problem(where=self._where(line), key=key, rule=rule, hint=hint)

    def _refuse(self, line: int, rule: str, hint: str = "") -> NoReturn:
        raise ConfigError([*self._problems, self._problem(line, rule, hint=hint)])
