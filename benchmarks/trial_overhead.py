"""What a trial costs that trains nothing: everything the orchestration adds to a user's training time.

Three ways in one run: this project with warm workers, this project with a new worker per trial, and a plain
Ray Tune script with Optuna as its documentation writes it (function trainable, OptunaSearch).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.empty_trial import BACKBONES, EmptyWorker, empty_config, empty_facts
from benchmarks.machine import machine
from orchestrator.cluster.connection import connect, slots
from orchestrator.config import resolved_yaml
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan
from orchestrator.recorder import Recorder
from orchestrator.sweep import run_studies

__all__ = ["main"]


class _Clock:
    """When each run started and ended."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}
        self.ended: dict[int, float] = {}

    def run_started(self, run: Any) -> None:
        self.started[run["number"]] = time.perf_counter()

    def epoch(self, row: Any) -> None:
        """Not timed."""

    def run_finished(self, trial: Any, test: Any, evaluated: Any) -> None:
        assert trial["state"] == "completed", trial["error"]
        self.ended[trial["number"]] = time.perf_counter()


def _ours(trials: int, *, reuse_actors: bool, sleep_s: float = 0.0) -> dict[str, float]:
    """Milliseconds per trial, first trials (which wait for worker processes) left out; and busy slots."""
    config = empty_config(backbones=BACKBONES[:1], trials=trials, random_trials=trials)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as storage:
        folder = SweepFolder.create(Path(storage), "overhead", resolved_yaml(config))
        planned = plan(config)
        num_slots = slots(config.resources)
        run_studies(
            config,
            planned,
            folder,
            empty_facts(planned),
            num_slots=num_slots,
            recorder=Recorder(folder, [clock]),
            worker=type("TimedWorker", (EmptyWorker,), {"sleep_s": sleep_s}),
            reuse_actors=reuse_actors,
        )
    ends = sorted(clock.ended.values())
    warm = ends[num_slots - 1 : trials]  # without the confirmation, which waits for every trial
    wall = warm[-1] - warm[0]
    return {
        "ms_per_trial": 1000 * wall / (len(warm) - 1),
        "busy_slots": sleep_s * (len(warm) - 1) / wall,
        "num_slots": num_slots,
    }


def _plain(trials: int) -> dict[str, float]:
    """The same trials through Tune's own OptunaSearch and a function trainable."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ends: list[float] = []

    class Ends(tune.Callback):  # type: ignore[misc]  # ray ships no types
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"score": 0.5})

    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(nothing, {"cpu": 1}),
            param_space={"learning_rate": tune.loguniform(1e-5, 1e-1), "depth": tune.randint(0, 19)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=OptunaSearch(),
                num_samples=trials,
                max_concurrent_trials=2,
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0, callbacks=[Ends()]),
        ).fit()
    return {"ms_per_trial": 1000 * (ends[-1] - ends[1]) / (len(ends) - 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60, help="with warm workers; a quarter with new ones")
    trials = parser.parse_args().trials
    result: dict[str, Any] = {"machine": machine(), "trials": trials}
    with connect(None):
        result["warm_workers"] = _ours(trials, reuse_actors=True)
        result["warm_workers_1s_trials"] = _ours(max(12, trials // 5), reuse_actors=True, sleep_s=1.0)
        result["new_workers"] = _ours(max(6, trials // 4), reuse_actors=False)
        result["plain_tune"] = _plain(max(6, trials // 4))
    warm = result["warm_workers"]["ms_per_trial"]
    result["new_over_warm"] = result["new_workers"]["ms_per_trial"] / warm
    result["plain_over_warm"] = result["plain_tune"]["ms_per_trial"] / warm
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
