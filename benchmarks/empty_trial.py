"""Trials that train nothing: what remains is what the orchestration costs.

Imports neither torch nor MLflow, so that a worker process is as small as Ray makes it.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.config import SweepConfig, sweep_from_mapping
from orchestrator.folder import write_whole
from orchestrator.planning.plan import Plan
from orchestrator.sweep import StudyFacts
from orchestrator.workers.request import RunRequest

__all__ = ["BACKBONES", "EmptyWorker", "empty_config", "empty_facts", "made_up_score"]

NUM_BLOCKS = 18
BACKBONES = (
    "timm/tf_efficientnet_lite0",
    "timm/tf_efficientnet_lite1",
    "timm/tf_efficientnet_lite2",
    "timm/tf_efficientnet_lite0@random",
)


def empty_config(*, backbones: tuple[str, ...], trials: int, random_trials: int, seed: int = 0) -> SweepConfig:
    """A sweep of one epoch a trial, `trials` of them per backbone."""
    return sweep_from_mapping(
        {
            "name": "empty",
            "seed": seed,
            "tasks": [{"name": "nothing", "data": "digits"}],
            "backbones": list(backbones),
            "budget": {"trials": trials, "random_trials": random_trials, "max_epochs": 1, "grace_epochs": 1},
            "confirmation": {"seeds": 1},
            "evaluation": None,
        }
    )


def empty_facts(plan: Plan) -> list[StudyFacts]:
    """What looking at data and backbones would have revealed."""
    return [
        StudyFacts(
            study=study.key,
            num_blocks=NUM_BLOCKS,
            kind="classification",
            modality="image",
            num_train=1,
            num_val=1,
            num_test=8,
            num_classes=2,
            num_outputs=2,
            metric="accuracy",
            chance=0.5,
            digest="",
            input="8 px",
        )
        for study in plan.studies
    ]


def made_up_score(freeze_depth: int, head_learning_rate: float) -> float:
    """A smooth surface in [0, 1], so that a searcher has something to learn."""
    return round(0.9 - 0.002 * (freeze_depth - 12) ** 2 - 0.02 * (math.log10(head_learning_rate) + 2) ** 2, 6)


class EmptyWorker(tune.Trainable):  # type: ignore[misc]  # ray ships no types
    """Reports one made-up epoch at once."""

    sleep_s = 0.0

    def setup(self, config: dict[str, Any]) -> None:
        self._request = RunRequest.from_tune(config)
        self._started = time.perf_counter()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.sleep_s)
        config = self._request.config
        score = made_up_score(config.freeze_depth, config.head_learning_rate)
        self._leave_test(score)
        return {
            "epoch": 1,
            "step": 1,
            **dict.fromkeys(("train_loss", "val_loss"), 1.0 - score),
            **dict.fromkeys(("val_score", "val_accuracy", "val_f1_macro"), score),
            **dict.fromkeys(("val_r2", "val_mae"), None),
            **dict.fromkeys(("train_s", "eval_s"), 0.0),
            "is_best": True,
            "metric": "accuracy",
            "num_val": 1,
            "duration_s": time.perf_counter() - self._started,
            "done": True,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune's checkpoints are not used."""

    def _leave_test(self, score: float) -> None:
        row = {
            "study": self._request.study,
            "number": self._request.number,
            "metric": "accuracy",
            "test_loss": 1.0 - score,
            **dict.fromkeys(("test_score", "test_accuracy", "test_f1_macro"), score),
            "chance": 0.5,
            "num_test": 8,
            "correct": "ff",
        }
        write_whole(Path(self._request.test_file), json.dumps(row))
