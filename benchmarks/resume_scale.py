"""What a long sweep costs to take up again: `python -m benchmarks.resume_scale [--trials 5000]`.

A sweep of five studies is made up, ledger and tables as a driver writes them, and cut off with trials under way.
Measured are the seconds until a new driver would hand out its first trial (Ray's own start, which is the same for
any sweep, left out), and those of ranking what has ended. Everything is read from the disk by a process that has
not seen it before.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from benchmarks.empty_trial import NUM_BLOCKS, empty_facts
from benchmarks.machine import machine
from orchestrator.config import SweepConfig, sweep_from_mapping
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import Plan, plan

__all__ = ["main", "make_up", "rank_it", "take_up"]

SEED: Final = 0
UNDER_WAY: Final = 8
BACKBONES: Final = (
    "timm/tf_efficientnet_lite0",
    "timm/tf_efficientnet_lite1",
    "timm/tf_efficientnet_lite2",
    "timm/tf_efficientnet_lite0@random",
    "timm/tf_efficientnet_lite1@random",
)


def _config(trials: int, epochs: int) -> SweepConfig:
    """One trial more per study than have begun: there is something left to hand out."""
    each = trials // len(BACKBONES) + 1
    return sweep_from_mapping(
        {
            "name": "long",
            "seed": SEED,
            "tasks": [{"name": "nothing", "data": "digits"}],
            "backbones": list(BACKBONES),
            "budget": {"trials": each, "random_trials": each // 2, "max_epochs": epochs},
            "confirmation": {"seeds": 2},
            "resources": {"gpus_per_trial": 0},
            "evaluation": None,
        }
    )


@contextmanager
def _no_waits_for_the_disk() -> Iterator[None]:
    """What is made up here need not survive a loss of power."""
    with patch("os.fsync"):
        yield


def make_up(storage: Path, trials: int, epochs: int) -> SweepFolder:
    """A sweep whose driver is gone: so many trials of so many epochs have begun, the last ones have not ended."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    from orchestrator.config import resolved_yaml
    from orchestrator.searching.study import Study

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    config = _config(trials, epochs)
    # Drawn at random, all of them: suggestions by TPE would take minutes, and a ledger shows no difference.
    drawn = dataclasses.replace(config, budget=dataclasses.replace(config.budget, random_trials=config.budget.trials))
    folder = SweepFolder.create(storage, config.name, resolved_yaml(config))
    planned = plan(drawn)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("trials", "epochs", "tests", "attempts")}
    with _no_waits_for_the_disk():
        ledger = JournalStorage(JournalFileBackend(str(folder.ledger_file)))
        for index, study_plan in enumerate(planned.studies):
            study = Study(
                study_plan,
                index=index,
                num_blocks=NUM_BLOCKS,
                config=drawn,
                folder=folder,
                storage=ledger,
                trials=folder.trials.read,
            )
            ended = study_plan.trials - 1 - UNDER_WAY // len(BACKBONES) - 1
            for number in range(study_plan.trials - 1):
                _add(rows, study, ended=number < ended, epochs=epochs)
    for name, found in rows.items():
        getattr(folder, name).append_all(found)
    return folder


