"""A configuration that exists is valid, and one that is not is told all that is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re

import pytest

from trainables.config import FinetuneConfig, TaskSpec
from trainables.errors import InvalidConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", ""),
        ("freeze_depth", -1),
        ("learning_rate", -1e-3),
        ("learning_rate", math.inf),
        ("head_learning_rate", math.nan),
        ("weight_decay", -0.1),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("layer_decay", math.nan),
        ("batch_size", 0),
        ("max_epochs", 0),
        ("warmup_frac", 1.0),
        ("warmup_frac", -0.1),
        ("optimizer", "lion"),
        ("schedule", "linear"),
        ("tune_window", (2, 2)),
        ("tune_window", (-1, 2)),
        ("tune_window", (1, 2, 3)),
        ("head_init", "zeros"),
        ("stay_near", -0.1),
        ("stay_near", math.inf),
        ("class_weight", "focal"),
        ("precision", "fp16"),
        ("seed", -1),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name_rule_and_value(field: str, value: object) -> None:
    with pytest.raises(InvalidConfig) as caught:
        FinetuneConfig(**{"backbone": "timm/resnet18", field: value})  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"{field} must be ")
    assert message.endswith(f"got {value!r}")


def test_all_broken_rules_are_listed_at_once() -> None:
    with pytest.raises(InvalidConfig, match=r"freeze_depth.*; batch_size.*; max_epochs"):
        FinetuneConfig(backbone="timm/resnet18", freeze_depth=-1, batch_size=0, max_epochs=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("data", ""),
        ("kind", "ranking"),
        ("modality", "video"),
        ("input_columns", ("a", "b", "c")),
        ("image_size", 0),
        ("max_length", 0),
        ("max_duration_s", 0.0),
        ("num_train", 0),
        ("num_val", -3),
        ("num_test", 0),
        ("few_shot", 0),
        ("train_frac", 0.0),
        ("train_frac", 1.1),
        ("on_bad_sample", "ignore"),
        ("split_seed", -1),
    ],
)
def test_a_task_is_checked_as_well(field: str, value: object) -> None:
    with pytest.raises(InvalidConfig, match=f"^{field} must be .* got {re.escape(repr(value))}"):
        TaskSpec(**{"name": "t", field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "values", "rule"),
    [
        (FinetuneConfig, {"backbone": "a/b", "freeze_depth": 1, "tune_window": (1, 2)}, "0 where tune_window is given"),
        (TaskSpec, {"name": "t", "few_shot": 5, "num_train": 10}, "None where num_train is given"),
        (TaskSpec, {"name": "t", "few_shot": 5, "kind": "regression"}, "None but for classification"),
    ],
)
def test_values_that_exclude_each_other_are_refused(cls: type, values: dict[str, object], rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        cls(**values)


def test_json_gives_back_an_equal_configuration() -> None:
    config = FinetuneConfig(backbone="timm/resnet18", tune_window=(2, 5))
    assert FinetuneConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
    task = TaskSpec(name="t", data="x.csv", input_columns=("a", "b"), label_columns=("c",))
    assert TaskSpec(**json.loads(json.dumps(dataclasses.asdict(task)))) == task
    assert hash(task) == hash(TaskSpec(**json.loads(json.dumps(dataclasses.asdict(task)))))


def test_values_travel_and_do_not_change() -> None:
    config = FinetuneConfig(backbone="timm/resnet18", freeze_depth=3)
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(FinetuneConfig(backbone="timm/resnet18", freeze_depth=3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.freeze_depth = 4  # type: ignore[misc]
