"""A driver that is killed after any write, and the one that goes on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twin import Twin, small_config

from orchestrator.config import SweepConfig
from orchestrator.errors import EnvironmentUnusable
from orchestrator.recorder import RESUMED
from orchestrator.workers.request import RunRequest

QUIET: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.explicit, Phase.generate],  # shrinking would run hundreds of sweeps
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


class Killed(BaseException):
    """What no handler catches, as a SIGKILL."""


@contextmanager
def killed_after(num_writes: int) -> Iterator[list[int]]:
    """The process ends once so much more has reached the disk. Yields the count of writes so far."""
    count, fsync = [0], os.fsync

    def write(descriptor: int) -> None:
        fsync(descriptor)
        count[0] += 1
        if count[0] == num_writes:
            raise Killed

    os.fsync = write
    try:
        yield count
    except Killed:
        pass
    finally:
        os.fsync = fsync


def good(request: RunRequest, epoch: int) -> float:
    """A score that depends on the configuration alone, and on the epoch."""
    return round(0.9 - 0.02 * abs(request.config.freeze_depth - 12) - 0.1 / epoch, 6)


def eventful(request: RunRequest, epoch: int) -> float | str:
    """Some runs are stopped, diverge or die."""
    if request.phase in ("random", "tpe", "thompson"):
        if request.number == 1 and epoch == 2:
            return "stop"
        if request.number == 2:
            return "diverge"
        if request.number == 3 and epoch == 2 and request.attempt == 1:
            return "die"
    return good(request, epoch)


def several(budget: dict[str, Any] | None = None, **changes: Any) -> SweepConfig:
    return small_config(
        budget={"trials": 6, "random_trials": 3, "max_epochs": 3, **(budget or {})},
        confirmation={"seeds": 2, "train_fracs": [0.5]},
        resources={"max_retries": 2},
        **changes,
    )


def rows(twin: Twin) -> dict[tuple[str, int], tuple[Any, ...]]:
    """What a sweep found, by run, without what tells the time or who did it."""
    return {
        (row["study"], row["number"]): (
            row["phase"],
            row["state"],
            row["error"],
            json.loads(row["config"]),
            row["train_frac"],
            row["epochs"],
            row["best_epoch"],
            row["val_score"],
            row["num_params"],
            row["train_s"],
        )
        for row in twin.folder.trials.read().to_pylist()
    }


def require_exactly_once(twin: Twin) -> None:
    """Nothing is lost, and nothing is there twice."""
    folder = twin.folder
    trials, tests = folder.trials.read().to_pylist(), folder.tests.read().to_pylist()
    for table in (trials, tests):
        assert set(Counter((row["study"], row["number"]) for row in table).values()) == {1}
    assert {(t["study"], t["number"]) for t in tests} == {
        (t["study"], t["number"]) for t in trials if t["state"] == "completed"
    }
    epochs = [(row["study"], row["number"], row["epoch"]) for row in folder.epochs.read().to_pylist()]
    assert len(epochs) == len(set(epochs))
    for trial in trials:
        mine = sorted(epoch for study, number, epoch in epochs if (study, number) == (trial["study"], trial["number"]))
        assert mine == list(range(1, trial["epochs"] + 1))
    for study in twin.studies:
        ledger = optuna.load_study(study_name=study.key, storage=twin.ledger).trials
        assert all(trial.state.is_finished() for trial in ledger)
        assert len(ledger) == study.num_suggested


def finished(config: SweepConfig, storage: Path, writes: list[int], slots: int) -> tuple[Twin, list[RunRequest]]:
    """A sweep whose drivers are killed after so many writes each, and the last one is not."""
    twin: Twin | None = None
    handed: list[RunRequest] = []
    for limit in writes:
        before = twin
        with killed_after(limit):
            twin = twin.resumed() if twin else Twin(config, storage, halving=True)
            twin.run(eventful, slots=slots)
        if twin is not None and twin is not before:
            handed += twin.requests.values()
    last = twin.resumed() if twin else Twin(config, storage / "again", halving=True)
    last.run(eventful, slots=slots)
    return last, handed + list(last.requests.values())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Twin, int]:
    with killed_after(0) as count:
        twin = Twin(several(), tmp_path_factory.mktemp("whole"), halving=True)
        twin.run(eventful, slots=1)
    require_exactly_once(twin)
    return twin, count[0]


@settings(max_examples=12, **QUIET)
@given(data=st.data())
def test_a_killed_sweep_ends_as_if_it_had_not_been(
    uninterrupted: tuple[Twin, int], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole, num_writes = uninterrupted
    writes = data.draw(st.lists(st.integers(2, num_writes), min_size=1, max_size=3))
    last, handed = finished(several(), tmp_path_factory.mktemp("killed"), writes, slots=1)
    require_exactly_once(last)
    assert rows(last) == rows(whole)
    # A test file is of one attempt: who is taken for dead and lives cannot overwrite what counts.
    assert len({request.test_file for request in handed}) == len(handed)


@settings(max_examples=6, **QUIET)
@given(data=st.data())
def test_of_several_at_a_time_nothing_is_lost_either(
    uninterrupted: tuple[Twin, int], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    writes = data.draw(st.lists(st.integers(2, uninterrupted[1]), min_size=1, max_size=3))
    last, _ = finished(several(), tmp_path_factory.mktemp("killed"), writes, slots=3)
    require_exactly_once(last)
    planned = {(study.key, number) for study in last.plan.studies for number in range(study.runs)}
    assert rows(last).keys() == planned


def test_a_race_goes_on_where_it_stood(tmp_path: Path) -> None:
    config = several(budget={"allocation": "race"})
    whole = Twin(config, tmp_path / "whole", halving=True)
    whole.run(eventful, slots=1)
    last, _ = finished(config, tmp_path / "killed", [40, 55], slots=1)
    require_exactly_once(last)
    assert rows(last) == rows(whole)


def test_epochs_that_a_worker_could_not_tell_are_not_trained_again(tmp_path: Path) -> None:
    trained: Counter[tuple[str, int, int]] = Counter()

    def counted(request: RunRequest, epoch: int) -> float:
        trained[request.study, request.number, epoch] += 1
        return good(request, epoch)

    twin = Twin(several(), tmp_path)
    twin.suggest()
    with killed_after(1):
        twin.advance("t0", counted)  # it is kept, and the driver is gone before it has heard of it
    again = twin.resumed()
    request = again.suggest()
    assert isinstance(request, RunRequest)
    assert (request.number, request.attempt, request.num_known_epochs) == (0, 2, 1)
    again.advance("t0", counted)
    assert set(trained.values()) == {1}
    attempts = again.folder.attempts.read().to_pylist()
    assert [(row["attempt"], row["cause"]) for row in attempts] == [(1, None), (2, RESUMED)]


def test_a_run_breaks_only_so_often_without_getting_on(tmp_path: Path) -> None:
    """Twice after epoch 1 and once after epoch 2: no more than two in a row, so it is tried to its end."""
    deaths = iter([(0, 2), (0, 2), (0, 3)])
    due = next(deaths)

    def unlucky(request: RunRequest, epoch: int) -> float | str:
        nonlocal due
        if (request.number, epoch) == due and request.study.endswith("@pypi"):
            due = next(deaths, (-1, -1))
            return "die"
        return good(request, epoch) if request.number != 1 or epoch < 2 else "die"

    twin = Twin(several(), tmp_path)
    twin.run(unlucky, slots=1)
    found = {(row["study"], row["number"]): row for row in twin.folder.trials.read().to_pylist()}
    lucky = found["digits:timm/tf_efficientnet_lite0@pypi", 0]
    assert (lucky["state"], lucky["epochs"], lucky["num_attempts"]) == ("completed", 3, 4)
    broken = found["digits:timm/tf_efficientnet_lite0@pypi", 1]
    assert (broken["state"], broken["epochs"], broken["num_attempts"]) == ("failed", 1, 3)
    assert broken["error"] == "the worker process ended without a word: killed, or out of memory"


def test_more_trials_go_on_as_if_they_had_been_asked_for_at_once(tmp_path: Path) -> None:
    """One study, so that the order in which studies take turns is the same."""
    one = {"backbones": ["timm/tf_efficientnet_lite0"]}
    whole = Twin(several(**one), tmp_path / "whole")
    whole.run(eventful, slots=1)
    small = Twin(several(budget={"trials": 4}, **one), tmp_path / "less")
    small.run(eventful, slots=1)
    larger = small.resumed(config=several(**one))
    larger.run(eventful, slots=1)
    require_exactly_once(larger)

    def searched(twin: Twin) -> list[Any]:
        ended = sorted(rows(twin).items())
        return [found[3:9] for _, found in ended if found[0] in ("random", "tpe")]

    assert len(searched(larger)) == 6
    assert [found[0] for found in searched(larger)] == [found[0] for found in searched(whole)]


def test_of_a_configuration_that_is_chosen_again_only_what_is_new_is_run(tmp_path: Path) -> None:
    config = small_config(confirmation={"seeds": 2})
    twin = Twin(config, tmp_path)
    twin.run(good, slots=1)
    before = rows(twin)
    larger = twin.resumed(config=small_config(confirmation={"seeds": 3}))
    handed = larger.run(good, slots=1)
    assert [(request.phase, request.number) for request in handed] == [("confirmation", 6)] * 2
    assert {key: row for key, row in rows(larger).items() if key in before} == before
    again = larger.resumed(config=larger.config)
    assert again.run(good) == []


def test_a_ledger_that_lost_runs_is_refused(tmp_path: Path) -> None:
    twin = Twin(several(), tmp_path)
    twin.run(good, slots=1)
    ledger = twin.folder.ledger_file
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[: len(lines) // 3]))
    kept = ledger.read_bytes()
    with pytest.raises(EnvironmentUnusable, match=r"lacks \d+ of .*put back a copy"):
        twin.resumed()
    assert ledger.read_bytes() == kept


def test_a_damaged_or_missing_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    twin = Twin(several(), tmp_path)
    twin.run(good, most=3)
    ledger = twin.folder.ledger_file
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[4] = b"\x00\x01 nonsense\n"
    ledger.write_bytes(b"".join(lines))
    with pytest.raises(EnvironmentUnusable, match="is damaged, line 5"):
        twin.resumed()
    assert ledger.read_bytes() == b"".join(lines)
    ledger.unlink()
    with pytest.raises(EnvironmentUnusable, match="is missing"):
        twin.resumed()
    assert not ledger.exists()


def test_half_a_line_and_a_lock_of_a_killed_driver_are_no_hindrance(tmp_path: Path) -> None:
    twin = Twin(several(), tmp_path)
    twin.run(good, most=3, slots=1)
    ledger = twin.folder.ledger_file
    with ledger.open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    ledger.with_name(f"{ledger.name}.lock").symlink_to(ledger)
    last = twin.resumed()
    last.run(good, slots=1)
    require_exactly_once(last)
