"""Two rankings beside each other."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from stressed import StressedWorld
from world import Model, World

from orchestrator.ranking import (
    Comparison,
    Ranking,
    RankingOptions,
    aggregate,
    common_weights,
    compare,
    rank,
    rank_scores,
)
from orchestrator.ranking.schema import COMPARISON


def scores(**means: float) -> Ranking:
    rows = [
        {"task": "t", "backbone": name, "seed": seed, "score": mean + (seed - 1) * 0.01, "chance": 0.0}
        for name, mean in means.items()
        for seed in range(3)
    ]
    return rank_scores(pa.Table.from_pylist(rows))


def by_name(comparison: Comparison) -> dict[str, dict[str, Any]]:
    return {row["backbone"]: row for row in comparison.table.to_pylist()}


def test_a_ranking_equals_itself() -> None:
    one = scores(a=0.9, b=0.8)
    found = compare(one, one)
    assert found.table.schema.equals(COMPARISON)
    for row in found.table.to_pylist():
        assert (row["rank_change"], row["moved"], row["difference"]) == (0, False, 0.0)
        assert row["difference_low"] < 0 < row["difference_high"]
    assert found.sentences == ("t: a is first among the 2 backbones of both.", "t: nobody changed place.")


def test_moves_beyond_the_intervals_and_within_them() -> None:
    found = compare(scores(a=0.9, b=0.8, c=0.5, d=0.501), scores(a=0.8, b=0.9, c=0.501, d=0.5))
    rows = by_name(found)
    assert [row["backbone"] for row in found.table.to_pylist()] == ["b", "a", "c", "d"]
    assert [rows[name]["rank_change"] for name in "abcd"] == [1, -1, -1, 1]
    assert [rows[name]["moved"] for name in "abcd"] == [True, True, False, False]
    assert rows["a"]["difference"] == pytest.approx(-0.1)
    assert rows["a"]["difference_high"] < 0
    text = " ".join(found.sentences)
    assert "the first place goes from a to b among the 4 backbones of both" in text
    assert "b and a changed place by more than the rank intervals allow for" in text
    assert "the score of b and a differs beyond seeds and test set" in text
    luck = compare(scores(c=0.5, d=0.501), scores(c=0.501, d=0.5))
    assert "t: c and d changed place, all within their rank intervals: it may be luck." in luck.sentences


def test_who_joins_moves_nobody() -> None:
    found = compare(scores(a=0.8, b=0.7), scores(a=0.8, b=0.7, c=0.9))
    rows = by_name(found)
    assert [rows[name]["rank_change"] for name in "ab"] == [0, 0]
    assert (rows["c"]["status"], rows["c"]["score_b"], rows["c"]["rank_b"]) == ("only_b", pytest.approx(0.9), None)
    assert "t: only b ranks c." in found.sentences
    nobody = compare(scores(a=0.8), scores(b=0.7))
    assert nobody.sentences[0] == "t: no backbone is ranked by both."


def test_without_errors_nothing_is_called_more_than_luck() -> None:
    bare = rank_scores(pa.table({"task": ["t", "t"], "backbone": ["a", "b"], "score": [0.9, 0.8]}))
    found = compare(bare, scores(a=0.7, b=0.8))
    row = by_name(found)["a"]
    assert (row["rank_change"], row["difference"]) == (1, pytest.approx(-0.2))
    assert {row[key] for key in ("moved", "difference_low", "ci_low_a", "rank_low_a")} == {None}
    assert any("whether anything is more than luck cannot be said" in line for line in found.sentences)


def test_a_sweep_beside_a_table_of_scores() -> None:
    found = compare(rank(*World(models={"a": Model(), "b": Model(best=0.8)}).tables()), scores(a=0.85, b=0.8))
    assert set(by_name(found)) == {"a", "b"}
    assert not any("budget" in line for line in found.sentences)


def test_scores_made_of_other_conditions_are_said_and_can_be_made_alike() -> None:
    models = {"a": Model(), "b": Model(best=0.8)}
    stressed, plain = StressedWorld(models=models), World(models=models, num_tpe=5, seed=1)
    a, b = rank(*stressed.tables()), rank(*plain.tables())
    found = compare(a, b)
    text = " ".join(found.sentences)
    assert "the scores are not made of the same: quality, ease, data_efficiency and robustness in a" in text
    assert "the budget differs: 8 trials per backbone in a, 10 in b" in text
    weights = common_weights(a, b)
    assert weights == {"quality": 0.6, "ease": 0.2}
    same = RankingOptions(weights=weights)
    again = compare(rank(*stressed.tables(), options=same), rank(*plain.tables(), options=same))
    assert "not made of the same" not in " ".join(again.sentences)


def test_tasks_of_one_side_and_other_test_sets_are_named() -> None:
    models = {"a": Model(), "b": Model(best=0.8)}
    one = World(models=models)
    other = World(models=models, num_test=900)
    extra = World(models=models, task="s").tables()
    both = rank(*(pa.concat_tables(tables) for tables in zip(other.tables(), extra, strict=True)))
    found = compare(rank(*one.tables()), both)
    assert "t: the number of test examples differs: 1000 in a, 900 in b." in found.sentences
    assert "s: only b ranks it." in found.sentences
    assert set(found.table["task"].to_pylist()) == {"t"}
    assert aggregate(both).table.num_rows == 2