def _add(rows: dict[str, list[dict[str, Any]]], study: Any, *, ended: bool, epochs: int) -> None:
    """One trial in the ledger and, as rows, in the tables."""
    request = study.next()
    now = datetime.now(UTC)
    key = {"study": request.study, "number": request.number}
    config = request.config
    rows["attempts"].append({**key, "attempt": 1, "cause": None, "started_at": now})
    top = 0.9 - 0.002 * (config.freeze_depth - 12) ** 2 - 0.001 * (request.number % 17)
    curve = [round(top * (1 - 0.5**epoch), 6) for epoch in range(1, (epochs if ended else epochs // 2) + 1)]
    for epoch, score in enumerate(curve, 1):
        measured = {"val_score": score, "val_accuracy": score, "val_f1_macro": score, "val_loss": 1 - score}
        rows["epochs"].append(
            {**key, "epoch": epoch, "step": epoch, **measured, "train_s": 1.0, "eval_s": 0.1, "finished_at": now}
        )
        study.report(request.number, epoch, score)
    if not ended:
        return
    study.ended(request.number, "completed", curve[-1])
    # As scored on 20 samples: right answers are whole numbers.
    right = round(20 * curve[-1])
    rows["tests"].append(
        {
            **key,
            "metric": "accuracy",
            **dict.fromkeys(("test_score", "test_accuracy", "test_f1_macro"), right / 20),
            "test_loss": 1 - right / 20,
            "chance": 0.1,
            "num_test": 20,
            "correct": int("1" * right + "0" * (24 - right), 2).to_bytes(3, "big"),
        }
    )
    tuned = config.freeze_depth < NUM_BLOCKS
    rows["trials"].append(
        {
            **key,
            "task": request.task.name,
            "backbone": config.backbone,
            "phase": request.phase,
            "state": "completed",
            "seed": config.seed,
            "freeze_depth": config.freeze_depth,
            "tune_stop": NUM_BLOCKS,
            "num_blocks": NUM_BLOCKS,
            "freeze_frac": config.freeze_depth / NUM_BLOCKS,
            "learning_rate": config.learning_rate if tuned else None,
            "head_learning_rate": config.head_learning_rate,
            "weight_decay": config.weight_decay,
            "layer_decay": config.layer_decay if tuned else None,
            "head_init": config.head_init,
            "stay_near": config.stay_near if tuned else None,
            "batch_size": config.batch_size,
            "max_epochs": config.max_epochs,
            "train_frac": 1.0,
            "config": json.dumps(dataclasses.asdict(config)),
            "epochs": len(curve),
            "best_epoch": len(curve),
            "metric": "accuracy",
            **measured,
            "num_val": 20,
            "train_s": float(len(curve)),
            "duration_s": 1.1 * len(curve),
            "started_at": now,
            "finished_at": now,
            "num_attempts": 1,
        }
    )


class _HandedOut(Exception):
    """The first trial would be on its way to a worker."""


def take_up(folder: SweepFolder, trials: int, epochs: int) -> dict[str, Any]:
    """Seconds from opening a sweep's folder to its next trial, as `run_studies` goes about it."""
    from ray import tune

    from orchestrator.recorder import Recorder
    from orchestrator.sweep import run_studies

    config = _config(trials, epochs)
    planned: Plan = plan(config)
    first: dict[str, Any] = {}
    began = 0.0

    class NoTuner:
        """In Ray's place: asks for one trial."""

        def __init__(self, worker: Any, *, tune_config: Any, **others: Any) -> None:
            self._searcher = tune_config.search_alg

        def fit(self) -> None:
            first["restored_s"] = time.perf_counter() - began
            first["request"] = self._searcher.suggest("first")
            first["s"] = time.perf_counter() - began
            raise _HandedOut

    with patch.object(tune, "Tuner", NoTuner), suppress(_HandedOut):
        began = time.perf_counter()
        run_studies(
            config,
            planned,
            folder,
            empty_facts(planned),
            num_slots=UNDER_WAY,
            recorder=Recorder(folder, []),
            worker=tune.Trainable,
        )
    request = first["request"]
    return {
        "to_the_next_trial_s": first["s"],
        "restored_s": first["restored_s"],
        "handed_out": {name: request[name] for name in ("study", "number", "attempt")},
    }


def rank_it(folder: SweepFolder) -> dict[str, Any]:
    """Seconds to rank what has ended."""
    from orchestrator.results import rank_sweep

    began = time.perf_counter()
    ranking = rank_sweep(folder)
    return {"ranked_s": time.perf_counter() - began, "backbones": ranking.table.num_rows}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5_000, help="of all studies together")
    parser.add_argument("--epochs", type=int, default=10, help="of each trial")
    parser.add_argument("--quick", action="store_true", help="200 trials: shows that it runs")
    parser.add_argument("--of", type=Path, help="measure this made-up sweep, in this process")
    chosen = parser.parse_args(arguments)
    trials = 200 if chosen.quick else chosen.trials
    if chosen.of:
        folder = SweepFolder(chosen.of)
        # Ranked first: taking a sweep up adds to its records.
        print(
            json.dumps(
                rank_it(folder) | take_up(SweepFolder(chosen.of), trials, chosen.epochs) | {"peak_mib": _peak_mib()}
            )
        )
        return
    before = machine()
    with tempfile.TemporaryDirectory() as storage:
        began = time.perf_counter()
        folder = make_up(Path(storage), trials, chosen.epochs)
        made_s = time.perf_counter() - began
        sizes = {file.name: file.stat().st_size / 2**20 for file in folder.path.iterdir() if file.is_file()}
        order = [sys.executable, "-m", __spec__.name, "--of", str(folder.path)]
        order += ["--trials", str(trials), "--epochs", str(chosen.epochs)]
        done = subprocess.run(order, stdout=subprocess.PIPE, text=True, check=True)
    document = {
        "machine": before,
        "seed": SEED,
        "trials": trials,
        "epochs": chosen.epochs,
        "files_mib": {name: round(size, 2) for name, size in sorted(sizes.items())},
        "made_up_s": made_s,
        **json.loads(done.stdout.splitlines()[-1]),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
