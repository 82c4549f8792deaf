"""One study on a real journal: what it draws, what it tells Optuna, and what it confirms."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from twin import NUM_BLOCKS, Twin, small_config

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan
from orchestrator.ranking import choose
from orchestrator.ranking.study import InvalidTable
from orchestrator.records import TRIALS
from orchestrator.searching.study import Study
from orchestrator.workers.request import RunRequest


def good(request: RunRequest, epoch: int) -> float:
    """A score that depends on the configuration alone, and on the epoch."""
    return round(0.9 - 0.02 * abs(request.config.freeze_depth - 12) - 0.1 / epoch, 6)


def in_memory(config: SweepConfig, folder: Path) -> list[Study]:
    """The sweep's studies, for suggestions that nobody runs."""
    return [
        Study(
            study,
            index=index,
            num_blocks=NUM_BLOCKS,
            config=config,
            folder=SweepFolder(folder),
            storage=InMemoryStorage(),
            trials=TRIALS.empty_table,
        )
        for index, study in enumerate(plan(config).studies)
    ]


def sampled(request: RunRequest) -> dict[str, Any]:
    config = request.config
    names = ("freeze_depth", "learning_rate", "head_learning_rate", "weight_decay", "layer_decay")
    return {name: getattr(config, name) for name in names}


def draws(study: Study, num: int) -> list[RunRequest]:
    requests = [study.next() for _ in range(num)]
    assert all(requests)
    return [request for request in requests if request is not None]


def test_the_random_slice_is_the_same_in_every_study_of_a_seed(tmp_path: Path) -> None:
    config = small_config(budget__trials=6, budget__random_trials=6)
    first, second = (draws(study, 6) for study in in_memory(config, tmp_path))
    assert [sampled(r) for r in first] == [sampled(r) for r in second]
    assert [r.config.seed for r in first] == [r.config.seed for r in second]
    assert {r.config.backbone for r in first} != {r.config.backbone for r in second}
    other = draws(in_memory(small_config(budget__trials=6, budget__random_trials=6, seed=1), tmp_path)[0], 6)
    assert [sampled(r) for r in other] != [sampled(r) for r in first]


def test_how_a_run_is_computed_travels_with_it(tmp_path: Path) -> None:
    config = small_config(execution={"activation_cache": "always", "micro_batch_size": 8})
    for request in draws(in_memory(config, tmp_path)[0], 2):
        assert request.execution == config.execution
        assert RunRequest.from_tune(request.to_tune()) == request


def test_the_random_slice_of_a_larger_budget_begins_with_that_of_a_smaller(tmp_path: Path) -> None:
    few, many = (
        draws(in_memory(small_config(budget__trials=n, budget__random_trials=n), tmp_path)[0], 3) for n in (3, 9)
    )
    assert [sampled(r) for r in few] == [sampled(r) for r in many]


def test_random_draws_are_independent(tmp_path: Path) -> None:
    """Neither within a sweep nor between sweeps of neighbouring seeds."""
    drawn = np.empty((300, 4, 2))
    for seed in range(300):
        config = small_config(budget__trials=4, budget__random_trials=4, seed=seed)
        for number, request in enumerate(draws(in_memory(config, tmp_path)[0], 4)):
            drawn[seed, number] = request.config.freeze_depth, math.log(request.config.head_learning_rate)
    limit = 4 / math.sqrt(300)  # four standard errors of a correlation that is zero
    for column in range(2):
        for one, other in itertools.combinations(range(4), 2):
            within = np.corrcoef(drawn[:, one, column], drawn[:, other, column])[0, 1]
            assert abs(within) < limit, (column, one, other)
        for one, other in itertools.permutations(range(4), 2):
            along = np.corrcoef(drawn[:-1, one, column], drawn[1:, other, column])[0, 1]
            assert abs(along) < limit, "the next seed repeats this one's draws"
    depths = Counter(int(depth) for depth in drawn[:, :, 0].ravel())
    assert set(depths) == set(range(NUM_BLOCKS + 1))
    assert max(depths.values()) < 2.5 * min(depths.values())


