"""What a trial costs the driver as trials pile up: seconds and memory of 100, 1,000 and 10,000 empty trials.

One sweep of four studies (random draws, then TPE, ASHA rungs, records, a board without a terminal) over
simulated nodes of one machine, and plain Ray Tune beside it in the same run, as favourable to it as its
documentation knows: class trainable, warm workers, `OptunaSearch`, ASHA. Every case runs in a process of its
own, on a Ray of its own. First and last tenth of a case compare what a trial costs at its two ends.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.empty_trial import BACKBONES, NUM_BLOCKS, EmptyWorker, empty_config, empty_facts, made_up_score
from benchmarks.machine import machine

__all__ = ["main"]

SEED: Final = 0
CASES: Final = ("ours", "ours_mlflow", "plain")


class _Gauge:
    """Wall clock, CPU time and memory of the driver at the end of every trial. A `Listener`."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots = num_slots
        self._ends: list[tuple[float, float, float]] = []
        self._peak_mib = 0.0

    def run_started(self, run: Any) -> None:
        """Not measured."""

    def epoch(self, row: Any) -> None:
        """Not measured."""

    def run_finished(self, trial: Any, test: Any, evaluated: Any) -> None:
        assert trial["state"] == "completed", trial["error"]
        if trial["phase"] != "confirmation":  # these wait for every trial of their study
            self.end()

    def end(self) -> None:
        self._ends.append((time.perf_counter(), time.process_time(), _resident_mib()))

    def summary(self) -> dict[str, Any]:
        """Without the first trials of each slot, which wait for worker processes, and without the last ones,
        among which studies choose what to confirm: that is done once per study, not per trial."""
        warm = self._ends[self._num_slots : -self._num_slots]
        tenth = max(len(warm) // 10, 2)
        first, last = _per_trial(warm[:tenth]), _per_trial(warm[-tenth:])
        every = max(len(warm) // 10, 1)
        return {
            **_per_trial(warm),
            "first_tenth": first,
            "last_tenth": last,
            "cpu_last_over_first": last["cpu_ms"] / first["cpu_ms"],
            "driver_mib": [round(mib) for _, _, mib in [*warm[::every], warm[-1]]],
            "driver_mib_at_the_end": round(_resident_mib()),
            "kib_per_trial": 1024 * (warm[-1][2] - warm[0][2]) / len(warm),
        }


def _per_trial(ends: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    trials = len(ends) - 1
    return {
        "wall_ms": 1000 * (ends[-1][0] - ends[0][0]) / trials,
        "cpu_ms": 1000 * (ends[-1][1] - ends[0][1]) / trials,
    }


def _resident_mib() -> float:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def _simulated_nodes(num_nodes: int, cpus: int) -> Iterator[None]:
    """A Ray of several nodes on this machine, joined; the CPUs are Ray's to count, not there."""
    from orchestrator.cluster.connection import connect

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(num_cpus=cpus)
        cluster.wait_for_nodes()
        with connect(cluster.address, insecure=True):  # of this machine alone
            yield
    finally:
        cluster.shutdown()


def _ours(trials: int, num_slots: int, storage: Path, *, mlflow: bool) -> dict[str, Any]:
    """One sweep of this project; of each study the first ten trials are drawn at random, as by OptunaSearch."""
    from rich.console import Console

    from orchestrator.config import resolved_yaml
    from orchestrator.display.board import make_board
    from orchestrator.folder import SweepFolder
    from orchestrator.planning.plan import plan
    from orchestrator.recorder import Recorder
    from orchestrator.sweep import run_studies

    each = trials // len(BACKBONES)
    config = empty_config(backbones=BACKBONES, trials=each, random_trials=min(10, each // 2), seed=SEED)
    planned = plan(config)
    folder = SweepFolder.create(storage, config.name, resolved_yaml(config))
    gauge = _Gauge(num_slots)
    board = make_board(planned, Console(file=io.StringIO(), width=100), "none")
    tracker = _tracker(folder, planned, storage) if mlflow else None
    begun = time.perf_counter()
    run_studies(
        config,
        planned,
        folder,
        empty_facts(planned),
        num_slots=num_slots,
        recorder=Recorder(folder, [board, gauge, *([tracker] if tracker else [])]),
        worker=EmptyWorker,
    )
    wall_s = time.perf_counter() - begun
    assert folder.trials.read().num_rows == len(planned.studies) * (each + 1), "rows were lost"
    result = {**gauge.summary(), "sweep_s": wall_s}
    if tracker is not None:
        closing = time.perf_counter()
        summary = tracker.close(timeout_s=600, status="FINISHED")
        result["mlflow"] = {
            "complete": summary.complete,
            "runs_written": summary.runs_written,
            "left_at_the_end_s": time.perf_counter() - closing,
        }
    return result


def _tracker(folder: Any, planned: Any, storage: Path) -> Any:
    from orchestrator.tracking import SweepInfo, Tracker

    info = SweepInfo(
        sweep_id=folder.sweep_id,
        name="empty",
        version="0",
        config_yaml="",
        created_at=datetime.now(UTC),
        tasks=tuple(dict.fromkeys(study.task.name for study in planned.studies)),
        backbones=BACKBONES,
    )
    tracker = Tracker(info, f"sqlite:///{storage}/mlflow.db", say=lambda text: print(text, file=sys.stderr))
    tracker.start()
    return tracker


def _plain(trials: int, num_slots: int, storage: Path) -> dict[str, Any]:
    """The same trials through Tune's own OptunaSearch: one study with the backbone as a parameter."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    gauge = _Gauge(num_slots)

    class Ends(tune.Callback):  # type: ignore[misc]  # ray ships no types
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            gauge.end()

    class Nothing(tune.Trainable):  # type: ignore[misc]  # ray ships no types
        def setup(self, config: dict[str, Any]) -> None:
            self._score = made_up_score(config["freeze_depth"], config["head_learning_rate"])

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            return {"score": self._score, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing to save."""

    begun = time.perf_counter()
    tune.Tuner(
        tune.with_resources(Nothing, {"cpu": 1}),
        param_space={
            "backbone": tune.choice(BACKBONES),
            "freeze_depth": tune.randint(0, NUM_BLOCKS + 1),
            "learning_rate": tune.loguniform(1e-5, 1e-1),
            "head_learning_rate": tune.loguniform(1e-4, 1e-1),
            "weight_decay": tune.loguniform(1e-5, 1e-1),
        },
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=OptunaSearch(seed=SEED),
            scheduler=ASHAScheduler(max_t=1),
            num_samples=trials,
            max_concurrent_trials=num_slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(storage), verbose=0, callbacks=[Ends()]),
    ).fit()
    return {**gauge.summary(), "sweep_s": time.perf_counter() - begun}


def _run_case(case: str, trials: int, nodes: int, cpus: int) -> dict[str, Any]:
    num_slots = nodes * cpus
    with tempfile.TemporaryDirectory() as storage, _simulated_nodes(nodes, cpus):
        if case == "plain":
            return _plain(trials, num_slots, Path(storage))
        return _ours(trials, num_slots, Path(storage), mlflow=case == "ours_mlflow")


def _in_own_process(case: str, trials: int, nodes: int, cpus: int, limit_s: float) -> dict[str, Any]:
    order = [sys.executable, "-m", __spec__.name, "--case", case, "--trials", str(trials)]
    order += ["--nodes", str(nodes), "--cpus", str(cpus)]
    try:
        done = subprocess.run(order, stdout=subprocess.PIPE, text=True, check=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"not_finished_within_s": limit_s}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000], help="of this project")
    parser.add_argument("--plain", type=int, nargs="*", default=[100, 1000], help="of plain Tune")
    parser.add_argument("--mlflow", type=int, nargs="*", default=[], help="of this project with MLflow on SQLite")
    parser.add_argument("--nodes", type=int, default=4, help="simulated")
    parser.add_argument("--cpus", type=int, default=2, help="of each node, which are as many trials at a time")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds that one case may take")
    parser.add_argument("--case", choices=CASES, help="run this one case in this process")
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(_run_case(chosen.case, chosen.trials[0], chosen.nodes, chosen.cpus)))
        return
    result: dict[str, Any] = {"machine": machine(), "seed": SEED, "nodes": chosen.nodes, "cpus": chosen.cpus}
    for case, sizes in zip(CASES, (chosen.trials, chosen.mlflow, chosen.plain), strict=True):
        result[case] = {
            trials: _in_own_process(case, trials, chosen.nodes, chosen.cpus, chosen.limit) for trials in sizes
        }
        print(json.dumps(result[case], indent=2), file=sys.stderr)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
