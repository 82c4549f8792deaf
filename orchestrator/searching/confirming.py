"""Which numbers the runs of a chosen configuration have: decided once, on disk before any of them starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from optuna.storages import BaseStorage

from orchestrator.planning.plan import StudyPlan
from orchestrator.seeding import CONFIRMATIONS_FROM, trial_seed
from orchestrator.workers.request import Phase

__all__ = ["ConfirmationPlans", "PlannedRun", "asked_runs"]

_ATTRIBUTE: Final = "confirmations:"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A confirmation, or a run of the same configuration on fewer samples."""

    phase: Phase
    train_frac: float
    seed: int


def asked_runs(plan: StudyPlan, seed: int) -> list[PlannedRun]:
    """The confirmations that a plan asks for, and then the same seeds on fewer samples.

    Args:
        seed: of the sweep.
    """
    seeds = [trial_seed(seed, CONFIRMATIONS_FROM + index) for index in range(plan.confirmations)]
    asked: list[tuple[Phase, float]] = [("confirmation", 1.0), *(("reduced", frac) for frac in plan.train_fracs)]
    return [PlannedRun(phase=phase, train_frac=frac, seed=one) for phase, frac in asked for one in seeds]


class ConfirmationPlans:
    """The runs planned of each configuration that was chosen in one study, in the ledger.

    There are several where a sweep was extended: with more trials another configuration may be chosen, and
    of the same one more confirmations may be asked.
    """

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        attributes = storage.get_study_user_attrs(study_id)
        self._plans: list[dict[str, Any]] = [attributes[name] for name in sorted(attributes) if _is_plan(name)]

    @property
    def all_numbers(self) -> frozenset[int]:
        """Of all runs ever planned."""
        return frozenset(number for plan in self._plans for number in _numbered(plan).values())

    @property
    def end(self) -> int:
        """One more than the largest number; 0 where nothing was planned."""
        return max(self.all_numbers, default=-1) + 1

    def planned(self, number: int) -> tuple[PlannedRun, dict[str, Any]] | None:
        """The run of this number and the configuration that it trains, without its seed; None of a search trial."""
        for plan in self._plans:
            for run, taken in _numbered(plan).items():
                if taken == number:
                    return run, dict(plan["config"])
        return None

    def numbers(self, config: Mapping[str, Any], runs: Sequence[PlannedRun], free: int) -> dict[PlannedRun, int]:
        """The numbers of `runs` of a configuration: those they were given before, else new ones.

        Args:
            config: of the runs; its seed does not matter.
            free: from here on no number is taken.
        """
        same = {name: value for name, value in config.items() if name != "seed"}
        known: dict[PlannedRun, int] = {}
        for plan in self._plans:
            if plan["config"] == same:
                known.update(_numbered(plan))
        if new := [run for run in runs if run not in known]:
            plan = {"config": same, "first": free, "runs": [[run.phase, run.train_frac, run.seed] for run in new]}
            self._storage.set_study_user_attr(self._study_id, f"{_ATTRIBUTE}{len(self._plans):04d}", plan)
            self._plans.append(plan)
            known.update(_numbered(plan))
        return {run: known[run] for run in runs}


def _is_plan(attribute: str) -> bool:
    return attribute.startswith(_ATTRIBUTE)


def _numbered(plan: Mapping[str, Any]) -> dict[PlannedRun, int]:
    runs = (PlannedRun(phase=phase, train_frac=frac, seed=seed) for phase, frac, seed in plan["runs"])
    return {run: number for number, run in enumerate(runs, plan["first"])}
