"""Mappings, as a YAML file holds them, to spaces; and the spaces shipped with the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, get_args

import yaml

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import NUM_BLOCKS, Choice, FloatRange, IntRange, Parameter, When
from search_spaces.scalars import misfit
from search_spaces.searchable import FREEZE_DEPTH, MANAGED, SEARCHABLE, options
from search_spaces.space import SearchSpace, unsearchable
from trainables.errors import UnknownName, did_you_mean

__all__ = ["load_space", "read_space", "space_names", "space_schema"]

_KEYS: Final = {
    FloatRange: ("low", "high", "log", "when"),
    IntRange: ("low", "high", "step", "num", "log", "when"),
    Choice: ("choice", "when"),
}
_REQUIRED: Final = {FloatRange: ("low", "high"), IntRange: ("low", "high"), Choice: ("choice",)}
_NOUNS: Final = {FloatRange: "a range", IntRange: "a range", Choice: "a choice"}
_KINDS: Final = {"log": bool, "step": int, "num": int}
_JSON: Final = {int: "integer", float: "number"}


def space_names() -> tuple[str, ...]:
    """Of the shipped spaces, sorted."""
    shipped = (entry.name for entry in files("search_spaces").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in shipped if name.endswith(".yaml")))


@cache
def load_space(name: str) -> SearchSpace:
    """A shipped space.

    Raises:
        UnknownName: no space of that name is shipped.
    """
    if name not in space_names():
        names = space_names()
        raise UnknownName(
            f"space {name!r}: must be one of {', '.join(names)}, or a mapping of parameters" + did_you_mean(name, names)
        )
    text = files("search_spaces").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return read_space(yaml.safe_load(text))


def read_space(mapping: Mapping[Any, Any]) -> SearchSpace:
    """A space from a mapping of field name -> parameter.

    A parameter is ``{low, high}`` with optional ``log: true``, and for whole numbers ``step`` or
    ``num``; or ``{choice: [...]}``. Either may have ``when: unfrozen``. With ``base: NAME`` the
    shipped space NAME is taken, a parameter that is given replaces its whole parameter, and a
    parameter that is null removes it.

    Raises:
        InvalidSpace: all broken rules, with their keys in `mapping`.
    """
    broken: list[BrokenRule] = []
    parameters: dict[str, Parameter] = {}
    if "base" in mapping:
        try:
            parameters = {p.name: p for p in load_space(_text(mapping["base"])).parameters}
        except UnknownName as error:
            rule = str(error).partition(": ")[2]
            broken.append(BrokenRule(keys=("base",), rule=rule, value=mapping["base"]))
    for name, value in mapping.items():
        if name == "base":
            continue
        if name not in SEARCHABLE:
            broken.append(_refused(name))
        elif value is None and "base" in mapping:
            parameters.pop(name, None)
        else:
            try:
                parameters[name] = _parameter(name, value)
            except InvalidSpace as error:
                broken += (_under(name, rule) for rule in error.broken)
    if broken:
        raise InvalidSpace(broken)
    return SearchSpace(parameters=tuple(parameters.values()))


def space_schema() -> dict[str, Any]:
    """JSON Schema of what a sweep file may hold as its space."""
    properties = {name: {"anyOf": [*_parameter_schemas(name), {"type": "null"}]} for name in SEARCHABLE}
    inline = {
        "type": "object",
        "properties": {"base": {"enum": list(space_names())}, **properties},
        "additionalProperties": False,
        "minProperties": 1,
    }
    return {"anyOf": [{"enum": list(space_names())}, inline]}


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)[:80]


def _refused(name: object) -> BrokenRule:
    text = _text(name)
    if text in MANAGED:
        hint = {"backbone": "list them under backbones", "max_epochs": "set budget.max_epochs"}
        rule = "is set by the sweep and cannot be searched"
        return BrokenRule(keys=(text,), rule=rule, hint=hint.get(text, ""))
    return unsearchable(text)


def _under(name: str, rule: BrokenRule) -> BrokenRule:
    return BrokenRule(keys=(name, *rule.keys), rule=rule.rule, value=rule.value, hint=rule.hint)


def _parameter(name: str, value: object) -> Parameter:
    if not isinstance(value, Mapping):
        hint = "a value that is not searched goes under finetune"
        rule = "must be a mapping with low and high, or with choice"
        raise InvalidSpace([BrokenRule(keys=(), rule=rule, value=value, hint=hint)])
    cls = _class(name, value)
    broken = [BrokenRule(keys=(key,), rule="is required") for key in _REQUIRED[cls] if key not in value]
    for key, item in value.items():
        broken += _checked(name, cls, key, item)
    if broken:
        raise InvalidSpace(broken)
    return cls(name=name, **{key: _typed(name, key, item) for key, item in value.items()})


def _class(name: str, value: Mapping[Any, Any]) -> type[FloatRange | IntRange | Choice]:
    """What kind of parameter `value` means: a range unless it has a choice, typed as its field."""
    if "choice" in value or SEARCHABLE[name] is str:
        return Choice
    return FloatRange if SEARCHABLE[name] is float else IntRange


def _checked(name: str, cls: type[Parameter], key: object, item: object) -> Iterator[BrokenRule]:
    """What is wrong with one key of a parameter, as far as its type goes."""
    if key not in _KEYS[cls]:
        text = _text(key)
        hint = did_you_mean(text, _KEYS[cls]).removeprefix("; ") or f"it may have {', '.join(_KEYS[cls])}"
        yield BrokenRule(keys=(text,), rule=f"unknown key for {_NOUNS[cls]}", hint=hint)
    elif key == "choice":
        yield from _checked_choice(name, item)
    elif key == "when":
        if item not in get_args(When):
            yield BrokenRule(keys=("when",), rule="must be unfrozen", value=item)
    elif not (key == "high" and cls is IntRange and item == NUM_BLOCKS):
        kind = _KINDS.get(key, SEARCHABLE[name])
        if wrong := misfit(kind, item):
            yield BrokenRule(keys=(key,), rule=wrong[0], value=item, hint=wrong[1])


def _checked_choice(name: str, items: object) -> Iterator[BrokenRule]:
    if not isinstance(items, list | tuple):
        yield BrokenRule(keys=("choice",), rule="must be a list", value=items)
        return
    for index, item in enumerate(items):
        if name == FREEZE_DEPTH and item == NUM_BLOCKS:
            continue
        if wrong := misfit(SEARCHABLE[name], item):
            rule = f"must be one of {', '.join(options(name))}" if options(name) else wrong[0]
            yield BrokenRule(keys=("choice", index), rule=rule, value=item, hint=wrong[1])


def _typed(name: str, key: str, item: Any) -> Any:
    """`item` after `_checked`: a whole number where a float is meant becomes one."""
    if key == "choice":
        return tuple(_typed(name, "value", value) for value in item)
    is_float = SEARCHABLE[name] is float and key in ("low", "high", "value")
    return float(item) if is_float else item


def _parameter_schemas(name: str) -> list[dict[str, Any]]:
    kind = SEARCHABLE[name]
    value: dict[str, Any] = {"enum": list(options(name))} if kind is str else {"type": _JSON[kind]}
    if name == FREEZE_DEPTH:
        value = {"anyOf": [value, {"const": NUM_BLOCKS}]}
    forms: dict[str, dict[str, Any]] = {
        "low": {"type": _JSON.get(kind)},
        "high": value,
        "log": {"type": "boolean"},
        "step": {"type": "integer", "minimum": 1},
        "num": {"type": "integer", "minimum": 2},
        "when": {"enum": list(get_args(When))},
        "choice": {"type": "array", "items": value, "minItems": 1, "uniqueItems": True},
    }
    classes = [Choice] if kind is str else [FloatRange if kind is float else IntRange, Choice]
    return [
        {
            "type": "object",
            "properties": {key: forms[key] for key in _KEYS[cls]},
            "required": list(_REQUIRED[cls]),
            "additionalProperties": False,
        }
        for cls in classes
    ]
