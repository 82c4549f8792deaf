"""Tables fit their terminal by leaving whole columns out."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.display import print_measures
from orchestrator.display.fitting import Column, fitting_table
from orchestrator.evaluated import Evaluated

COLUMNS = (
    Column(header="name", cells=["tf_efficientnet_lite0@random"], rank=0, justify="left"),
    Column(header="score", cells=["91.3"], rank=0),
    Column(header="rate", cells=["1.0e-03"], rank=2),
    Column(header="cost", cells=["120"], rank=1),
)


def _printed(width: int) -> list[str]:
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(fitting_table(COLUMNS, width))
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("width", "headers"),
    [(200, "name score rate cost"), (50, "name score cost"), (40, "name score"), (10, "name score")],
)
def test_the_highest_ranks_go_first_and_rank_zero_never(width: int, headers: str) -> None:
    table = fitting_table(COLUMNS, width)
    assert " ".join(str(column.header) for column in table.columns) == headers


@pytest.mark.parametrize("width", [40, 50, 80, 200])
def test_nothing_is_cut_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = _printed(width)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)


def test_a_class_may_be_called_like_markup() -> None:
    row = {"name": "recall", "split": "test", "condition": "class:[/b]", "value": 0.5}
    console = Console(width=80)
    with console.capture() as capture:
        print_measures(Evaluated(study="s", number=1, measures=(row,), captions={}, pictures=Path()), console)
    assert capture.get().split() == ["recall", "test", "class:[/b]", "0.5"]
