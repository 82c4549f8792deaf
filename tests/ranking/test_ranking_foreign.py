"""Plain tables of scores: what they are ranked by, and what is not claimed of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
from scipy.stats import t as student

from orchestrator.ranking import PAIRS, RANKING, InvalidTable, Ranking, foreign, rank_scores

Row = dict[str, Any]


def row(backbone: str, score: float, task: str = "pets", **fields: Any) -> Row:
    return {"task": task, "backbone": backbone, "score": score} | fields


def ranked(*rows: Row) -> Ranking:
    names = dict.fromkeys(name for one in rows for name in one)
    return rank_scores(pa.Table.from_pylist([{name: one.get(name) for name in names} for one in rows]))


def by_name(ranking: Ranking) -> dict[str, Row]:
    return {one["backbone"]: one for one in ranking.table.to_pylist()}


def answers(level: float, num: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    return "".join(str(int(value)) for value in rng.random(num) < level)


def answered(backbone: str, text: str, **fields: Any) -> Row:
    return row(backbone, text.count("1") / len(text), correct=text, **fields)


def test_without_seeds_and_examples_there_is_the_order_and_nothing_else() -> None:
    ranking = ranked(row("a", 0.8), row("b", 0.9), row("c", 0.8))
    assert ranking.table.schema.equals(RANKING)
    assert ranking.pairs.schema.equals(PAIRS)
    assert [(one["backbone"], one["rank"]) for one in ranking.table.to_pylist()] == [("b", 1), ("a", 2), ("c", 2)]
    for one in ranking.table.to_pylist():
        assert {one[key] for key in ("rank_low", "rank_high", "ci_low", "p_best", "tied_with_leader")} == {None}
    assert ranking.pairs.num_rows == 0
    (verdict,) = ranking.verdicts
    assert verdict.leaders == ()
    assert verdict.sentences[0] == "b scores highest of 3 backbones."
    assert "whether any difference is more than luck cannot be said" in " ".join(verdict.sentences)
    assert "The chance level is not in the table" in " ".join(verdict.sentences)


def test_seeds_give_students_interval() -> None:
    runs = {"a": [0.80, 0.82, 0.84], "b": [0.70, 0.72, 0.71]}
    ranking = ranked(*(row(name, score, seed=seed) for name, of in runs.items() for seed, score in enumerate(of)))
    pooled = (np.var(runs["a"], ddof=1) + np.var(runs["b"], ddof=1)) / 2
    half = student.ppf(0.975, 4) * math.sqrt(pooled / 3)
    first = by_name(ranking)["a"]
    assert first["ci_high"] - first["score"] == pytest.approx(half)
    assert (first["rank_low"], first["rank_high"]) == (1, 1)
    assert first["confirmation_sd"] == pytest.approx(0.02)
    assert "intervals cover seeds alone" in " ".join(ranking.verdicts[0].sentences)


def test_the_top_pair_is_told_apart_though_the_first_shares_its_place() -> None:
    """b is never wrong where a is right; c, a little behind, is another kind and may be the best as well."""
    a = "1" * 700 + "0" * 300
    b, c = "0" * 12 + a[12:], "0" * 300 + "1" * 685 + "0" * 15
    (verdict,) = ranked(answered("a", a), answered("b", b), answered("c", c)).verdicts
    assert (verdict.leaders, verdict.top_pair_apart) == (("a", "c"), True)
    assert not any("The top two" in line for line in verdict.sentences)


def test_one_backbone_without_a_second_seed_leaves_no_seeds() -> None:
    ranking = ranked(row("a", 0.80, seed=0), row("a", 0.81, seed=1), row("b", 0.7, seed=0))
    assert by_name(ranking)["a"]["rank_low"] is None
    assert by_name(ranking)["a"]["score"] == pytest.approx(0.805)


def test_examples_are_paired() -> None:
    """b fails where a fails and on 25 more: by itself each score is vague, their difference is not."""
    base = answers(0.7, 1000, 0)
    worse = list(base)
    for index in [index for index, one in enumerate(base) if one == "1"][:25]:
        worse[index] = "0"
    ranking = ranked(answered("a", base), answered("b", "".join(worse)))
    found = by_name(ranking)
    assert found["a"]["ci_low"] < found["b"]["score"]
    assert (found["a"]["rank_high"], found["b"]["rank_low"]) == (1, 2)
    assert found["a"]["num_test"] == 1000
    [pair] = ranking.pairs.to_pylist()
    sd = math.sqrt(0.025 * 0.975 / 999)
    assert pair["difference"] == pytest.approx(0.025)
    assert pair["ci_low"] == pytest.approx(0.025 - 1.96 * sd, abs=3e-4)
    assert "nothing is claimed about other seeds" in " ".join(ranking.verdicts[0].sentences)


def test_seeds_and_examples_together_and_lists_as_well_as_texts() -> None:
    rows = [answered(name, answers(0.8, 400, seed), seed=seed) for seed, name in enumerate(["a", "a", "b", "b"])]
    texts = ranked(*rows)
    lists = ranked(*({**one, "correct": [digit == "1" for digit in one["correct"]]} for one in rows))
    parts = ranked(
        *(
            {**{k: v for k, v in one.items() if k != "correct"}, "example_scores": [float(d) for d in one["correct"]]}
            for one in rows
        )
    )
    assert texts.table.equals(lists.table)
    assert texts.table.equals(parts.table)
    (verdict,) = texts.verdicts
    assert verdict.num_test_needed is not None or verdict.times_needed is not None or verdict.num_seeds_needed
    assert not any("Per-example results are not" in line for line in verdict.sentences)


def test_chance_is_taken_out() -> None:
    found = by_name(ranked(row("a", 0.75, chance=0.5), row("b", 0.4, chance=0.5)))
    assert (found["a"]["score"], found["b"]["score"]) == (0.5, pytest.approx(-0.2))


def test_tasks_are_ranked_apart_and_adding_a_backbone_moves_nobody() -> None:
    rows = [
        row(name, score, task, seed=seed)
        for task in "st"
        for name, score in (("a", 0.8), ("b", 0.7))
        for seed in (0, 1)
    ]
    two, three = ranked(*rows), ranked(*rows, row("c", 0.1, "s", seed=0), row("c", 0.2, "s", seed=1))
    assert [verdict.task for verdict in two.verdicts] == ["s", "t"]
    for one in two.table.to_pylist():
        [other] = [o for o in three.table.to_pylist() if (o["task"], o["backbone"]) == (one["task"], one["backbone"])]
        assert other["score"] == one["score"]


def test_the_example_in_the_description_is_one() -> None:
    lines = [line.strip() for line in (foreign.__doc__ or "").splitlines()]
    start = lines.index("task,backbone,seed,score,chance,correct")
    text = "\n".join(lines[start : start + 5]).encode()
    table = csv.read_csv(
        pa.BufferReader(text), convert_options=csv.ConvertOptions(column_types={"correct": pa.string()})
    )
    found = by_name(rank_scores(table))
    assert found["vit_b16"]["score"] == pytest.approx((0.875 - 0.25) / 0.75)
    assert (found["resnet50"]["rank"], found["resnet50"]["num_test"]) == (2, 8)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("a", 91.3)], "row 1: score must be at most 1, got 91.3; points of 100 are divided by 100"),
        ([row("a", 0.5), row("b", float("nan"))], "row 2: score must be a finite number"),
        ([row("a", None)], "row 1: score must be a finite number, got None"),
        ([row("", 0.5)], "row 1: backbone is missing"),
        ([row("a", 0.5), row("a", 0.6)], "2 rows and 1 different seeds; runs of a backbone need a column seed"),
        ([row("a", 0.5, chance=0.1), row("b", 0.6, chance=0.2)], "chance must be the same in all rows"),
        ([row("a", 0.5, chance=1.0)], r"chance must lie in \[0, 1\)"),
        ([row("a", 0.5, correct="01x1")], "correct must be a text of 0 and 1"),
        ([row("a", 0.5, correct="01", example_scores=[0.5])], "only one of correct and example_scores"),
        ([row("a", 0.5, correct="01"), row("b", 0.75, correct="0111")], r"same test examples, got numbers \[2, 4\]"),
        ([row("a", 0.9, correct="01")], "mean of the per-example results is 0.5000, the score 0.9000"),
        ([row("a", 0.5, example_scores=[float("inf"), 0.0])], "example_scores must be finite"),
        ([row("a", 0.5, correct=[True, None])], "example_scores must be finite"),
        ([row("a", 0.5, speed=3)], r"unknown: \['speed'\]"),
        ([{"task": "t", "score": 0.4}], r"missing: \['backbone'\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(rows: list[Row], words: str) -> None:
    with pytest.raises(InvalidTable, match=words):
        ranked(*rows)
