"""The ranking as Markdown: words first, then a table that renders anywhere."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from orchestrator.folder import SweepFolder
from orchestrator.markdown_page import ranking_page
from orchestrator.ranking import Ranking


def tables(text: str) -> list[list[list[str]]]:
    """Cells by table and row, as a renderer splits them; the marks of the columns left out."""
    found: list[list[list[str]]] = []
    lines = text.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = line.replace("\\|", "\0").strip("|").split("|")
            found[-1].append([cell.strip().replace("\0", "|") for cell in cells])
    return [[rows[0], *rows[2:]] for rows in found]


def test_every_task_has_its_verdict_and_a_row_for_each_backbone(swept: tuple[SweepFolder, Ranking]) -> None:
    _, ranking = swept
    text = ranking_page("Ranking of x", ranking)
    assert text.startswith("# Ranking of x\n")
    shown = tables(text)
    for verdict, (header, *rows) in zip(ranking.verdicts, shown, strict=False):
        assert f"\n## {verdict.task}\n" in text
        assert all(sentence in text for sentence in verdict.sentences)
        expected = [row for row in ranking.table.to_pylist() if row["task"] == verdict.task]
        assert [row[1] for row in rows] == [f"`{row['backbone']}`" for row in expected]
        assert {len(row) for row in rows} == {len(header)}
        scores = [row[header.index("score")] for row in rows]
        assert scores == ["-" if row["score"] is None else f"{100 * row['score']:.1f}" for row in expected]
    assert len(shown) == len(ranking.verdicts) + (len(ranking.scores) > 1)
    assert "nan" not in text.lower().split()


def test_what_is_not_known_is_a_dash_and_a_bar_in_a_text_splits_no_cell(swept: tuple[SweepFolder, Ranking]) -> None:
    _, ranking = swept
    [first, *_] = ranking.table.to_pylist()
    bare = {name: None if ranking.table.schema.field(name).nullable else value for name, value in first.items()}
    row = bare | {"status": "insufficient", "reason": "a | b\nc", "coverage": 0.999}
    odd = dataclasses.replace(ranking, table=pa.Table.from_pylist([row], ranking.table.schema), scores=())
    [[header, cells], *_] = tables(ranking_page("x", odd))
    found = dict(zip(header, cells, strict=True))
    assert (found["rank"], found["score"], found["learning rate"], found["frozen blocks"]) == ("-",) * 4
    assert (found["status"], found["coverage"]) == ("a | b c", "99 %"), "not all is not 100 %"
