"""How far a sweep came, from its tables and from what was planned."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from benchmarks.ranking_truth.tables import trial, trials_table
from orchestrator.progress import planned_runs, study_progress

Rows = list[dict[str, Any]]


def facts(**settings: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"search.random_trials": 2, "search.seed": 0, "budget.allocation": "equal"}
    known |= {"budget.trials": 4, "budget.confirmations": 2, "budget.train_fracs": "none"}
    return {"settings": known | settings, "studies": [{"study": "t:a"}, {"study": "t:b"}]}


def search(backbone: str, count: int, **fields: Any) -> Rows:
    """Random trials of which the third is the best."""
    scores = {2: 0.9}
    return [
        trial(number, backbone=backbone, freeze_depth=number, val_score=scores.get(number, 0.6)) | fields
        for number in range(count)
    ]


def repeats(backbone: str, first: int, count: int, *, of: int = 2, **fields: Any) -> Rows:
    """Confirmations of the trial with that number."""
    again = {"phase": "confirmation"} | fields
    return [trial(first + place, backbone=backbone, freeze_depth=of, **again) for place in range(count)]


def progress(rows: Rows, **settings: Any) -> dict[str, tuple[int, int, bool]]:
    found = study_progress(facts(**settings), trials_table(rows))
    return {one.study: (one.num_ended, one.num_planned, one.is_complete) for one in found}


def test_a_study_is_complete_when_its_confirmations_have_ended() -> None:
    done = [*search("a", 4), *repeats("a", 4, 2), *search("b", 4)]
    assert progress(done) == {"t:a": (6, 6, True), "t:b": (4, 6, False)}
    assert progress([*done, *repeats("b", 4, 1)])["t:b"] == (5, 6, False)
    failed = repeats("b", 4, 2, state="failed", val_score=None)
    assert progress([*done, *failed])["t:b"] == (6, 6, True), "what failed has ended"
    assert progress([]) == {"t:a": (0, 6, False), "t:b": (0, 6, False)}


def test_reduced_runs_are_planned_too() -> None:
    rows = [*search("a", 4), *repeats("a", 4, 2)]
    fracs = {"budget.train_fracs": "0.1, 0.3"}
    assert progress(rows, **fracs)["t:a"] == (6, 10, False)
    rows += repeats("a", 6, 4, phase="reduced", train_frac=0.1)
    assert progress(rows, **fracs)["t:a"] == (10, 10, True)


def test_where_every_trial_failed_there_is_nothing_to_confirm() -> None:
    assert progress(search("a", 4, state="failed", val_score=None))["t:a"] == (4, 4, True)
    assert progress(search("a", 3, state="failed", val_score=None))["t:a"] == (3, 6, False)


def test_more_budget_is_more_to_do() -> None:
    rows = [*search("a", 4), *repeats("a", 4, 2)]
    assert progress(rows, **{"budget.trials": 6})["t:a"] == (6, 8, False)
    assert progress(rows, **{"budget.confirmations": 3})["t:a"] == (6, 7, False)
    late = [trial(number, backbone="a", freeze_depth=number, val_score=0.5) for number in (6, 7)]
    assert progress([*rows, *late], **{"budget.trials": 6})["t:a"] == (8, 8, True), "the choice has not moved"
    # Two trials of another configuration that are better by far: the old confirmations count no more.
    better = [trial(number, backbone="a", freeze_depth=7, val_score=0.99, seed=number) for number in (6, 7)]
    assert progress([*rows, *better], **{"budget.trials": 6})["t:a"] == (6, 8, False)
    confirmed = repeats("a", 8, 2, of=7)
    assert progress([*rows, *better, *confirmed], **{"budget.trials": 6})["t:a"] == (8, 8, True)


@pytest.mark.parametrize("missing", ["settings", "studies"])
def test_what_nobody_wrote_down_is_not_known(missing: str) -> None:
    known = {name: value for name, value in facts().items() if name != missing}
    assert planned_runs(known) == {}
    assert study_progress(known, trials_table(search("a", 2))) == []
    assert study_progress({}, pa.Table.from_pylist([], schema=trials_table([]).schema)) == []


def test_a_race_is_complete_when_those_it_left_are_confirmed() -> None:
    race = {"budget.allocation": "race"}
    # One is better by far from the first look on, and the other is dropped.
    good = [trial(n, backbone="a", freeze_depth=n % 8, val_score=0.95, num_val=20_000) for n in range(4)]
    poor = [trial(n, backbone="b", freeze_depth=n % 8, val_score=0.3, num_val=20_000) for n in range(4)]
    assert progress([*good[:1], *poor], **race) == {"t:a": (1, 6, False), "t:b": (4, 6, False)}
    assert progress([*good, *poor], **race) == {"t:a": (4, 6, False), "t:b": (4, 4, True)}
    done = [*good, *poor, *repeats("a", 4, 2, of=0, num_val=20_000, val_score=0.95)]
    assert progress(done, **race) == {"t:a": (6, 6, True), "t:b": (4, 4, True)}
    all_failed = [row | {"state": "failed", "val_score": None} for row in [*good, *poor]]
    assert progress(all_failed, **race) == {"t:a": (4, 4, True), "t:b": (4, 4, True)}
