"""Rules a value of a sweep file has to meet. Each checks, and each says itself as JSON Schema.

A check never raises: it reports every broken rule and gives back `ABSENT` in place of the value, so
that one pass finds everything that is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from orchestrator.config.yaml_source import Document, Keys, dotted
from orchestrator.errors import MAX_TOLD, Problem, shown
from search_spaces.errors import ABSENT, BrokenRule
from search_spaces.scalars import misfit
from trainables.errors import did_you_mean

__all__ = [
    "AUTO",
    "ListOf",
    "Nullable",
    "OneOf",
    "Relation",
    "Report",
    "Rule",
    "Scalar",
    "Section",
    "Text",
    "dataclass_defaults",
    "no_value",
]

AUTO: Final = "auto"
_JSON: Final = {int: "integer", float: "number"}
_NOUN: Final = {int: "a whole number", float: "a finite number"}


class Report:
    """Collects problems with the place of each value."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = list(document.problems)

    def add(self, keys: Keys, rule: str, value: object = ABSENT, hint: str = "") -> None:
        text = "" if value is ABSENT else shown(value)
        where = self._document.where(keys)
        self.problems.append(Problem(where=where, key=dotted(keys), rule=rule, value=text, hint=hint))

    def in_order(self) -> list[Problem]:
        """The problems by line, those of ``--set`` last."""
        return sorted(self.problems, key=lambda problem: _position(problem.where))

    def is_broken(self, keys: Keys) -> bool:
        """Whether a problem of the value at `keys` itself is known."""
        return any(problem.key == dotted(keys) for problem in self.problems)

    def add_all(self, keys: Keys, broken: Iterable[BrokenRule]) -> None:
        """Report `broken`, whose keys start at `keys`."""
        for rule in broken:
            self.add((*keys, *rule.keys), rule.rule, rule.value, rule.hint)


class Rule(Protocol):
    def check(self, value: object, keys: Keys, report: Report) -> Any:
        """`value` as its field holds it, or `ABSENT` once what is wrong with it is reported."""

    def schema(self) -> dict[str, Any]: ...