def test_the_same_history_leads_to_the_same_suggestions(tmp_path: Path) -> None:
    config = small_config(budget__trials=8, budget__random_trials=3)
    one, two = (Twin(config, tmp_path / name) for name in ("one", "two"))
    runs = [twin.run(good) for twin in (one, two)]
    assert [r.config for r in runs[0]] == [r.config for r in runs[1]]
    assert [r.config for r in one.run(good)] == [r.config for r in runs[0]], "a finished sweep has no more"


def test_optuna_is_told_the_truth(tmp_path: Path) -> None:
    def outcome(request: RunRequest, epoch: int) -> float | str:
        fate = {0: "die", 1: "diverge", 2: "stop"}.get(request.number)
        return fate if fate and request.phase != "confirmation" else good(request, epoch)

    config = small_config(budget__trials=5, budget__random_trials=2)
    twin = Twin(config, tmp_path)
    twin.run(outcome)
    for study in twin.studies:
        trials = optuna.load_study(study_name=study.key, storage=twin.ledger).trials
        assert [t.state for t in trials] == [
            TrialState.FAIL,
            TrialState.FAIL,
            TrialState.PRUNED,
            TrialState.COMPLETE,
            TrialState.COMPLETE,
        ]
        assert [t.value for t in trials[:2]] == [None, None]
        assert trials[2].intermediate_values == {1: 0.2}
        for trial in trials:
            told = [*trial.intermediate_values.values(), *([] if trial.value is None else [trial.value])]
            assert all(math.isfinite(value) for value in told)
            run = json.loads(trial.user_attrs["run"])
            assert (run["number"], run["config"]["backbone"]) == (trial.number, study.plan.backbone.name)
            assert trial.params.items() <= run["config"].items()
        rows = {row["number"]: row for row in twin.folder.trials.read().to_pylist() if row["study"] == study.key}
        assert [rows[t.number]["val_score"] for t in trials[3:]] == [t.value for t in trials[3:]]


def test_the_configuration_is_on_disk_before_the_run_is_handed_out(tmp_path: Path) -> None:
    twin = Twin(small_config(), tmp_path)
    request = twin.suggest()
    assert isinstance(request, RunRequest)
    [trial] = optuna.load_study(study_name=request.study, storage=twin.ledger).trials
    assert trial.state == TrialState.RUNNING
    assert json.loads(trial.user_attrs["run"])["config"]["seed"] == request.config.seed


@pytest.mark.parametrize("slots", [1, 3, 7])
def test_the_budget_is_spent_exactly_and_confirmations_come_last(tmp_path: Path, slots: int) -> None:
    config = small_config(budget__trials=5, confirmation__seeds=3)
    twin = Twin(config, tmp_path)
    events: list[tuple[str, str, int]] = []

    class Notes:
        def run_started(self, run: Any) -> None:
            events.append(("start", run["study"], run["number"]))

        def epoch(self, row: Any) -> None:
            pass

        def run_finished(self, trial: Any, test: Any, evaluated: Any) -> None:
            events.append(("end", trial["study"], trial["number"]))

    twin.recorder._listeners = (Notes(),)
    requests = twin.run(good, slots=slots)
    for study in twin.studies:
        mine = [r for r in requests if r.study == study.key]
        assert [r.number for r in mine] == list(range(8))
        assert [r.phase for r in mine] == ["random"] * 2 + ["tpe"] * 3 + ["confirmation"] * 3
        first_confirmation = events.index(("start", study.key, 5))
        assert all(events.index(("end", study.key, n)) < first_confirmation for n in range(5))
        assert study.is_exhausted
    assert len(requests) == 16
    assert len({r.test_file for r in requests}) == 16


def test_confirmations_repeat_the_chosen_configuration_with_fresh_seeds(tmp_path: Path) -> None:
    config = small_config(budget__trials=6, confirmation__seeds=3)
    twin = Twin(config, tmp_path)
    requests = twin.run(good)
    searched = {r.config.seed for r in requests if r.phase != "confirmation"}
    seeds = {}
    for study in twin.studies:
        mine = [r for r in requests if r.study == study.key]
        rows = [row for row in twin.folder.trials.read().to_pylist() if row["study"] == study.key]
        table = pa.Table.from_pylist([row for row in rows if row["phase"] != "confirmation"], TRIALS)
        chosen = mine[choose(table)]
        confirmations = [r for r in mine if r.phase == "confirmation"]
        assert [sampled(r) for r in confirmations] == [sampled(chosen)] * 3
        assert {r.config.max_epochs for r in confirmations} == {2}
        seeds[study.key] = [r.config.seed for r in confirmations]
        assert len(set(seeds[study.key])) == 3
        assert not searched & set(seeds[study.key])
    assert len({tuple(s) for s in seeds.values()}) == 1, "every study is confirmed with the same seeds"


