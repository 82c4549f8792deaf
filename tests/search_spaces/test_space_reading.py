"""Spaces from mappings, as a sweep file holds them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from search_spaces import Choice, IntRange, InvalidSpace, load_space, read_space, space_names
from search_spaces.searchable import MANAGED, SEARCHABLE
from trainables.config import FinetuneConfig
from trainables.errors import UnknownName

FIELDS = {field.name for field in dataclasses.fields(FinetuneConfig)}


def test_fields_are_either_searchable_or_managed() -> None:
    assert set(SEARCHABLE) | set(MANAGED) == FIELDS
    assert not set(SEARCHABLE) & set(MANAGED)
    assert SEARCHABLE["freeze_depth"] is int
    assert SEARCHABLE["learning_rate"] is float
    assert SEARCHABLE["optimizer"] is str
    assert SEARCHABLE["tune_window"] is tuple


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_parameter_is_a_field(name: str) -> None:
    space = load_space(name)
    assert set(space.names) <= FIELDS
    assert space.names[0] == "freeze_depth"


@pytest.mark.parametrize("name", space_names())
def test_mappings_come_back(name: str) -> None:
    space = load_space(name)
    assert read_space(space.to_mapping()) == space
    assert read_space(space.to_mapping()).digest == space.digest


def test_base_is_replaced_extended_and_shortened() -> None:
    space = read_space(
        {
            "base": "default",
            "learning_rate": {"low": 1e-6, "high": 1},
            "layer_decay": None,
            "batch_size": {"choice": [16, 32]},
        }
    )
    default = load_space("default")
    kept = [name for name in default.names if name != "layer_decay"]
    assert list(space.names) == [*kept, "batch_size"]
    assert space.to_mapping()["learning_rate"] == {"low": 1e-6, "high": 1.0}
    assert space.get("weight_decay") == default.get("weight_decay")
    assert space.get("batch_size") == Choice(name="batch_size", choice=(16, 32))


def test_depth_comes_first_wherever_it_is_declared() -> None:
    space = read_space(
        {"weight_decay": {"low": 0, "high": 1}, "freeze_depth": {"low": 0, "high": "num_blocks", "num": 3}}
    )
    assert space.names == ("freeze_depth", "weight_decay")
    assert space.get("freeze_depth") == IntRange(name="freeze_depth", low=0, high="num_blocks", num=3)


@pytest.mark.parametrize(
    ("mapping", "keys", "message"),
    [
        ({}, "", "must have at least one parameter"),
        ({"base": "defalt"}, "base", "did you mean 'default'?, got 'defalt'"),
        ({"learning_rat": {}}, "learning_rat", "did you mean 'learning_rate'?"),
        ({"seed": {"choice": [1]}}, "seed", "is set by the sweep and cannot be searched"),
        ({"max_epochs": {"choice": [1]}}, "max_epochs", "set budget.max_epochs"),
        ({1: {}}, "1", "is not a field that can be searched"),
        ({"weight_decay": 0.1}, "weight_decay", "must be a mapping with low and high, or with choice"),
        ({"weight_decay": None}, "weight_decay", "must be a mapping"),
        ({"weight_decay": {"low": 0.1}}, "weight_decay.high", "is required"),
        ({"weight_decay": {"low": "1e-4", "high": 1}}, "weight_decay.low", "write it without quotes"),
        ({"weight_decay": {"low": True, "high": 1}}, "weight_decay.low", "must be a finite number, got True"),
        ({"weight_decay": {"low": 0, "high": 10**400}}, "weight_decay.high", "must be a finite number"),
        ({"weight_decay": {"low": 0, "high": 1, "lg": True}}, "weight_decay.lg", "did you mean 'log'?"),
        ({"weight_decay": {"low": 0, "high": 1, "num": 3}}, "weight_decay.num", "it may have low, high, log"),
        ({"weight_decay": {"low": 0, "high": 1, "log": 1}}, "weight_decay.log", "must be true or false"),
        (
            {"weight_decay": {"low": 0, "high": 1, "when": "x"}},
            "weight_decay.when",
            "must be unfrozen, got 'x'",
        ),
        ({"freeze_depth": {"low": 0.5, "high": 3}}, "freeze_depth.low", "must be a whole number, got 0.5"),
        ({"freeze_depth": {"low": 1.0, "high": 3}}, "freeze_depth.low", "write 1"),
        ({"freeze_depth": {"low": 0, "high": "num_block"}}, "freeze_depth.high", "must be a whole number"),
        ({"optimizer": {"low": 0, "high": 1}}, "optimizer.choice", "is required"),
        ({"optimizer": {"choice": "adamw"}}, "optimizer.choice", "must be a list, got 'adamw'"),
        ({"optimizer": {"choice": [1]}}, "optimizer.choice.0", "must be one of adamw, adam, sgd, got 1"),
        ({"freeze_depth": {"low": "probe", "high": 3}}, "freeze_depth.low", "must be a whole number, got 'probe'"),
        ({"freeze_depth": {"choice": ["ful"]}}, "freeze_depth.choice.0", "must be a whole number, got 'ful'"),
        ({"freeze_depth": {"choice": [0, "full"]}}, "freeze_depth.choice.1", "must not repeat a value, got 0"),
        ({"batch_size": {"low": 1, "high": "probe"}}, "batch_size.high", "must be a whole number, got 'probe'"),
        ({"tune_window": [0, 2]}, "tune_window", "must be a mapping"),
        ({"tune_window": {"low": 0, "high": 2}}, "tune_window.choice", "is required"),
        ({"tune_window": {"choice": [0, 2]}}, "tune_window.choice.0", "two block numbers, e.g. [2, 5], got 0"),
        ({"tune_window": {"choice": [[0, 2, 4]]}}, "tune_window.choice.0", "must be a list of two block numbers"),
        ({"tune_window": {"choice": [[4, 2]]}}, "tune_window.choice.0", "with 0 <= i < j"),
        ({"tune_window": {"parts": "4"}}, "tune_window.parts", "write it without quotes"),
        ({"tune_window": {"part": 4}}, "tune_window.part", "unknown key for a choice of windows"),
        ({"tune_window": {"parts": 4, "when": "unfrozen"}}, "tune_window.when", "unknown key for a division"),
        ({"base": "default", "tune_window": {"parts": 4}}, "tune_window", "beside freeze_depth"),
        ({"head_init": {"choice": ["prob"]}}, "head_init.choice.0", "must be one of random, probe, got 'prob'"),
        ({"batch_size": {"choice": [8, 8.5]}}, "batch_size.choice.1", "must be a whole number, got 8.5"),
    ],
)
def test_each_broken_rule_names_its_key(mapping: dict[Any, Any], keys: str, message: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        read_space(mapping)
    told = {".".join(map(str, rule.keys)): str(rule) for rule in caught.value.broken}
    assert keys in told
    assert message in told[keys]


def test_what_is_named_is_a_number() -> None:
    named = read_space({"freeze_depth": {"choice": ["full", 3, "probe"]}})
    assert named == read_space({"freeze_depth": {"choice": [0, 3, "num_blocks"]}})
    assert named.windows(9) == ((0, 9), (3, 9), (9, 9))
    ends = read_space({"freeze_depth": {"low": "full", "high": "probe", "num": 3}})
    assert ends == read_space({"freeze_depth": {"low": 0, "high": "num_blocks", "num": 3}})


@pytest.mark.parametrize(
    "window", [{"parts": 4}, {"choice": [[0, 2], [2, 4]]}, {"choice": [[0, 2], [2, "num_blocks"]]}]
)
def test_windows_come_back(window: dict[str, Any]) -> None:
    space = read_space({"base": "default", "freeze_depth": None, "tune_window": window})
    assert space.names[0] == "tune_window"
    assert space.to_mapping()["tune_window"] == window
    assert read_space(space.to_mapping()) == space
    assert read_space(space.to_mapping()).digest == space.digest


def test_all_broken_rules_come_at_once() -> None:
    with pytest.raises(InvalidSpace) as caught:
        read_space({"base": "x", "seed": 1, "weight_decay": {"low": 2, "high": 1, "lg": 1}, "nothing": 1})
    assert len(caught.value.broken) >= 4


def test_unknown_shipped_space() -> None:
    with pytest.raises(UnknownName, match="did you mean 'default'"):
        load_space("defaults")