Relation = Callable[[Mapping[str, Any], Keys, Report], None]
"""A rule between the values of one mapping. What was missing or broken is not in the mapping."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar:
    """A number in [low, high], both or neither finite; ``auto`` too where `auto`."""

    kind: type
    low: float = -math.inf
    high: float = math.inf
    also: Callable[[float], tuple[str, str] | None] | None = None
    """A further rule, with a hint."""

    auto: bool = False

    @property
    def rule(self) -> str:
        auto = "auto or " if self.auto else ""
        bounds = f" in [{self.low}, {self.high}]" if math.isfinite(self.high) else ""
        return f"must be {auto}{_NOUN[self.kind]}{bounds}"

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if self.auto and value == AUTO:
            return AUTO
        wrong = misfit(self.kind, value)
        hint = wrong[1] if wrong else ""
        if wrong or not isinstance(value, int | float) or not self.low <= value <= self.high:
            report.add(keys, self.rule, value, hint)
            return ABSENT
        if self.also and (broken := self.also(value)):
            report.add(keys, broken[0], value, broken[1])
            return ABSENT
        return self.kind(value)

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.low, "maximum": self.high}
        finite = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
        number = {"type": _JSON[self.kind], **finite}
        return {"anyOf": [{"const": AUTO}, number]} if self.auto else number


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Text that `broken` finds no rule and hint against."""

    broken: Callable[[str], tuple[str, str] | None]
    pattern: str | None = None

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        wrong = self.broken(value) if isinstance(value, str) else misfit(str, value)
        if wrong:
            report.add(keys, wrong[0], value, wrong[1])
            return ABSENT
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", **({"pattern": self.pattern} if self.pattern else {"minLength": 1})}


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOf:
    """One of a few texts."""

    options: tuple[str, ...]

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if not isinstance(value, str) or value not in self.options:
            hint = did_you_mean(value, self.options).removeprefix("; ") if isinstance(value, str) else ""
            report.add(keys, f"must be one of {', '.join(self.options)}", value, hint)
            return ABSENT
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.options)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Nullable:
    """null, or what `rule` takes."""

    rule: Rule

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        return None if value is None else self.rule.check(value, keys, report)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.rule.schema(), {"type": "null"}]}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf:
    """A list with at least one item and no two of the same name."""

    item: Rule
    most: int
    """Longest list."""

    name: Callable[[Any], object] = field(default=lambda item: item)
    """What tells two items apart; `ABSENT` for one that cannot be compared."""

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if not isinstance(value, list | tuple) or not value:
            hint = "write it in [ ]" if isinstance(value, str | Mapping) else ""
            report.add(keys, "must be a list with at least one item", value, hint)
            return ABSENT
        if len(value) > self.most:
            report.add(keys, f"must have at most {self.most} items, got {len(value)}")
            return ABSENT
        first: dict[object, int] = {}
        items = [self.item.check(item, (*keys, index), report) for index, item in enumerate(value)]
        for index, item in enumerate(items):
            name = ABSENT if item is ABSENT else self.name(item)
            if name is not ABSENT and first.setdefault(name, index) != index:
                report.add((*keys, index), f"must not repeat item {first[name]}", name)
        return items

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "minItems": 1, "maxItems": self.most, "uniqueItems": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A mapping with known keys. Its checked form is a dict of the values that are right, with the
    defaults of the keys that are not given; a key that is wrong is missing from it."""

    rules: Mapping[str, Rule]
    defaults: Mapping[str, Any]
    """A key that is in `rules` and not here is required; with `ABSENT` it is left out."""

    descriptions: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    """What to write instead of keys that are not known, where the nearest name would mislead."""

    relations: tuple[Relation, ...] = ()

    def check(self, value: object, keys: Keys, report: Report) -> Any:
        if not isinstance(value, Mapping):
            hint = no_value(value) if keys else ""
            report.add(keys, "must be a mapping of keys to values", value, hint)
            return ABSENT
        for key in value:
            if key not in self.rules:
                self._report_unknown(key, keys, report)
        checked: dict[str, Any] = {}
        for name, rule in self.rules.items():
            if name in value:
                item = rule.check(value[name], (*keys, name), report)
                if item is not ABSENT:
                    checked[name] = item
            elif name not in self.defaults:
                report.add((*keys, name), "is required")
            elif self.defaults[name] is not ABSENT:
                checked[name] = self.defaults[name]
        for relation in self.relations:
            relation(checked, keys, report)
        return checked

    def _report_unknown(self, key: object, keys: Keys, report: Report) -> None:
        text = key if isinstance(key, str) else shown(key)
        if len(report.problems) >= MAX_TOLD:  # nobody reads it, and looking for near names takes time
            report.add((*keys, text), "unknown key")
            return
        report.add((*keys, text), "unknown key", hint=self._hint(text) or f"known are {', '.join(self.rules)}")

    def _hint(self, key: str) -> str:
        if hint := self.hints.get(key) or did_you_mean(key, self.rules).removeprefix("; "):
            return hint
        # A typing error in a key that belongs elsewhere.
        near = next((name for name in self.hints if did_you_mean(key, [name])), None)
        return f"did you mean {near!r}? {self.hints[near]}" if near and "did you mean" not in self.hints[near] else ""

    def schema(self) -> dict[str, Any]:
        properties = {name: rule.schema() for name, rule in self.rules.items()}
        for name, text in self.descriptions.items():
            if name in properties:
                properties[name]["description"] = text
        return {
            "type": "object",
            "properties": properties,
            "required": [name for name in self.rules if name not in self.defaults],
            "additionalProperties": False,
        }


def no_value(value: object) -> str:
    """The hint for a key that was written without a value."""
    return "leave the key out to take its default" if value is None else ""


def dataclass_defaults(cls: type) -> dict[str, Any]:
    """Field name -> default, of the fields that have one."""
    defaults: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        if item.default is not dataclasses.MISSING:
            defaults[item.name] = item.default
        elif item.default_factory is not dataclasses.MISSING:
            defaults[item.name] = item.default_factory()
    return defaults


def _position(where: str) -> tuple[bool, int]:
    line = where.rpartition(":")[2]
    return where.startswith("--set"), int(line) if line.isdecimal() else 0
