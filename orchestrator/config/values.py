"""Rules of single values that only a sweep file has: names, backbones, spaces, fixed values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.config.placing import LOCAL_STARTS, placed_backbone
from orchestrator.config.rules import OneOf, Report, Scalar, Text, no_value
from orchestrator.config.yaml_source import Keys
from orchestrator.errors import redact
from search_spaces import SEARCHABLE, InvalidSpace, load_space, read_space, space_names, space_schema
from search_spaces.errors import ABSENT
from search_spaces.parameters import DEPTH_NAMES
from search_spaces.scalars import misfit
from search_spaces.searchable import FREEZE_DEPTH, broken_rule, options
from trainables.catalog import SOURCES, is_checkpoint_path, lookup
from trainables.errors import UnknownName, did_you_mean

__all__ = [
    "NAME",
    "Fixed",
    "Flag",
    "Numbers",
    "Space",
    "Texts",
    "broken_backbone",
    "broken_gpus",
    "broken_name",
    "broken_part",
    "broken_timeout",
    "full_name",
]

NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
"""Of sweeps and tasks: they become folders, MLflow experiments and parts of study keys."""

MAX_NAME: Final = 200
MAX_PATH: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """One value of a `FinetuneConfig` field."""

    name: str

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        kind = SEARCHABLE[self.name]
        if kind is str:
            return OneOf(options=options(self.name)).check(value, keys, report)
        if kind is tuple:
            return self._check_window(value, keys, report)
        if self.name == FREEZE_DEPTH and isinstance(value, str) and value in DEPTH_NAMES:
            return self._check_name(value, keys, report)
        checked = Scalar(kind=kind).check(value, keys, report)
        if checked is not ABSENT and (rule := broken_rule(self.name, checked)):
            report.add(keys, rule, value)
            return ABSENT
        return checked

    def _check_window(self, value: Any, keys: Keys, report: Report) -> Any:
        if value is None:
            return None
        if rule := broken_rule(self.name, value):
            report.add(keys, rule, value)
            return ABSENT
        return tuple(value)

    def _check_name(self, value: str, keys: Keys, report: Report) -> Any:
        depth = DEPTH_NAMES[value]
        if isinstance(depth, int):
            return depth
        # A fixed value is one number for all backbones; the space is bound to each one's own blocks.
        hint = f"write space: {{base: ..., {self.name}: {{choice: [{value}]}}}}"
        report.add(keys, "must be a number, as it is fixed for backbones of any depth", value, hint)
        return ABSENT

    def schema(self) -> dict[str, Any]:
        kind = SEARCHABLE[self.name]
        if kind is str:
            return OneOf(options=options(self.name)).schema()
        if kind is tuple:
            block = {"type": "integer", "minimum": 0}
            return {"anyOf": [{"type": "array", "items": block, "minItems": 2, "maxItems": 2}, {"type": "null"}]}
        number = Scalar(kind=kind).schema()
        return {"anyOf": [number, {"const": "full"}]} if self.name == FREEZE_DEPTH else number


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if broken := misfit(bool, value):
            report.add(keys, broken[0], value, broken[1])
            return ABSENT
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """A text, or a list of different ones, possibly empty. Its checked form is a tuple."""

    item: Text
    most: int | None = None
    """Longest list; None is any."""

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if not isinstance(value, list | tuple):
            if not isinstance(value, str):
                report.add(keys, "must be a text or a list of texts", value, no_value(value))
                return ABSENT
            item = self.item.check(value, keys, report)
            return ABSENT if item is ABSENT else (item,)
        if self.most is not None and len(value) > self.most:
            report.add(keys, f"must be at most {self.most} texts", value)
            return ABSENT
        items = [self.item.check(item, (*keys, index), report) for index, item in enumerate(value)]
        repeated = _repeated(items)
        for index in repeated:
            report.add((*keys, index), "must not repeat a name", items[index])
        return ABSENT if repeated or any(item is ABSENT for item in items) else tuple(items)

    def schema(self) -> dict[str, Any]:
        text = self.item.schema()
        most = {} if self.most is None else {"maxItems": self.most}
        return {"anyOf": [text, {"type": "array", "items": text, "uniqueItems": True, **most}]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """A list of different numbers, possibly empty. Its checked form is a tuple."""

    item: Scalar

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if not isinstance(value, list | tuple):
            hint = f"write [{value}]" if isinstance(value, int | float) else ""
            report.add(keys, "must be a list of numbers", value, hint)
            return ABSENT
        items = [self.item.check(item, (*keys, index), report) for index, item in enumerate(value)]
        repeated = _repeated(items)
        for index in repeated:
            report.add((*keys, index), "must not repeat a number", items[index])
        return ABSENT if repeated or ABSENT in items else tuple(items)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "uniqueItems": True}


def _repeated(items: Sequence[Any]) -> list[int]:
    """Where items are that there have been before."""
    first: dict[Any, int] = {}
    return [i for i, item in enumerate(items) if item is not ABSENT and first.setdefault(item, i) != i]


@dataclass(frozen=True, slots=True)
class Space:
    """The name of a shipped space, or a mapping of parameters."""

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        try:
            if isinstance(value, str):
                return load_space(value)
            if isinstance(value, Mapping):
                return read_space(value)
            rule = f"must be one of {', '.join(space_names())}, or a mapping of parameters"
            report.add(keys, rule, value)
        except UnknownName as error:
            rule, _, hint = str(error).partition(": ")[2].partition("; ")
            report.add(keys, rule, value, hint)
        except InvalidSpace as error:
            report.add_all(keys, error.broken)
        return ABSENT

    def schema(self) -> dict[str, Any]:
        return space_schema()


def broken_name(text: str) -> tuple[str, str] | None:
    if re.fullmatch(NAME, text):
        return None
    nearest = re.sub(r"[^A-Za-z0-9_.-]+", "-", text[:80]).lstrip(".-")
    rule = "must be 1 to 80 letters, digits, '_', '.' or '-', the first no '.' or '-'"
    # Not of a URI put in the wrong place: with its punctuation gone a secret would no longer be redacted.
    return rule, f"e.g. {nearest}" if nearest and redact(text) == text else ""


def broken_backbone(text: str) -> tuple[str, str] | None:
    """The rule a name breaks; only in the paths of files may there be spaces, and more than a name has."""
    rule = f"must be source/architecture[@weights], of at most {MAX_NAME} characters without spaces"
    if len(text) > MAX_PATH or not text.isprintable():
        return rule, ""
    try:
        lookup(text)
    except UnknownName as error:
        if len(text) > MAX_NAME or " " in text:
            return rule, ""
        rule, _, hint = str(error).removeprefix(f"backbone {text!r}: ").partition("; ")
        hint = hint or did_you_mean(text.partition("/")[0], SOURCES).removeprefix("; ")
        return rule.replace("expected", "must be"), hint
    name = text.removesuffix(_path_in(text))
    return (rule, "") if len(name) > MAX_NAME or " " in name or text != text.strip() else None


def _path_in(backbone: str) -> str:
    """What follows the part of a backbone's name that is no path of a file or folder."""
    spec = lookup(backbone)
    if spec.source == "hf":
        return backbone.removeprefix("hf/") if spec.architecture.startswith(LOCAL_STARTS) else ""
    return spec.weights if spec.weights is not None and is_checkpoint_path(spec.weights) else ""


def full_name(backbone: str) -> str:
    """The name with its weights, its paths absolute: two spellings of one backbone are one."""
    return lookup(placed_backbone(backbone)).name


def broken_gpus(gpus: float) -> tuple[str, str] | None:
    if gpus < 1 or gpus == int(gpus):
        return None
    return "must be auto, 0, a fraction below 1, or a whole number", f"{int(gpus)} or {int(gpus) + 1}"


def broken_part(share: float) -> tuple[str, str] | None:
    """Of a whole that is trained on anyway."""
    return None if 0 < share < 1 else ("must be in (0, 1)", "all samples are what confirmations are trained on")


def broken_timeout(seconds: float) -> tuple[str, str] | None:
    return None if seconds > 0 else ("must be auto, null or more than 0 s", "null is no limit")
