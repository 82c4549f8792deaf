"""One study: its own Optuna study, its own budget, its own confirmations."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from orchestrator.companions import RandomSlice
from orchestrator.config import SweepConfig
from orchestrator.folder import SweepFolder
from orchestrator.plan import StudyPlan
from orchestrator.ranking import NoCompletedTrial, choose
from orchestrator.ranking.study import read_runs
from orchestrator.request import Phase, RunRequest
from orchestrator.suggestion import History
from orchestrator.thompson import ThompsonSampler
from trainables.config import FinetuneConfig
from trainables.probe_group import MIN_TOGETHER

__all__ = ["Study"]

_STATES: Final = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

CONFIRMATION_NUMBERS_FROM: Final = 1_000_000
"""Confirmations are seeded as if numbered from here: with no search trial's seed, alike in every study."""


class Study:
    """Hands out the runs of one study and learns from their validation scores.

    The first `random_trials` are drawn at random, the same draws for every backbone; the others are
    suggested by TPE, in a race by Thompson sampling. When all have ended, the configuration chosen on
    validation is confirmed with fresh seeds and, where asked for, trained with the same seeds on fewer samples.
    Samplers are seeded by the sweep's seed and the trial's number, so that a suggestion depends on nothing but
    the trials before it.

    Args:
        index: of the study in the plan.
        num_blocks: of the backbone as built.
        trials: reads the finished trials of the sweep (validation only) when a choice is due.
        num_slots: trials of the sweep at a time: so many workers may be handed runs of this study.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        index: int,
        num_blocks: int,
        config: SweepConfig,
        folder: SweepFolder,
        storage: optuna.storages.BaseStorage,
        trials: Callable[[], pa.Table],
        num_slots: int = 1,
    ) -> None:
        self.plan = plan
        self.key = plan.key
        self.num_blocks = num_blocks
        self.num_handed = 0
        self.num_trials = plan.trials
        """Search trials to hand out."""
        self._is_open = False  # whether more of them may be granted
        self._is_confirmed = True
        self._searched: Phase = "thompson" if config.budget.allocation == "race" else "tpe"
        self._index = index
        self._config = config
        self._folder = folder
        self._trials = trials
        fixed = config.finetune
        windows = config.space.windows(num_blocks, freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)
        self._num_sharing = max(1, round((plan.trials + plan.confirmations) / len({start for start, _ in windows})))
        self._space = config.space.bind(num_blocks, freeze_depth=fixed.freeze_depth, tune_window=fixed.tune_window)
        self._random_slice = RandomSlice(
            self._random_draw, plan.random_trials, num_blocks, at_least=MIN_TOGETHER * num_slots
        )
        self._storage = storage
        self._ledger = optuna.create_study(
            study_name=plan.key, storage=storage, direction="maximize", load_if_exists=True
        )  # its trials are numbered as the runs are
        self._study_id = storage.get_study_id_from_name(plan.key)
        self._history = History(self._ledger.get_trials(deepcopy=False))
        self._running: dict[int, int | None] = {}  # number -> the ledger's id; None of a confirmation
        self._num_ended = 0
        self._confirmations: deque[RunRequest] | None = None  # and what follows them; None before the choice

    @property
    def is_exhausted(self) -> bool:
        """Whether every run has been handed out and has ended."""
        return self._confirmations is not None and not self._confirmations and not self._running

    def next(self) -> RunRequest | None:
        """The next run, or None where one that is still running must end first."""
        if self.num_handed < self.num_trials:
            return self._hand_out(self._suggest())
        if self._confirmations is None and not self._is_open and self._num_ended == self.num_trials:
            self._history.clear()
            self._confirmations = deque(self._confirm() if self._is_confirmed else [])
        if self._confirmations:
            return self._hand_out(self._confirmations.popleft())
        return None

    def grant(self, num_trials: int) -> None:
        """In a race: hand out search trials up to this number, and wait for more until `close`."""
        self.num_trials, self._is_open = num_trials, True

    def close(self, *, confirm: bool) -> None:
        """In a race: hand out no more search trials, and then the confirmations or nothing."""
        self.num_trials, self._is_open, self._is_confirmed = self.num_handed, False, confirm

    def report(self, number: int, epoch: int, val_score: float) -> None:
        """Tell Optuna what a running trial reached on validation."""
        trial_id = self._running.get(number)
        if trial_id is not None and self._history.report(number, epoch, val_score):
            self._storage.set_trial_intermediate_value(trial_id, epoch, val_score)

    def ended(self, number: int, state: str, val_score: float | None) -> None:
        """Tell Optuna how a trial ended. A stopped one is pruned, a failed one never has a value."""
        if self._running.pop(number) is None:
            return
        self._num_ended += 1
        value = val_score if state == "completed" else None
        self._ledger.tell(number, value, state=_STATES[state], skip_if_finished=True)
        self._history.end(number, _STATES[state], value)

    def _hand_out(self, request: RunRequest) -> RunRequest:
        self._running.setdefault(request.number, None)
        self.num_handed += 1
        return request

    def _suggest(self) -> RunRequest:
        number = self.num_handed
        phase: Phase = "random" if number < self.plan.random_trials else self._searched
        drawn, trial = self._history.suggest(number, self._sampler(phase, number), self._space)
        config = self._config.finetune_config(self.plan.backbone.name, drawn, seed=self._seed(number))
        # On disk, in one piece, before anybody trains it: after a kill this says what was meant to run.
        trial.user_attrs = {"run": json.dumps({"number": number, "phase": phase, "config": asdict(config)})}
        self._running[number] = self._storage.create_new_trial(self._study_id, trial)
        together = self._random_slice.companions(number, config) if phase == "random" else ()
        return self._request(number, phase, config, together=together)

    def _random_draw(self, number: int) -> FinetuneConfig:
        """The configuration of a trial of the random slice, whether it has been suggested or not."""
        drawn, _ = History().suggest(number, self._sampler("random", number), self._space)
        return self._config.finetune_config(self.plan.backbone.name, drawn, seed=self._seed(number))

    def _sampler(self, phase: Phase, number: int) -> BaseSampler:
        if phase == "random":
            return RandomSampler(seed=self._seed(number))
        if phase == "thompson":
            runs = read_runs(self._trials().filter(pc.field("study") == self.key))
            return ThompsonSampler(runs, self._candidate, self.num_blocks, seed=self._seed(number))
        # The slice is TPE's start-up; running trials count as bad guesses so that parallel ones differ.
        return TPESampler(seed=self._seed(number), n_startup_trials=0, constant_liar=True)

    def _candidate(self, trial: optuna.Trial) -> FinetuneConfig:
        return self._config.finetune_config(self.plan.backbone.name, self._space(trial), seed=0)

    def _confirm(self) -> list[RunRequest]:
        try:
            trials = self._trials().filter(pc.field("study") == self.key)
            chosen = trials.filter(pc.field("number") == choose(trials))
        except NoCompletedTrial:
            return []
        config: dict[str, Any] = json.loads(chosen["config"][0].as_py())
        repeated = [
            FinetuneConfig(**{**config, "seed": self._seed(CONFIRMATION_NUMBERS_FROM + index)})
            for index in range(self.plan.confirmations)
        ]
        # Each by a fine-tuner of its own, a probe as well: what is evaluated is a whole network.
        asked: list[tuple[Phase, float]] = [("confirmation", 1.0), *(("reduced", f) for f in self.plan.train_fracs)]
        runs = [(phase, again, frac) for phase, frac in asked for again in repeated]
        return [
            self._request(self.num_trials + index, phase, again, train_frac=frac)
            for index, (phase, again, frac) in enumerate(runs)
        ]

    def _seed(self, number: int) -> int:
        """Of trial `number` in every study alike. Hashed: with their sum, sweeps of neighbouring seeds would
        share all draws but one, and their results would pass for independent ones."""
        text = f"{self._config.seed}:{number}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

    def _request(
        self,
        number: int,
        phase: Phase,
        config: FinetuneConfig,
        *,
        together: tuple[FinetuneConfig, ...] = (),
        train_frac: float = 1.0,
    ) -> RunRequest:
        return RunRequest(
            number=number,
            phase=phase,
            task=self.plan.task,
            config=config,
            execution=self._config.execution,
            train_frac=train_frac,
            evaluation=self._config.evaluation if phase == "confirmation" else None,
            # What is cached of fewer samples serves the seeds that are trained on them alone.
            num_sharing=self.plan.confirmations if phase == "reduced" else self._num_sharing,
            companions=together,
            num_threads=self._config.resources.cpus_per_trial,
            test_file=str(self._folder.test_file(self._index, number)),
        )
