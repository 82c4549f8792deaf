"""Mappings, as a YAML file holds them, to spaces; and the spaces shipped with the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, get_args

import yaml

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import DEPTH_NAMES, NUM_BLOCKS, Choice, FloatRange, IntRange, When
from search_spaces.scalars import misfit
from search_spaces.searchable import FREEZE_DEPTH, MANAGED, SEARCHABLE, TUNE_WINDOW, options
from search_spaces.space import Parameter, SearchSpace, unsearchable
from search_spaces.window import WindowChoice, WindowParts
from trainables.errors import UnknownName, did_you_mean

__all__ = ["load_space", "read_space", "space_names", "space_schema"]

_KEYS: Final = {
    FloatRange: ("low", "high", "log", "when"),
    IntRange: ("low", "high", "step", "num", "log", "when"),
    Choice: ("choice", "when"),
    WindowChoice: ("choice",),
    WindowParts: ("parts",),
}
_REQUIRED: Final = {
    FloatRange: ("low", "high"),
    IntRange: ("low", "high"),
    Choice: ("choice",),
    WindowChoice: ("choice",),
    WindowParts: ("parts",),
}
_NOUNS: Final = {
    FloatRange: "a range",
    IntRange: "a range",
    Choice: "a choice",
    WindowChoice: "a choice of windows",
    WindowParts: "a division into windows",
}
_KINDS: Final = {"log": bool, "step": int, "num": int, "parts": int}
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
    ``num``; or ``{choice: [...]}``. Either may have ``when: unfrozen``. `freeze_depth` may be named:
    ``full`` is 0, ``probe`` and ``num_blocks`` are the number of blocks. `tune_window` is
    ``{choice: [[0, 2], [2, num_blocks]]}`` or ``{parts: 4}``. With ``base: NAME`` the shipped space
    NAME is taken, a parameter that is given replaces its whole parameter, and a parameter that is null
    removes it.

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
    values = {key: _typed(name, key, item) for key, item in value.items()}
    return cls(**values) if cls in (WindowChoice, WindowParts) else cls(name=name, **values)  # type: ignore[call-arg]


def _class(name: str, value: Mapping[Any, Any]) -> type[Parameter]:
    """What kind of parameter `value` means: a range unless it has a choice, typed as its field."""
    if name == TUNE_WINDOW:
        return WindowParts if "parts" in value else WindowChoice
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
    elif not (cls is IntRange and isinstance(item, str) and item in _ends(name).get(_text(key), ())):
        kind = _KINDS.get(key, SEARCHABLE[name])
        if wrong := misfit(kind, item):
            yield BrokenRule(keys=(key,), rule=wrong[0], value=item, hint=wrong[1])


def _checked_choice(name: str, items: object) -> Iterator[BrokenRule]:
    if not isinstance(items, list | tuple):
        yield BrokenRule(keys=("choice",), rule="must be a list", value=items)
        return
    for index, item in enumerate(items):
        if _is_named(name, item):
            continue
        known = options(name)
        if known and item not in known:
            hint = did_you_mean(item, known).removeprefix("; ") if isinstance(item, str) else ""
            yield BrokenRule(keys=("choice", index), rule=f"must be one of {', '.join(known)}", value=item, hint=hint)
        elif wrong := misfit(SEARCHABLE[name], _numbered(name, item)):
            yield BrokenRule(keys=("choice", index), rule=wrong[0], value=item, hint=wrong[1])


def _is_named(name: str, item: object) -> bool:
    return name == FREEZE_DEPTH and isinstance(item, str) and item in DEPTH_NAMES


def _ends(name: str) -> dict[str, tuple[str, ...]]:
    """Texts that may stand for the ends of a range. An `IntRange` says whose `num_blocks` has a meaning."""
    return {"low": ("full",), "high": ("probe", NUM_BLOCKS)} if name == FREEZE_DEPTH else {"high": (NUM_BLOCKS,)}


def _numbered(name: str, item: object) -> object:
    """A window whose end is written as ``num_blocks`` with a number in its place; all else as it is."""
    if name == TUNE_WINDOW and isinstance(item, list | tuple) and len(item) == 2 and item[1] == NUM_BLOCKS:
        return [item[0], 1]
    return item


def _typed(name: str, key: str, item: Any) -> Any:
    """`item` after `_checked`: a whole number where a float is meant becomes one, a named depth what it names."""
    if key == "choice":
        return tuple(_typed(name, "value", value) for value in item)
    if name == TUNE_WINDOW:
        return tuple(item) if key == "value" else item
    if _is_named(name, item):
        return DEPTH_NAMES[item]
    is_float = SEARCHABLE[name] is float and key in ("low", "high", "value")
    return float(item) if is_float else item


def _parameter_schemas(name: str) -> list[dict[str, Any]]:
    kind = SEARCHABLE[name]
    value: dict[str, Any] = {"enum": list(options(name))} if kind is str else {"type": _JSON.get(kind)}
    low = high = value
    if name == FREEZE_DEPTH:
        low, high = ({"anyOf": [value, {"enum": list(ends)}]} for ends in _ends(name).values())
        value = {"anyOf": [value, {"enum": list(DEPTH_NAMES)}]}
    if kind is tuple:
        end = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": NUM_BLOCKS}]}
        value = {
            "type": "array",
            "prefixItems": [{"type": "integer", "minimum": 0}, end],
            "items": False,
            "minItems": 2,
        }
    forms: dict[str, dict[str, Any]] = {
        "low": low,
        "high": high,
        "log": {"type": "boolean"},
        "step": {"type": "integer", "minimum": 1},
        "num": {"type": "integer", "minimum": 2},
        "parts": {"type": "integer", "minimum": 2},
        "when": {"enum": list(get_args(When))},
        "choice": {"type": "array", "items": value, "minItems": 1, "uniqueItems": True},
    }
    classes: dict[type, list[type[Parameter]]] = {
        str: [Choice],
        float: [FloatRange, Choice],
        int: [IntRange, Choice],
        tuple: [WindowChoice, WindowParts],
    }
    return [
        {
            "type": "object",
            "properties": {key: forms[key] for key in _KEYS[cls]},
            "required": list(_REQUIRED[cls]),
            "additionalProperties": False,
        }
        for cls in classes[kind]
    ]
