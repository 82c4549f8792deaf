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

from benchmarks.machine import machine
from orchestrator.cluster import connect, slots
from orchestrator.config import SweepConfig, resolved_yaml, sweep_from_mapping
from orchestrator.folder import SweepFolder
from orchestrator.plan import plan
from orchestrator.recorder import Recorder
from orchestrator.sweep import StudyFacts, run_studies

__all__ = ["main"]

FACTS = {
    "num_blocks": 18,
    "num_train": 1,
    "num_val": 1,
    "num_test": 8,
    "num_classes": 2,
    "metric": "accuracy",
    "chance": 0.5,
    "digest": "",
    "image_size": 8,
}


def _config(trials: int) -> SweepConfig:
    return sweep_from_mapping(
        {
            "name": "overhead",
            "tasks": [{"name": "nothing", "data": "digits"}],
            "backbones": ["timm/tf_efficientnet_lite0"],
            "budget": {"trials": trials, "random_trials": trials, "max_epochs": 1, "grace_epochs": 1},
            "confirmation": {"seeds": 1},
        }
    )


def _empty_worker(sleep_s: float) -> type[Any]:
    """A worker that reports one epoch of nothing."""
    from orchestrator.worker import FinetuneWorker

    class EmptyWorker(FinetuneWorker):
        def _begin(self, request: Any) -> None:
            self._request = request
            self._started = time.perf_counter()

        def _facts(self) -> dict[str, Any]:
            return {"metric": "accuracy", "num_val": 1, "duration_s": time.perf_counter() - self._started}

        def _epoch(self) -> dict[str, Any]:
            time.sleep(sleep_s)
            self._write_test_row()
            epoch = {"epoch": 1, "step": 1, "train_loss": 0.0, "val_loss": 0.0, "train_s": 0.0, "eval_s": 0.0}
            scores = {"val_accuracy": 0.5, "val_f1_macro": 0.5, "val_score": 0.5, "is_best": True}
            return {**epoch, **scores, **self._facts(), "done": True}

        def _write_test_row(self) -> None:
            row = {
                "study": self._request.study,
                "number": self._request.number,
                "metric": "accuracy",
                "correct": "ff",
            }
            row |= {f"test_{name}": 0.5 for name in ("score", "loss", "accuracy", "f1_macro")}
            row |= {"chance": 0.5, "num_test": 8}
            Path(self._request.test_file).write_text(json.dumps(row), encoding="utf-8")

    return EmptyWorker


class _Clock:
    """When each run started and ended."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}
        self.ended: dict[int, float] = {}

    def run_started(self, run: Any) -> None:
        self.started[run["number"]] = time.perf_counter()

    def epoch(self, row: Any) -> None:
        """Not timed."""

    def run_finished(self, trial: Any, test: Any) -> None:
        assert trial["state"] == "completed", trial["error"]
        self.ended[trial["number"]] = time.perf_counter()


def _ours(trials: int, *, reuse_actors: bool, sleep_s: float = 0.0) -> dict[str, float]:
    """Milliseconds per trial, first trials (which wait for worker processes) left out; and busy slots."""
    config = _config(trials)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as storage:
        folder = SweepFolder.create(Path(storage), "overhead", resolved_yaml(config))
        planned = plan(config)
        facts = [StudyFacts(study=planned.studies[0].key, **FACTS)]  # type: ignore[arg-type]
        num_slots = slots(config.resources)
        run_studies(
            config,
            planned,
            folder,
            facts,
            num_slots=num_slots,
            recorder=Recorder(folder, [clock]),
            worker=_empty_worker(sleep_s),
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
