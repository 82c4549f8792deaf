"""A small sweep made up from nothing: the records a driver would write and the calls it would make."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.evaluated import Evaluated
from orchestrator.ranking.schema import RANKING
from orchestrator.records import EPOCHS, SCREEN, TESTS, TRIALS
from orchestrator.tracking import (
    DatasetInfo,
    Published,
    SweepInfo,
    Tracker,
    best_metrics,
    model_metrics,
    shown_pictures,
)
from trainables.config import FinetuneConfig

BACKBONES = ("torchvision/mobilenet_v2@IMAGENET1K_V1", "timm/tf_efficientnet_lite0")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUM_BLOCKS = 18
VERDICT = "**tf_efficientnet_lite0 adapts best.**"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def measures(ece: float) -> list[dict[str, Any]]:
    """MEASURES rows without study and number: what becomes metrics, and what is in the table alone."""
    rows = [
        ("ece", "test", "", ece),
        ("ece", "test", "temperature_scaled", 0.05),
        ("auroc", "test", "", None),
        ("accuracy", "test", "", 0.8),
        ("loss", "train", "", 0.25),
        ("f1", "test", "class:ant", 0.75),
        ("reliability_accuracy", "test", "bin:0", 0.5),
        ("robust_drop", "test", "", -0.2),
        ("robust_drop", "test", "gaussian_noise", -0.3),
        ("perturbed_accuracy", "test", "gaussian_noise:3", 0.4),
        ("attacked_accuracy", "test", "fgsm:0.031", 0.1),
        ("faithfulness", "test", "lime", 0.3),
        ("flops_forward", "test", "", 1e6),
    ]
    names = ("name", "split", "condition", "value")
    return [dict(zip(names, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class MadeSweep:
    """The records of `num_trials` trials and `num_confirmations` confirmations for each backbone."""

    sweep_id: str = "digits-20260301-120000"
    task: str = "digits"
    backbones: tuple[str, ...] = BACKBONES
    num_trials: int = 4
    num_confirmations: int = 1
    num_epochs: int = 3
    pictures: Path | None = None
    """Folder for the pictures of evaluated confirmations; None evaluates none."""

    @property
    def info(self) -> SweepInfo:
        return SweepInfo(
            sweep_id=self.sweep_id,
            name="quick",
            version="0.1.0",
            config_yaml="name: quick\ntracking_uri: https://me:hunter2@mlflow.example/\n",
            created_at=START,
            tasks=(self.task,),
            backbones=self.backbones,
            facts={"search.sampler": "tpe", "budget.trials": self.num_trials, "budget.seconds": 1.5},
            git_commit="0123456789abcdef",
            git_dirty=True,
            user="ada",
        )

    @property
    def dataset(self) -> DatasetInfo:
        return DatasetInfo(
            task=self.task,
            name="digits",
            digest="d" * 64,
            source="scikit-learn",
            num_train=1000,
            num_val=300,
            num_test=497,
            num_classes=10,
            metric="accuracy",
            chance=0.1,
            sizes={"image_size": 64},
        )

    def trials(self) -> list[dict[str, Any]]:
        """TRIALS rows. The second of a study is stopped, the third failed, the fourth fully frozen."""
        return [
            self._trial(place, backbone, number)
            for number in range(self.num_trials + self.num_confirmations)
            for place, backbone in enumerate(self.backbones)
        ]

    def _trial(self, place: int, backbone: str, number: int) -> dict[str, Any]:
        confirms = number >= self.num_trials
        state = "completed" if confirms else {1: "stopped", 2: "failed"}.get(number, "completed")
        depth = NUM_BLOCKS if number == 3 else 2 * (number % 8)
        config = FinetuneConfig(
            backbone=backbone,
            freeze_depth=depth,
            learning_rate=1.23456789e-4 * (number + 1),
            max_epochs=self.num_epochs,
            seed=number,
        )
        epochs = self.num_epochs if state == "completed" else 1
        score = 0.5 + 0.01 * number + 0.1 * place
        started = START + timedelta(minutes=number, seconds=place)
        row: dict[str, Any] = dict.fromkeys(TRIALS.names)
        row |= {
            "study": f"{self.task}:{backbone}",
            "number": number,
            "task": self.task,
            "backbone": backbone,
            "phase": "confirmation" if confirms else "random",
            "state": state,
            "error": "Traceback:\nRuntimeError: lost s3://k:v@bucket" if state == "failed" else None,
            "seed": number,
            "freeze_depth": depth,
            "tune_stop": NUM_BLOCKS,
            "num_blocks": NUM_BLOCKS,
            "freeze_frac": depth / NUM_BLOCKS,
            "learning_rate": config.learning_rate if depth < NUM_BLOCKS else None,
            "head_learning_rate": config.head_learning_rate,
            "weight_decay": config.weight_decay,
            "head_init": config.head_init,
            "batch_size": config.batch_size,
            "max_epochs": self.num_epochs,
            "train_frac": 1.0,
            "config": json.dumps(asdict(config)),
            "epochs": epochs,
            "best_epoch": epochs,
            "metric": "accuracy",
            "val_score": score,
            "val_loss": 1 / 3,
            "val_accuracy": score,
            "val_f1_macro": score - 0.01,
            "num_val": 300,
            "num_params": 2236682,
            "num_params_trainable": 2223873,
            "train_s": 12.3456789,
            "duration_s": 15.0,
            "device": "cpu",
            "node": "n1",
            "started_at": started,
            "finished_at": started + timedelta(seconds=50),
        }
        return row

    def epochs(self) -> list[dict[str, Any]]:
        """EPOCHS rows, those of each run together."""
        return [
            {
                "study": trial["study"],
                "number": trial["number"],
                "epoch": epoch,
                "step": epoch * 32,
                "train_loss": 1 / epoch,
                "val_loss": 1.1 / epoch,
                "val_accuracy": 0.3 + 0.1 * epoch,
                "val_f1_macro": 0.29 + 0.1 * epoch,
                "val_score": 0.3 + 0.1 * epoch,
                "train_s": 2.0,
                "eval_s": 0.5,
                "finished_at": trial["started_at"] + timedelta(seconds=10 * epoch),
                "elapsed_s": 3.0 * epoch,
                "cpu_cores": 0.75,
                "host_memory_mib": 512.0,
                "gpu_memory_mib": 300.0 if trial["backbone"] == self.backbones[0] else None,
                "gpu_utilization": 0.5 if trial["backbone"] == self.backbones[0] else None,
            }
            for trial in self.trials()
            for epoch in range(1, trial["epochs"] + 1)
        ]

    def tests(self) -> list[dict[str, Any]]:
        """TESTS rows: of every completed run, though only those of confirmations may be shown."""
        return [
            {
                "study": trial["study"],
                "number": trial["number"],
                "metric": "accuracy",
                "test_score": 0.8,
                "test_loss": 0.6,
                "test_accuracy": 0.8,
                "test_f1_macro": 0.79,
                "chance": 0.1,
                "num_test": 497,
                "correct": b"\xff",
            }
            for trial in self.trials()
            if trial["state"] == "completed"
        ]

    def evaluations(self) -> dict[tuple[str, int], Evaluated]:
        """Of every confirmation, with a picture and a failure each."""
        if self.pictures is None:
            return {}
        self.pictures.mkdir(exist_ok=True)
        captions = {"saliency": "where it looked", "explanation_0": "a first sample", "explanation_1": "a second"}
        for name in captions:
            (self.pictures / f"{name}.png").write_bytes(PNG)
        return {
            (trial["study"], trial["number"]): Evaluated(
                study=trial["study"],
                number=trial["number"],
                measures=tuple(
                    {"study": trial["study"], "number": trial["number"], **measure}
                    for measure in measures(0.1 * (1 + trial["number"] - self.num_trials))
                ),
                class_names=("ant", "bee"),
                confusion=((3, 1), (0, 4)),
                notes=("no energy meter", "evaluation failed: attacks: why"),
                failures=("evaluation failed: attacks: why",),
                captions=captions,
                pictures=self.pictures,
            )
            for trial in self.trials()
            if trial["phase"] == "confirmation"
        }

    def screen(self) -> pa.Table:
        """SCREEN rows: one score, and one that is not defined."""
        rows = [
            {"task": self.task, "backbone": backbone, "name": name, "value": value, "duration_s": 0.5}
            for backbone in self.backbones
            for name, value in (("log_me", 1.25), ("leep", None))
        ]
        return pa.Table.from_pylist(rows, SCREEN)

    def ranking(self, score: float = 0.7) -> pa.Table:
        """The last backbone is first, the others are not ranked."""
        rows = []
        for place, backbone in enumerate(reversed(self.backbones)):
            row: dict[str, Any] = dict.fromkeys(RANKING.names)
            row |= {
                "task": self.task,
                "backbone": backbone,
                "status": "insufficient" if place else "ranked",
                "num_confirmations": self.num_confirmations,
                "num_collapsed": 0,
                "num_confirmations_lost": 0,
                "num_superseded": 0,
                "num_trials": self.num_trials,
                "num_completed": self.num_trials - 2,
                "num_stopped": 1,
                "num_failed": 1,
                "num_blocks": NUM_BLOCKS,
                "coverage": 0.75,
                "cost_s": 75.0,
            }
            if place:
                row["reason"] = "no confirmation"
            else:
                row |= {
                    "rank": 1,
                    "rank_low": 1,
                    "rank_high": 1,
                    "score": score,
                    "ci_low": score - 0.05,
                    "ci_high": score + 0.05,
                    "p_best": 1.0,
                    "confirmation_mean": 0.8,
                    "best_freeze_depth": 6,
                    "best_tune_stop": NUM_BLOCKS,
                    "val_score": 0.63,
                }
            rows.append(row)
        return pa.Table.from_pylist(rows, RANKING)

    def tables(self) -> dict[str, pa.Table]:
        """As `replay` takes them."""
        return {
            "trials": pa.Table.from_pylist(self.trials(), TRIALS),
            "epochs": pa.Table.from_pylist(self.epochs(), EPOCHS),
            "tests": pa.Table.from_pylist(self.tests(), TESTS),
        }

    def calls(self, tracker: Tracker) -> Iterator[None]:
        """Make a driver's calls, one at each step."""
        epochs: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in self.epochs():
            epochs.setdefault((row["study"], row["number"]), []).append(row)
        tests = {(row["study"], row["number"]): row for row in self.tests()}
        evaluations = self.evaluations()
        tracker.dataset(self.dataset)
        yield
        for trial in self.trials():
            key = (trial["study"], trial["number"])
            tracker.run_started(as_started(trial))
            yield
            for row in epochs[key]:
                tracker.epoch(row)
                yield
            tracker.run_finished(trial, tests.get(key), evaluations.get(key))
            yield

    def publication(self, folder: Path, **changes: Any) -> Published:
        """What is told at the end, with files that are written to `folder`."""
        given: dict[str, Any] = {
            "ranking": self.ranking(),
            "verdicts": {self.task: VERDICT},
            "files": self.files(folder),
            "more": model_metrics(self.evaluations().values(), self.screen()),
            "pictures": shown_pictures(self.evaluations().values()),
            "best": best_metrics(self.trials()),
        }
        return Published(**(given | changes))

    def files(self, folder: Path) -> dict[str, Path]:
        """Two local files, one under another name than in MLflow."""
        folder.mkdir(exist_ok=True)
        (folder / "report.html").write_text("<p>report</p>")
        (folder / "ranking-v1.csv").write_text("backbone,score\n")
        return {"report.html": folder / "report.html", "tables/ranking.csv": folder / "ranking-v1.csv"}


def as_started(trial: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run when it starts."""
    names = (
        "study",
        "number",
        "phase",
        "task",
        "backbone",
        "freeze_depth",
        "tune_stop",
        "num_blocks",
        "freeze_frac",
        "seed",
        "started_at",
    )
    return {name: trial[name] for name in names} | {"config": json.loads(trial["config"])}
