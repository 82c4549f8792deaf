"""Studies on a real Ray: what searches sees no test score, and what goes wrong goes wrong alone."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from quick_worker import QuickWorker
from ray.tune.experiment import Trial
from sabotage import KILLED, RAISES_AT_ITS_START, RAISES_IN_AN_EPOCH, SabotagedWorker
from twin import made_up_facts, small_config

from orchestrator.cluster.connection import connect, slots
from orchestrator.config import SweepConfig
from orchestrator.errors import EnvironmentUnusable
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan
from orchestrator.recorder import Recorder
from orchestrator.searching.scheduling import StudyScheduler
from orchestrator.searching.searcher import StudySearcher
from orchestrator.sweep import run_studies
from trainables.probe_group import MIN_TOGETHER

pytestmark = pytest.mark.slow

TINY, TINY_BLOCKS = "timm/test_resnet@random", 7  # what is trained is not what these tests are about


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """Its own Ray; sockets want a short path."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        try:
            with connect(None):
                yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Seen:
    """Every result that reached what searches and what schedules, as they got it."""

    results: list[Mapping[str, Any]] = field(default_factory=list)
    scheduled: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def workers(self) -> dict[tuple[str, int], int]:
        """Process of each run that reported."""
        return {(r["config/study"], r["config/number"]): r["worker_pid"] for r in self.results}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    noted = Seen()

    class SpyingSearcher(StudySearcher):
        def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
            noted.results.append(dict(result))
            super().on_trial_result(trial_id, result)

        def on_trial_complete(
            self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
        ) -> None:
            if result is not None:
                noted.results.append(dict(result))
            super().on_trial_complete(trial_id, result, error)

    class SpyingScheduler(StudyScheduler):
        def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
            noted.scheduled.append(dict(result))
            return super().on_trial_result(tune_controller, trial, result)

        def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
            noted.scheduled.append(dict(result))
            super().on_trial_complete(tune_controller, trial, result)

    monkeypatch.setattr("orchestrator.searching.searcher.StudySearcher", SpyingSearcher)
    monkeypatch.setattr("orchestrator.searching.scheduling.StudyScheduler", SpyingScheduler)
    return noted


def run(config: SweepConfig, storage: Path, worker: type | None) -> SweepFolder:
    folder = SweepFolder.create(storage, config.name, "")
    planned = plan(config)
    facts = made_up_facts(planned, *([TINY_BLOCKS] if TINY in config.backbones else []))
    recorder = Recorder(folder, [])
    run_studies(config, planned, folder, facts, num_slots=slots(config.resources), recorder=recorder, worker=worker)
    return folder


def test_what_goes_wrong_goes_wrong_alone(tmp_path: Path, seen: Seen, capfd: pytest.CaptureFixture[str]) -> None:
    """And no result that searches, schedules or is chosen from holds a test score. Real training."""
    config = small_config(
        backbones=[TINY],
        space={"base": "default", "head_learning_rate": {"choice": [0.01, 1e30]}},
        budget={"trials": 9, "random_trials": 9, "max_epochs": 2},
    )
    folder = run(config, tmp_path, SabotagedWorker)
    out, err = capfd.readouterr()
    assert err == "", "failures are told by the board, and not by Tune"
    assert out == "" or "A worker died or was killed" in out, "Ray's own, which `conduct` keeps off stdout"
    rows = {row["number"]: row for row in folder.trials.read().to_pylist()}
    assert sorted(rows) == list(range(11))

    # The killed one had reported an epoch, and nobody else's results suffered.
    sabotaged = {KILLED, RAISES_IN_AN_EPOCH, RAISES_AT_ITS_START}
    assert {rows[number]["state"] for number in sabotaged} == {"failed"}
    assert rows[RAISES_IN_AN_EPOCH]["error"] == "RuntimeError: no luck"
    assert rows[RAISES_AT_ITS_START]["error"] == "MemoryError: no room"
    assert rows[KILLED]["epochs"] == 1
    assert "ended without a word" in rows[KILLED]["error"]
    diverged = {n for n, row in rows.items() if row["head_learning_rate"] > 1} - sabotaged
    assert diverged
    assert all(rows[n]["error"].startswith("diverged: ") for n in diverged)
    healthy = set(rows) - sabotaged - diverged
    assert {rows[number]["state"] for number in healthy} == {"completed"}
    assert Counter(row["phase"] for row in rows.values()) == {"random": 9, "confirmation": 2}

    ledger = JournalStorage(JournalFileBackend(str(folder.ledger_file)))
    [name] = optuna.get_all_study_names(ledger)
    states = [trial.state for trial in optuna.load_study(study_name=name, storage=ledger).trials]
    assert states == [TrialState.COMPLETE if n in healthy else TrialState.FAIL for n in range(9)]

    # A diverged trial leaves its worker warm: the same process takes a later trial. New workers come for
    # those that died, and for those that Tune ends while all wait for the last trial before confirmations.
    workers = {number: pid for (_, number), pid in seen.workers.items()}
    assert any(workers[late] == workers[early] for early in diverged for late in workers if late > early)
    assert len(set(workers.values())) < 2 * slots(config.resources) + len(sabotaged)

    # What searches and schedules saw: what they themselves asked for, and nothing that was measured.
    asked = {"config/test_file", "config/task/num_test", "config/task/test_data"}
    assert seen.results
    assert seen.scheduled
    for result in (*seen.results, *seen.scheduled):
        assert {key for key in result if "test" in key.lower()} == asked
    assert len(folder.tests.read()) == len(healthy), "while they were measured all along"


