"""One study: its own Optuna study, its own budget, its own confirmations."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from orchestrator.companions import RandomSlice
from orchestrator.config import SweepConfig
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import StudyPlan
from orchestrator.ranking import NoCompletedTrial, choose
from orchestrator.ranking.study import read_runs
from orchestrator.searching.confirming import ConfirmationPlans, asked_runs
from orchestrator.searching.ledger import rows_of
from orchestrator.searching.suggestion import History
from orchestrator.searching.thompson import ThompsonSampler
from orchestrator.seeding import trial_seed
from orchestrator.workers.request import Phase, RunRequest
from trainables.config import FinetuneConfig
from trainables.probe_group import MIN_TOGETHER

__all__ = ["Study"]

_STATES: Final = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Searched:
    """What the ledger calls a running search trial."""

    ordinal: int
    trial_id: int
    is_told: bool = False
    """Whether the ledger has its end."""


class Study:
    """Hands out the runs of one study and learns from their validation scores.

    The first `random_trials` are drawn at random, the same draws for every backbone; the others are
    suggested by TPE, in a race by Thompson sampling. When all have ended, the configuration chosen on
    validation is confirmed with fresh seeds and, where asked for, trained with the same seeds on fewer samples.
    Samplers are seeded by the sweep's seed and the trial's ordinal among the search trials, so that a suggestion
    depends on nothing but the trials before it.

    A fresh study goes on where the sweep's records say it stood: what was under way is handed out again first,
    under the same numbers.

    Args:
        index: of the study in the plan.
        num_blocks: of the backbone as built.
        trials: reads the finished trials of the sweep (validation only), now and when a choice is due.
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
        self._history = History()
        self._running: dict[int, _Searched | None] = {}  # by number; None of a confirmation
        self._ordinals: dict[int, int] = {}  # of search trials by number
        self._again: deque[RunRequest] = deque()
        self._num_ended = 0
        self._num_confirmed = 0  # and what follows confirmations, handed out
        self._confirmations: deque[RunRequest] | None = None  # and what follows them; None before the choice
        self._plans = ConfirmationPlans(storage, self._study_id)
        self._next_number = 0
        self._restore()

    @property
    def is_exhausted(self) -> bool:
        """Whether every run has been handed out and has ended."""
        return self._confirmations is not None and not self._confirmations and not self._running

    @property
    def num_suggested(self) -> int:
        """Search trials handed out, all drivers of the sweep together."""
        return len(self._ordinals)

    @property
    def num_handed(self) -> int:
        """Runs handed out, each counted once."""
        return self.num_suggested + self._num_confirmed

    def ordinal(self, number: int) -> int | None:
        """Place of a run among the search trials, from 0; None of what follows them."""
        return self._ordinals.get(number)

    @property
    def waiting(self) -> tuple[RunRequest, ...]:
        """Runs that were under way and come before any new one."""
        return tuple(self._again)

    def next(self) -> RunRequest | None:
        """The next run, or None where one that is still running must end first."""
        if self._again:
            return self._again.popleft()
        if self.num_suggested < self.num_trials:
            return self._suggest()
        if self._confirmations is None and not self._is_open and self._num_ended == self.num_trials:
            self._history.clear()
            self._confirmations = deque(self._confirm() if self._is_confirmed else [])
        if self._confirmations:
            request = self._confirmations.popleft()
            self._running[request.number] = None
            self._num_confirmed += 1
            return request
        return None

    def again(self, request: RunRequest) -> None:
        """Hand out a running one once more, before any other."""
        self._again.append(request)

    def forgo(self, number: int) -> None:
        """Do not hand out a waiting run: it has ended."""
        self._again = deque(request for request in self._again if request.number != number)

    def grant(self, num_trials: int) -> None:
        """In a race: hand out search trials up to this number, and wait for more until `close`."""
        self.num_trials, self._is_open = num_trials, True

    def close(self, *, confirm: bool) -> None:
        """In a race: hand out no more search trials, and then the confirmations or nothing."""
        self.num_trials, self._is_open, self._is_confirmed = self.num_suggested, False, confirm

    def report(self, number: int, epoch: int, val_score: float) -> None:
        """Tell Optuna what a running trial reached on validation."""
        searched = self._running.get(number)
        if searched is not None and self._history.report(searched.ordinal, epoch, val_score):
            self._storage.set_trial_intermediate_value(searched.trial_id, epoch, val_score)

    def ended(self, number: int, state: str, val_score: float | None) -> None:
        """Tell Optuna how a trial ended. A stopped one is pruned, a failed one never has a value."""
        searched = self._running.pop(number)
        if searched is None:
            return
        value = val_score if state == "completed" else None
        if not searched.is_told:
            self._ledger.tell(searched.ordinal, value, state=_STATES[state], skip_if_finished=True)
        self._num_ended += 1
        self._history.end(searched.ordinal, _STATES[state], value)

    def _suggest(self) -> RunRequest:
        ordinal, number = self.num_suggested, self._next_number
        phase: Phase = "random" if ordinal < self.plan.random_trials else self._searched
        drawn, trial = self._history.suggest(ordinal, self._sampler(phase, ordinal), self._space)
        config = self._config.finetune_config(self.plan.backbone.name, drawn, seed=self._seed(ordinal))
        # On disk, in one piece, before anybody trains it: after a kill this says what was meant to run.
        trial.user_attrs = {"run": json.dumps({"number": number, "phase": phase, "config": asdict(config)})}
        trial_id = self._storage.create_new_trial(self._study_id, trial)
        self._running[number] = _Searched(ordinal=ordinal, trial_id=trial_id)
        self._ordinals[number] = ordinal
        self._next_number = number + 1
        return self._searched_request(number, phase, config, ordinal)

    def _searched_request(self, number: int, phase: Phase, config: FinetuneConfig, ordinal: int) -> RunRequest:
        together = self._random_slice.companions(ordinal, config) if phase == "random" else ()
        return self._request(number, phase, config, together=together)

    def _restore(self) -> None:
        """Take up what the ledger and the table of trials have of this study.

        A trial has ended when its row is in the table: it was written before the ledger was told. One without
        a row was under way, whatever the ledger says.
        """
        rows = rows_of(self._trials(), self.key, "state", "val_score")
        known = set(self._plans.all_numbers)
        for trial in self._ledger.get_trials(deepcopy=False):
            run = json.loads(trial.user_attrs["run"])
            number, row = run["number"], rows.get(run["number"])
            known.add(number)
            self._ordinals[number] = trial.number
            self._running[number] = _Searched(
                ordinal=trial.number, trial_id=trial._trial_id, is_told=trial.state.is_finished()
            )
            self._history.add(trial)
            if row is not None:
                self.ended(number, row["state"], row["val_score"])
                continue
            config = FinetuneConfig(**run["config"])
            self._again.append(self._searched_request(number, run["phase"], config, trial.number))
        self._next_number = max(known, default=-1) + 1

    def _random_draw(self, ordinal: int) -> FinetuneConfig:
        """The configuration of a trial of the random slice, whether it has been suggested or not."""
        drawn, _ = History().suggest(ordinal, self._sampler("random", ordinal), self._space)
        return self._config.finetune_config(self.plan.backbone.name, drawn, seed=self._seed(ordinal))

    def _sampler(self, phase: Phase, ordinal: int) -> BaseSampler:
        if phase == "random":
            return RandomSampler(seed=self._seed(ordinal))
        if phase == "thompson":
            runs = read_runs(self._trials().filter(pc.field("study") == self.key))
            return ThompsonSampler(runs, self._candidate, self.num_blocks, seed=self._seed(ordinal))
        # The slice is TPE's start-up; running trials count as bad guesses so that parallel ones differ.
        return TPESampler(seed=self._seed(ordinal), n_startup_trials=0, constant_liar=True)

    def _candidate(self, trial: optuna.Trial) -> FinetuneConfig:
        return self._config.finetune_config(self.plan.backbone.name, self._space(trial), seed=0)

    def _confirm(self) -> list[RunRequest]:
        """What has not ended of the chosen configuration's confirmations, and of its runs on fewer samples."""
        trials = self._trials().filter(pc.field("study") == self.key)
        try:
            chosen = trials.filter(pc.field("number") == choose(trials))
        except NoCompletedTrial:
            return []
        config: dict[str, Any] = json.loads(chosen["config"][0].as_py())
        runs = asked_runs(self.plan, self._config.seed)
        numbers = self._plans.numbers(config, runs, self._next_number)
        self._next_number = max(self._next_number, self._plans.end)
        ended = set(trials["number"].to_pylist())
        self._num_confirmed += sum(numbers[run] in ended for run in runs)
        # Each by a fine-tuner of its own, a probe as well: what is evaluated is a whole network.
        return [
            self._request(
                numbers[run], run.phase, FinetuneConfig(**{**config, "seed": run.seed}), train_frac=run.train_frac
            )
            for run in runs
            if numbers[run] not in ended
        ]

    def _seed(self, ordinal: int) -> int:
        return trial_seed(self._config.seed, ordinal)

    def _request(
        self,
        number: int,
        phase: Phase,
        config: FinetuneConfig,
        *,
        together: tuple[FinetuneConfig, ...] = (),
        train_frac: float = 1.0,
    ) -> RunRequest:
        is_kept = phase == "confirmation" and self._config.confirmation.keep_model
        return RunRequest(
            number=number,
            phase=phase,
            task=self.plan.task,
            config=config,
            execution=self._config.execution,
            train_frac=train_frac,
            evaluation=self._config.evaluation if phase == "confirmation" else None,
            model_folder=str(self._folder.model_folder(self._index, number)) if is_kept else None,
            # What is cached of fewer samples serves the seeds that are trained on them alone.
            num_sharing=self.plan.confirmations if phase == "reduced" else self._num_sharing,
            companions=together,
            num_threads=self._config.resources.cpus_per_trial,
            epoch_timeout_s=self._config.resources.epoch_timeout_s,
            test_file=str(self._folder.test_file(self._index, number)),
        )
