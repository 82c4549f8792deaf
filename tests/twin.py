"""A sweep's searcher, studies and recorder at work, with made-up results in place of Ray and training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna

from orchestrator.config import SweepConfig, sweep_from_mapping
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import Plan, plan
from orchestrator.recorder import Listener, Recorder
from orchestrator.restoring import take_over
from orchestrator.searching.allocators import make_allocator
from orchestrator.searching.ledger import open_ledger, require_known
from orchestrator.searching.scheduling import StudyScheduler
from orchestrator.searching.searcher import StudySearcher
from orchestrator.searching.study import Study
from orchestrator.sweep import StudyFacts
from orchestrator.workers.request import RunRequest
from trainables.checkpoint_file import read_checkpoint, write_checkpoint
from trainables.config import EpochMetrics

__all__ = ["Twin", "epoch_result", "keep_checkpoint", "leave_test", "made_up_facts", "small_config"]

NUM_BLOCKS = 18
Outcome = Callable[[RunRequest, int], float | str]
"""Of a run and an epoch: the validation score, or ``stop``, ``diverge`` or ``die``."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def small_config(**changes: Any) -> SweepConfig:
    """Two backbones with the same number of blocks on one task; a key with dots changes one value."""
    mapping: dict[str, Any] = {
        "name": "small",
        "tasks": [{"name": "digits", "num_train": 120, "num_val": 60, "num_test": 120, "image_size": 32}],
        "backbones": ["timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0@random"],
        "budget": {"trials": 4, "random_trials": 2, "max_epochs": 2},
        "confirmation": {"seeds": 2},
        "finetune": {"batch_size": 40},
        "evaluation": None,
        "resources": {"max_retries": 0},
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (mapping[section] if section else mapping)[name] = value
    return sweep_from_mapping(mapping)


def made_up_facts(planned: Plan, num_blocks: int = NUM_BLOCKS) -> list[StudyFacts]:
    """What inspection would find out about `small_config`."""
    return [
        StudyFacts(
            study=study.key,
            num_blocks=num_blocks,
            kind="classification",
            modality="image",
            num_train=120,
            num_val=60,
            num_test=120,
            num_classes=10,
            num_outputs=10,
            metric="accuracy",
            chance=0.1,
            digest="",
            input="32 px",
        )
        for study in planned.studies
    ]


def epoch_result(epoch: int, score: float, *, best: bool = True, done: bool = False) -> dict[str, Any]:
    """What a worker reports of an epoch."""
    return {
        "epoch": epoch,
        "step": 3 * epoch,
        "train_loss": 1.0 / epoch,
        "val_loss": 1.1 / epoch,
        "val_accuracy": score,
        "val_f1_macro": score,
        "val_r2": None,
        "val_mae": None,
        "val_score": score,
        "train_s": 0.5,
        "eval_s": 0.1,
        "is_best": best,
        "metric": "accuracy",
        "num_val": 60,
        "num_params": 1000,
        "num_params_trainable": 100,
        "frozen_digest": "0" * 16,
        "duration_s": 0.7 * epoch,
        "memory_mib": None,
        "device": "cpu",
        "node": "here",
        "done": done,
    }


def leave_test(request: RunRequest, **changes: Any) -> None:
    """What a worker leaves of a completed run: 6 of 8 answers are right, of an untrained backbone 2."""
    score, correct = (0.25, "c0") if request.config.backbone.endswith("@random") else (0.75, "fc")
    row = {
        "study": request.study,
        "number": request.number,
        "metric": "accuracy",
        "test_score": score,
        "test_loss": 0.5,
        "test_accuracy": score,
        "test_f1_macro": score,
        "chance": 0.1,
        "num_test": 8,
        "correct": correct,
    }
    Path(request.test_file).write_text(json.dumps(row | changes), encoding="utf-8")


def keep_checkpoint(request: RunRequest, results: Sequence[Mapping[str, Any]]) -> None:
    """What a worker keeps of the epochs it has trained, without the tensors."""
    names = [field.name for field in fields(EpochMetrics)]
    epochs = [{name: result[name] for name in names} for result in results]
    facts = {name: value for name, value in results[-1].items() if name not in names}
    values = {"epochs": epochs, "facts": facts}
    write_checkpoint(request.checkpoint_folder, values, {}, (), epoch=results[-1]["epoch"], attempt=request.attempt)


class Twin:
    """One driver of one sweep. Runs are named by Tune's trial ids, here ``t0``, ``t1``, ...

    Args:
        folder: of a sweep that goes on; None begins a new one in `storage`.
        halving: whether the sweep's scheduler stops trials; else `Outcome` alone does.
    """

    def __init__(
        self,
        config: SweepConfig,
        storage: Path,
        listeners: tuple[Listener, ...] = (),
        folder: SweepFolder | None = None,
        *,
        halving: bool = False,
    ) -> None:
        self.config = config
        self.plan = plan(config)
        self.folder = folder or SweepFolder.create(storage, config.name, "name: small\n")
        self.ledger = open_ledger(self.folder.ledger_file, is_new=folder is None)
        require_known(self.ledger, self.folder, [study.key for study in self.plan.studies])
        self.studies = self.make_studies()
        self.recorder = Recorder(self.folder, listeners)
        self.halving = halving
        scheduler = StudyScheduler(tuple(study.key for study in self.studies), config.budget)
        self._halve = scheduler.replay if halving else lambda *epoch: False
        take_over(self.folder, self.studies, self.recorder, self._halve)
        allocator = make_allocator(config, self.studies, self.folder.trials.read)
        self.searcher = StudySearcher(
            self.studies,
            self.recorder,
            allocator,
            max_retries=config.resources.max_retries,
            missed=self._halve,
        )
        self.requests: dict[str, RunRequest] = {}
        self._epochs: dict[str, list[dict[str, Any]]] = {}

    def make_studies(self) -> list[Study]:
        """Fresh ones on the sweep's ledger."""
        return [
            Study(
                study,
                index=index,
                num_blocks=NUM_BLOCKS,
                config=self.config,
                folder=self.folder,
                storage=self.ledger,
                trials=self.folder.trials.read,
            )
            for index, study in enumerate(self.plan.studies)
        ]

    def resumed(self, **changes: Any) -> Twin:
        """The driver after this one, which is gone."""
        config = changes.get("config", self.config)
        return Twin(config, self.folder.path.parent, folder=SweepFolder(self.folder.path), halving=self.halving)

    @property
    def running(self) -> list[str]:
        return list(self._epochs)

    def suggest(self) -> RunRequest | str | None:
        """Ask for a run, as a free slot does."""
        trial_id = f"t{len(self.requests)}"
        config = self.searcher.suggest(trial_id)
        if not isinstance(config, Mapping):
            return config
        self.requests[trial_id] = request = RunRequest.from_tune(config)
        saved = read_checkpoint(request.checkpoint_folder)
        known = () if saved is None else saved.epochs
        self._epochs[trial_id] = [epoch_result(m.epoch, m.val_score, best=m.is_best) for m in known]
        return request

    def advance(self, trial_id: str, outcome: Outcome) -> bool:
        """One more epoch of a run. Returns whether it ended."""
        request, epochs = self.requests[trial_id], self._epochs[trial_id]
        last = request.config.max_epochs
        if len(epochs) < last:  # else an attempt before this one trained them all
            epoch = len(epochs) + 1
            said = outcome(request, epoch)
            if said == "die":
                self.searcher.on_trial_complete(trial_id, error=True)
                del self._epochs[trial_id]
                return True
            if said == "diverge":
                result = {"epoch": epoch - 1, "error": "diverged: train loss is nan in epoch 1", "done": True}
                self.searcher.on_trial_complete(trial_id, result=result)
                del self._epochs[trial_id]
                return True
            stop = said == "stop"
            score = 0.2 if stop else float(said)
            stop = self._halve(request.study, request.number, request.phase, epoch, score) or stop
            best = max((e["val_score"] for e in epochs), default=-1.0)
            epochs.append(epoch_result(epoch, score, best=score > best, done=stop or epoch == last))
            keep_checkpoint(request, epochs)
        result = epochs[-1]
        if not result["done"] and len(epochs) < last:
            self.searcher.on_trial_result(trial_id, result)
            return False
        if len(epochs) == last:
            leave_test(request)
        self.searcher.on_trial_complete(trial_id, result=result)
        del self._epochs[trial_id]
        return True

    def run(self, outcome: Outcome, slots: int = 2, most: int = 10_000) -> list[RunRequest]:
        """Keep `slots` runs going, the oldest first to end, until FINISHED or `most` have been handed out."""
        while True:
            while len(self._epochs) < slots and len(self.requests) < most:
                said = self.suggest()
                if said == "FINISHED":
                    assert not self._epochs
                    return list(self.requests.values())
                if said is None:
                    assert self._epochs, "nothing runs and nothing is handed out"
                    break
            if not self._epochs:
                return list(self.requests.values())
            self.advance(self.running[0], outcome)