def test_the_chosen_configuration_is_trained_on_fewer_samples_with_the_same_seeds(tmp_path: Path) -> None:
    config = small_config(confirmation__seeds=2, confirmation__train_fracs=[0.1, 0.3], evaluation={"num_attacked": 3})
    twin = Twin(config, tmp_path)
    assert twin.plan.runs == 2 * (4 + 2 + 4)
    requests = twin.run(good, slots=3)
    assert len(requests) == twin.plan.runs
    rows = {(row["study"], row["number"]): row for row in twin.folder.trials.read().to_pylist()}
    for study in twin.studies:
        *searched, first, second, a, b, c, d = sorted((r for r in requests if r.study == study.key), key=_number)
        assert [r.number for r in searched] == [0, 1, 2, 3]
        assert [(r.number, r.phase, r.train_frac) for r in (first, second, a, b, c, d)] == [
            (4, "confirmation", 1.0),
            (5, "confirmation", 1.0),
            *((6, "reduced", 0.1), (7, "reduced", 0.1)),
            *((8, "reduced", 0.3), (9, "reduced", 0.3)),
        ]
        assert a.config == c.config == first.config
        assert b.config == d.config == second.config
        assert [r.evaluation for r in (first, second)] == [config.evaluation] * 2
        assert not any(r.evaluation for r in (*searched, a, b, c, d)), "confirmations alone are evaluated"
        assert {r.train_frac for r in searched} == {1.0}
        for request in (first, a, d):
            row = rows[study.key, request.number]
            assert (row["phase"], row["train_frac"]) == (request.phase, request.train_frac)
            assert RunRequest.from_tune(request.to_tune()) == request
        assert study.is_exhausted


def _number(request: RunRequest) -> int:
    return request.number


def test_no_confirmations_where_nothing_completed(tmp_path: Path) -> None:
    def outcome(request: RunRequest, epoch: int) -> float | str:
        if request.config.backbone.endswith("@random"):
            return ("die", "diverge", "stop", "die")[request.number]
        return good(request, epoch)

    twin = Twin(small_config(), tmp_path)
    phases = Counter((r.config.backbone, r.phase) for r in twin.run(outcome))
    assert phases["timm/tf_efficientnet_lite0@random", "confirmation"] == 0
    assert phases["timm/tf_efficientnet_lite0@pypi", "confirmation"] == 2


def test_choosing_refuses_a_test_score(tmp_path: Path) -> None:
    twin = Twin(small_config(), tmp_path)
    twin.run(good)
    trials = twin.folder.trials.read()
    mine = trials.filter(pa.array([study == twin.studies[0].key for study in trials["study"].to_pylist()]))
    assert choose(mine) >= 0
    for name in ("test_score", "test_accuracy", "correct"):
        with pytest.raises(InvalidTable, match=name):
            choose(mine.append_column(name, pa.array([0.5] * len(mine))))


def test_a_learning_rate_that_the_ranking_cannot_take_is_refused_before_anything_is_trained() -> None:
    for where in ("learning_rate", "head_learning_rate"):
        with pytest.raises(ConfigError, match=f"finetune.{where} .*must be > 0"):
            small_config(space={"base": "default", where: None}, finetune={"batch_size": 40, where: 0})
        with pytest.raises(ConfigError, match="must be > 0"):
            small_config(space={"base": "default", where: {"choice": [0, 0.1]}})


def test_a_running_trial_told_again_or_unknown_changes_nothing(tmp_path: Path) -> None:
    twin = Twin(small_config(), tmp_path)
    twin.suggest()
    study = twin.studies[0]
    study.report(99, 1, 0.5)
    study.report(0, 1, 0.5)
    study.report(0, 1, 0.6)
    [trial] = optuna.load_study(study_name=study.key, storage=twin.ledger).trials
    assert trial.intermediate_values == {1: 0.5}