def test_studies_share_workers_but_no_rungs(tmp_path: Path, seen: Seen) -> None:
    config = small_config(budget={"trials": 8, "random_trials": 2, "max_epochs": 3})
    folder = run(config, tmp_path, QuickWorker)
    rows = folder.trials.read().to_pylist()
    states = {
        study: [row["state"] for row in rows if row["study"] == study and row["phase"] != "confirmation"]
        for study in {row["study"] for row in rows}
    }
    good, bad = (states[study.key] for study in plan(config).studies)
    assert len(good) == len(bad) == 8
    assert Counter(good)["completed"] >= 2
    assert Counter(bad)["completed"] >= 2, "judged by its own study"
    assert {row["state"] for row in rows if row["phase"] != "tpe"} == {"completed"}
    # Handed out in turn; the few workers served both studies.
    by_worker: dict[int, set[str]] = {}
    for (study, _), pid in seen.workers.items():
        by_worker.setdefault(pid, set()).add(study)
    assert len(by_worker) < len(rows) / 3
    assert any(len(studies) == 2 for studies in by_worker.values())
    assert len({path.name for path in (folder.path / "tune").iterdir() if path.is_dir()}) == len(rows)


@pytest.mark.parametrize("table", ["epochs", "trials"])
def test_a_full_disk_ends_the_sweep_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    from orchestrator.records import AppendOnlyTable

    append = AppendOnlyTable.append

    def full(self: AppendOnlyTable, row: Mapping[str, Any]) -> None:
        if self.path.stem == table and row["number"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, row)

    monkeypatch.setattr(AppendOnlyTable, "append", full)
    begin = time.perf_counter()
    with pytest.raises(EnvironmentUnusable, match="must be writable: No space left on device"):
        run(small_config(), tmp_path, QuickWorker)
    assert time.perf_counter() - begin < 30, "it neither waits for the lost run nor goes on"
    monkeypatch.undo()
    [folder] = tmp_path.glob("small-*")
    trials, _, tests = SweepFolder(folder).tables()
    assert 1 <= len(trials) <= 6, "what had ended stays readable"
    assert len(tests) <= len(trials)


def test_probes_trained_together_give_the_sweep_of_probes_trained_alone(tmp_path: Path) -> None:
    """Real training. Without the cache nothing is shared and nothing is trained together."""
    found = {}
    for cache in ("auto", "off"):
        config = small_config(
            backbones=[TINY],
            space={"base": "default", "freeze_depth": {"choice": [TINY_BLOCKS, TINY_BLOCKS - 1]}},
            budget={"trials": 16, "random_trials": 16, "max_epochs": 2},
            resources={"max_concurrent": 1},
            execution={"activation_cache": cache},
        )
        folder = run(config, tmp_path / cache, None)
        found[cache] = sorted(folder.trials.read().to_pylist(), key=lambda row: row["number"])
    together, alone = found["auto"], found["off"]
    probes = [row for row in alone if row["phase"] == "random" and row["freeze_depth"] == TINY_BLOCKS]
    assert len(probes) >= MIN_TOGETHER
    assert {row["num_params_trainable"] for row in probes} == {10 * (96 + 1)}, "the head alone"
    assert len(together) == len(alone) == 18
    for row, expected in zip(together, alone, strict=True):
        for name in ("config", "state", "best_epoch", "epochs"):
            assert row[name] == expected[name], name
        assert row["val_score"] == pytest.approx(expected["val_score"], abs=1e-6)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)
