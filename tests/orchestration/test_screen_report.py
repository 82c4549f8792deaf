"""A screen is held against what came out."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from scipy.stats import weightedtau

from orchestrator.ranking import RANKING
from orchestrator.records import SCREEN
from orchestrator.screen_report import BASELINE, foretold

SCORES = {"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.1, "failed": None}


def screen(**scores: dict[str, float | None]) -> pa.Table:
    rows = [
        {"task": "digits", "backbone": backbone, "name": name, "value": value, "duration_s": 0.1}
        for name, values in scores.items()
        for backbone, value in values.items()
    ]
    return pa.Table.from_pylist(rows, SCREEN)


def ranking() -> pa.Table:
    names = ("num_confirmations", "num_collapsed", "num_confirmations_lost")
    counts: dict[str, Any] = dict.fromkeys((*names, "num_trials", "num_completed", "num_stopped", "num_failed"), 1)
    rows = [
        {**counts, "task": "digits", "backbone": name, "status": "ranked" if score else "insufficient", "score": score}
        for name, score in SCORES.items()
    ]
    return pa.Table.from_pylist(rows, RANKING)


def test_each_score_is_given_the_tau_that_it_earned() -> None:
    right = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0, "failed": 9.0}
    wrong_below = {"a": 4.0, "b": 3.0, "c": 1.0, "d": 2.0}
    wrong_above = {"a": 3.0, "b": 4.0, "c": 2.0, "d": 1.0}
    [found] = foretold(screen(log_me=right, knn=wrong_below, h_score=wrong_above, num_params=right), ranking())
    assert found.taus["log_me"] == found.taus[BASELINE] == pytest.approx(1.0)
    final = [SCORES[name] for name in "abcd"]
    assert found.taus["knn"] == pytest.approx(weightedtau([4, 3, 1, 2], final).statistic)
    assert found.taus["h_score"] is not None
    assert found.taus["knn"] is not None
    assert found.taus["h_score"] < found.taus["knn"] < 1, "a mistake at the top costs more"
    assert set(found.num_compared.values()) == {4}, "who has no place is not compared"
    assert found.scores["log_me"] == right
    assert BASELINE in found.sentence


def test_what_cannot_be_compared_has_earned_nothing() -> None:
    single = {"a": 1.0, "b": None}
    alike = dict.fromkeys("abcd", 2.0)
    [found] = foretold(screen(leep=single, num_params=alike), ranking())
    assert found.taus == {"leep": None, "num_params": None}
    assert found.num_compared == {"leep": 1, "num_params": 4}
    [unranked] = foretold(screen(leep=alike), ranking().slice(0, 0))
    assert unranked.taus == {"leep": None}
    assert foretold(screen(), ranking()) == []
