"""Parameters and spaces: what they draw stays inside their ranges, for every backbone."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import (
    Choice,
    FloatRange,
    IntRange,
    InvalidSpace,
    SearchSpace,
    WindowChoice,
    WindowParts,
    load_space,
    space_names,
)
from trainables.config import FinetuneConfig

NUM_BLOCKS = st.integers(1, 50)


@dataclass
class RandomTrial:
    """The in-process twin of an Optuna trial; it records what it was asked, in order."""

    seed: int
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        assert low < high
        assert low > 0 or not log
        self.asked.append(name)
        return self._random.choice([low, high, self._random.uniform(low, high)])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        assert (high - low) % step == 0
        assert low > 0 or not log
        self.asked.append(name)
        return self._random.choice([low, high, self._random.randrange(low, high + 1, step)])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.append(name)
        return self._random.choice(list(choices))


@given(num_blocks=NUM_BLOCKS, seed=st.integers(0, 2**20), name=st.sampled_from(space_names()))
def test_shipped_spaces_draw_valid_configurations(num_blocks: int, seed: int, name: str) -> None:
    trial = RandomTrial(seed)
    sampled = load_space(name).bind(num_blocks)(trial)
    config = FinetuneConfig(backbone="timm/any", **sampled)  # raises where a value is outside its range
    assert 0 <= config.freeze_depth <= num_blocks
    assert trial.asked[0] == "freeze_depth"
    assert ("learning_rate" in sampled) == (config.freeze_depth < num_blocks)
    assert ("layer_decay" in sampled) == (config.freeze_depth < num_blocks)
    assert trial.asked == list(sampled)


@given(num_blocks=NUM_BLOCKS, low=st.integers(0, 10), num=st.integers(2, 12))
def test_num_takes_at_most_so_many_depths_with_both_ends(num_blocks: int, low: int, num: int) -> None:
    low = min(low, num_blocks)
    parameter = IntRange(name="freeze_depth", low=low, high="num_blocks", num=num)
    values = list(parameter.values(num_blocks))
    gaps = [b - a for a, b in pairwise(values)]
    assert values[0] == low
    assert values[-1] == num_blocks
    assert len(values) <= num
    assert all(gap > 0 for gap in gaps)
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_optuna_samples_a_bound_space_and_records_what_is_used() -> None:
    space = SearchSpace(
        parameters=(
            FloatRange(name="learning_rate", low=1e-5, high=1e-2, log=True, when="unfrozen"),
            IntRange(name="batch_size", low=16, high=64, step=16),
            Choice(name="optimizer", choice=("adamw", "sgd")),
            IntRange(name="freeze_depth", low=0, high="num_blocks", num=4),
        )
    )
    bound = space.bind(7)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        assert bound(trial) == trial.params
        study.tell(trial, 0.0)
    depths = {trial.params["freeze_depth"] for trial in study.trials}
    assert depths == {0, 2, 5, 7}
    assert all(("learning_rate" in t.params) == (t.params["freeze_depth"] < 7) for t in study.trials)


def test_symbol_in_a_choice_is_the_number_of_blocks() -> None:
    depth = Choice(name="freeze_depth", choice=(0, 3, "num_blocks"))
    assert depth.values(9) == (0, 3, 9)
    assert depth.values(3) == (0, 3)


def test_a_fixed_depth_decides_conditions() -> None:
    rate = FloatRange(name="learning_rate", low=1e-4, high=1e-2, when="unfrozen")
    decay = FloatRange(name="weight_decay", low=0.0, high=0.1)
    space = SearchSpace(parameters=(rate, decay))
    assert set(space.bind(5, freeze_depth=5)(RandomTrial(0))) == {"weight_decay"}
    assert set(space.bind(5, freeze_depth=4)(RandomTrial(0))) == {"learning_rate", "weight_decay"}
    assert space.windows(5, freeze_depth=4) == ((4, 5),)


@given(num_blocks=NUM_BLOCKS, parts=st.integers(2, 12))
def test_parts_divide_the_blocks_into_nearly_equal_windows(num_blocks: int, parts: int) -> None:
    space = SearchSpace(parameters=(WindowParts(parts=parts),))
    if parts > num_blocks:
        assert [str(rule) for rule in space.broken_for(num_blocks)] == [
            f"tune_window.parts must be <= num_blocks ({num_blocks}), got {parts}"
        ]
        return
    windows = space.windows(num_blocks)
    assert len(windows) == parts
    assert [start for start, _ in windows] == [0, *(stop for _, stop in windows[:-1])]
    assert windows[-1][1] == num_blocks
    sizes = [stop - start for start, stop in windows]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_windows_are_scalars_to_the_tuner_and_tuples_to_the_configuration() -> None:
    space = SearchSpace(
        parameters=(
            FloatRange(name="learning_rate", low=1e-5, high=1e-2, log=True, when="unfrozen"),
            WindowChoice(choice=((0, 2), (2, 4), (4, "num_blocks"))),
        )
    )
    assert space.names == ("tune_window", "learning_rate")
    bound = space.bind(7)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
    for _ in range(12):
        trial = study.ask()
        sampled = bound(trial)
        assert all(isinstance(value, str | float) for value in trial.params.values())
        assert FinetuneConfig(backbone="x/y", **sampled).tune_window in {(0, 2), (2, 4), (4, 7)}
        assert "learning_rate" in sampled, "a window always tunes something"
        study.tell(trial, 0.0)
    assert {trial.params["tune_window"] for trial in study.trials} == {"0:2", "2:4", "4:7"}


@pytest.mark.parametrize("num_blocks", [3, 4])
def test_windows_beyond_the_blocks_are_told(num_blocks: int) -> None:
    space = SearchSpace(parameters=(WindowChoice(choice=((0, 2), (4, "num_blocks"), (2, 5))),))
    with pytest.raises(InvalidSpace) as caught:
        space.bind(num_blocks)
    rule = f"must lie within the num_blocks ({num_blocks})"
    assert [(broken.keys, broken.rule) for broken in caught.value.broken] == [
        (("tune_window", "choice", index), rule) for index in (1, 2)
    ]
    fixed = SearchSpace(parameters=(FloatRange(name="weight_decay", low=0.0, high=0.1),))
    assert fixed.windows(5, tune_window=(1, 3)) == ((1, 3),)
    with pytest.raises(InvalidSpace, match="must lie within"):
        fixed.bind(num_blocks, tune_window=(1, 9))


@pytest.mark.parametrize(
    ("num_blocks", "freeze_depth", "rule"),
    [(0, 0, "num_blocks must be >= 1"), (4, 0, "must be <= num_blocks (4), got 6"), (9, 10, "in [0, 9]")],
)
def test_bind_refuses_depths_the_backbone_does_not_have(num_blocks: int, freeze_depth: int, rule: str) -> None:
    space = SearchSpace(parameters=(IntRange(name="freeze_depth", low=0, high=6),))
    with pytest.raises(InvalidSpace) as caught:
        space.bind(num_blocks, freeze_depth=freeze_depth)
    assert rule in str(caught.value)


@pytest.mark.parametrize("name", space_names())
def test_spaces_travel_to_workers(name: str) -> None:
    space = load_space(name)
    assert pickle.loads(pickle.dumps(space)) == space
    bound = pickle.loads(pickle.dumps(space.bind(8)))
    assert bound(RandomTrial(3)) == space.bind(8)(RandomTrial(3))


def test_the_digest_is_stable_and_sees_every_change() -> None:
    def space(**changes: Any) -> SearchSpace:
        values = {"name": "weight_decay", "low": 1e-4, "high": 1e-1, "log": True} | changes
        return SearchSpace(parameters=(FloatRange(**values),))

    assert space().digest == space().digest == "4e1d99490bed"
    digests = {
        space(**change).digest for change in ({}, {"low": 2e-4}, {"high": 0.2}, {"log": False}, {"when": "unfrozen"})
    }
    assert len(digests) == 5
    assert json.loads(json.dumps(space().to_mapping())) == space().to_mapping()


@pytest.mark.parametrize(
    ("make", "rules"),
    [
        (lambda: FloatRange(name="weight_decay", low=0.1, high=0.1), ["low must be < high (0.1), got 0.1"]),
        (lambda: FloatRange(name="weight_decay", low=0.0, high=0.1, log=True), ["> 0 on a log scale"]),
        (
            lambda: FloatRange(name="weight_decay", low=float("nan"), high=0.1),
            ["low must be a finite number, got nan"],
        ),
        (
            lambda: FloatRange(name="weight_decay", low=0.0, high=float("inf")),
            ["high must be a finite number, got inf"],
        ),
        (
            lambda: FloatRange(name="layer_decay", low=-1.0, high=1.5),
            ["low must be in (0", "high must be in"],
        ),
        (lambda: FloatRange(name="head_learning_rate", low=0.0, high=1.0), ["a linear probe trains nothing"]),
        (lambda: IntRange(name="batch_size", low=0, high=8), ["low must be >= 1, got 0"]),
        (lambda: IntRange(name="batch_size", low=8, high=4), ["low must be < high (4), got 8"]),
        (lambda: IntRange(name="batch_size", low=8, high=20, step=5), ["step must divide high - low, 12"]),
        (lambda: IntRange(name="batch_size", low=8, high=16, step=0), ["step must be >= 1, got 0"]),
        (lambda: IntRange(name="batch_size", low=8, high=16, num=1), ["num must be >= 2"]),
        (lambda: IntRange(name="batch_size", low=8, high=16, num=3, log=True), ["at most one of step, num"]),
        (lambda: IntRange(name="batch_size", low=8, high="num_blocks"), ["high must be a number"]),
        (lambda: IntRange(name="freeze_depth", low=-1, high="num_blocks"), ["low must be >= 0, got -1"]),
        (lambda: IntRange(name="freeze_depth", low=0, high="num_blocks", step=2), ["num: 5 takes at most"]),
        (lambda: IntRange(name="freeze_depth", low=0, high=3, when="unfrozen"), ["when cannot depend on"]),
        (lambda: Choice(name="optimizer", choice=()), ["choice must have at least one value"]),
        (lambda: Choice(name="batch_size", choice=(8, 8)), ["choice.1 must not repeat a value, got 8"]),
        (lambda: Choice(name="optimizer", choice=("lion",)), ["choice.0 must be one of", "got 'lion'"]),
        (lambda: Choice(name="batch_size", choice=("a",)), ["choice.0 must be a whole number, got 'a'"]),
        (
            lambda: SearchSpace(parameters=(FloatRange(name="batch_size", low=1, high=8),)),
            ["batch_size cannot be searched by a FloatRange"],
        ),
        (lambda: WindowParts(parts=1), ["parts must be in [2, 1000], got 1"]),
        (lambda: WindowChoice(choice=()), ["choice must have at least one window"]),
        (lambda: WindowChoice(choice=((0, 2), (0, 2))), ["choice.1 must not repeat a window, got [0, 2]"]),
        (lambda: WindowChoice(choice=((2, 2),)), ["with 0 <= i < j, or None, got [2, 2]"]),
        (lambda: WindowChoice(choice=((-1, "num_blocks"),)), ["got [-1, 'num_blocks']"]),
        (
            lambda: SearchSpace(
                parameters=(WindowParts(parts=2), IntRange(name="freeze_depth", low=0, high="num_blocks"))
            ),
            ["tune_window cannot be searched beside freeze_depth", "{base: ..., freeze_depth: null}"],
        ),
        (lambda: SearchSpace(parameters=()), ["must have at least one parameter"]),
        (
            lambda: SearchSpace(parameters=(FloatRange(name="learning_rat", low=0.0, high=1.0),)),
            ["did you mean 'learning_rate'?"],
        ),
    ],
)
def test_impossible_values_are_refused(make: Any, rules: list[str]) -> None:
    with pytest.raises(InvalidSpace) as caught:
        make()
    for rule in rules:
        assert rule in str(caught.value)
