"""What a run costs, from the runs that have ended, and before there are any from the plan.

A cost is the time that a run holds its slot, in seconds. A study whose runs of a kind have not ended yet is taken to
cost what its other kinds foretell, epoch for epoch; one of which nothing has ended, what the plan says of it beside
the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.planning.cost import RACE_TRIALS
from orchestrator.planning.plan import Plan, StudyPlan
from orchestrator.workers.request import SEARCHED

__all__ = ["Kind", "Pace", "kind_of"]

Kind = tuple[Literal["random", "searched", "confirmation", "reduced"], float]
"""What runs cost alike: they train to the same epoch on the same share of the samples."""


def kind_of(phase: str, train_frac: float) -> Kind:
    """Of a run, by its phase."""
    if phase == "confirmation":
        return "confirmation", 1.0
    if phase == "reduced":
        return "reduced", train_frac
    return ("searched" if phase in SEARCHED - {"random"} else "random"), 1.0


@dataclass(slots=True)
class _Spent:
    """On the runs of a kind that have ended."""

    num: int = 0
    cost_s: float = 0.0
    passes: float = 0.0
    """Over the whole training split: epochs, times the share that was trained on."""

    def add(self, other: _Spent) -> None:
        self.num += other.num
        self.cost_s += other.cost_s
        self.passes += other.passes

    @property
    def pass_s(self) -> float | None:
        return self.cost_s / self.passes if self.passes else None


class Pace:
    """Learns from every run that ends what those to come will cost."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._studies = {study.key: study for study in plan.studies}
        self._spent: dict[str, dict[Kind, _Spent]] = {key: {} for key in self._studies}

    @property
    def is_measured(self) -> bool:
        """Whether any run has ended that trained."""
        return any(spent.passes for kinds in self._spent.values() for spent in kinds.values())

    def learn(self, study: str, kind: Kind, *, cost_s: float, epochs: int) -> None:
        """A run has ended after so many epochs."""
        ended = _Spent(num=1, cost_s=cost_s, passes=epochs * kind[1])
        self._spent[study].setdefault(kind, _Spent()).add(ended)

    def run_s(self, study: str, kind: Kind) -> float | None:
        """What a run is expected to cost; None where neither a run nor the plan tells."""
        spent = self._spent[study].get(kind)
        if spent is not None and spent.num:
            return spent.cost_s / spent.num
        pass_s = self._pass_s(study)
        if pass_s is None:
            return None
        return pass_s * _passes(self._studies[study], kind) * (self._surcharge() if kind[0] == "confirmation" else 1.0)

    def _pass_s(self, study: str) -> float | None:
        """Of one pass over a study's training split."""
        measured = _total(self._spent[study].values()).pass_s
        if measured is not None:
            return measured
        planned = self._planned_pass_s(study)
        others = {key: pass_s for key, kinds in self._spent.items() if (pass_s := _total(kinds.values()).pass_s)}
        if not others:
            return planned
        foretold = [self._planned_pass_s(key) for key in others]
        if planned is None or not all(foretold):
            return sum(others.values()) / len(others)
        return planned * sum(others.values()) / sum(one for one in foretold if one)

    def _planned_pass_s(self, study: str) -> float | None:
        one = self._studies[study]
        planned_s = self._plan.seconds(one)
        return None if planned_s is None else planned_s / _planned_passes(self._plan, one)

    def _surcharge(self) -> float:
        """Of a confirmation over a trial, pass for pass: it is measured further. 1 before one has ended."""
        pairs = [
            (confirmed.pass_s, searched.pass_s)
            for kinds in self._spent.values()
            if (confirmed := kinds.get(("confirmation", 1.0)))
            for searched in [_total(spent for kind, spent in kinds.items() if kind[0] in ("random", "searched"))]
        ]
        known = [(one, other) for one, other in pairs if one and other]
        return sum(one for one, _ in known) / sum(other for _, other in known) if known else 1.0


def _passes(study: StudyPlan, kind: Kind) -> float:
    """Of one run."""
    if kind[0] != "searched":
        return study.max_epochs * kind[1]
    # What the plan expects of all runs, less those that train to the end.
    num = study.trials - study.random_trials
    whole = study.random_trials + study.confirmations + study.reduced_runs
    if num <= 0:
        return study.max_epochs
    return max(study.grace_epochs, min(study.max_epochs, (study.epochs_expected - whole * study.max_epochs) / num))


def _planned_passes(plan: Plan, study: StudyPlan) -> float:
    """That the plan's seconds pay for."""
    num_searched = study.trials - study.random_trials
    if plan.allocation == "race":
        searched: float = min(num_searched, RACE_TRIALS) * study.max_epochs
    else:
        searched = num_searched * _passes(study, ("searched", 1.0))
    reduced = study.confirmations * sum(study.train_fracs)
    return searched + (study.random_trials + study.confirmations + reduced) * study.max_epochs


def _total(parts: Iterable[_Spent]) -> _Spent:
    total = _Spent()
    for part in parts:
        total.add(part)
    return total
