"""The parts of the page: charts, numbers in words, measures."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.report.drawing import INK, draw, label
from orchestrator.report.evaluations import MeasureSet
from orchestrator.report.figures_measures import confusion
from orchestrator.report.figures_ranking import Priced, costs
from orchestrator.report.wording import DASH, count, frozen, number, percent, points, rate, scale, seconds, span


def line(figure: object) -> None:
    axes = figure.subplots()  # type: ignore[attr-defined]
    axes.plot([0.001, 0.002], [1, 2], color=INK, marker="o", label=label("__a<b>$x$ 猫"))
    axes.legend()


def test_charts_are_the_same_and_their_ids_their_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, again, other = draw("a", line), draw("a", line), draw("b", line)
    assert one == again
    ids = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r"#([\w-]+)\"|url\(#([\w-]+)\)", svg))
        assert {a or b for a, b in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)} == own
    assert INK not in one
    assert "currentColor" in one
    assert "__a&lt;b&gt;$x$ 猫" in one
    assert ">0.0010<" in one  # numbers are rounded where they place, not where they are read


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_labels_are_short_and_on_one_line(text: str) -> None:
    written = label(text)
    assert len(written) <= 27
    assert not written.startswith("_")
    assert written.replace("\u200b", "").isprintable()


def test_a_class_nobody_is_of_has_no_share() -> None:
    svg = confusion("c", ["a", "b"], np.array([[3, 1], [0, 0]]))
    assert ">75<" in svg
    assert "nan" not in svg


@pytest.mark.parametrize(
    ("slowest", "ticks"),
    [(12.0, ["0", "3", "6", "9", "12"]), (5000.0, ["10", "100", "1000"])],
)
def test_costs_have_ticks_that_differ(slowest: float, ticks: list[str]) -> None:
    spots = [
        Priced(name=name, color="#0072B2", marker="o", cost=cost, score=80.0, on_front=True)
        for name, cost in (("a", 11.9), ("b", slowest))
    ]
    svg = costs("c", spots, x="time", y="accuracy")
    shown = re.findall(r">(\d+)<", svg.partition("time")[0])
    assert shown == ticks


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (points, 0.913, "91.3"),
        (percent, 0.9999, "> 99 %"),
        (percent, 0.0001, "< 1 %"),
        (percent, 1.0, "100 %"),
        (number, 1234.0, "1234"),
        (number, 0.012345, "0.0123"),
        (count, 2236682, "2.24 M"),
        (count, 12, "12"),
        (seconds, 0.012, "12 ms"),
        (seconds, 250.0, "4 min 10 s"),
        (seconds, 7500.0, "2 h 05 min"),
        (seconds, 3599.9, "1 h 00 min"),
        (rate, 3e-4, "3.0e-04"),
        (scale("r2").text, 0.91234, "0.912"),
        (scale("f1_macro").text, 0.91234, "91.2"),
    ],
)
def test_numbers_in_words(write: Callable[[float | None], str], value: float, text: str) -> None:
    assert write(value) == text
    assert write(None) == DASH
    assert write(math.nan) == DASH


def test_spans() -> None:
    assert [span(1, 3), span(2, 2), span(None, None)] == ["1 to 3", "2", DASH]
    assert [frozen(2, 8, 8), frozen(2, 5, 8), frozen(None, None, 8)] == ["2 of 8", "2 of 8, and from 5 on", DASH]


def test_measures_are_means_over_confirmations() -> None:
    def row(run: int, name: str, value: float | None, split: str = "test", condition: str = "") -> dict[str, object]:
        return {"number": run, "name": name, "split": split, "condition": condition, "value": value}

    rows = [row(7, "ece", 0.1), row(8, "ece", 0.3), row(8, "nll", None), row(7, "nll", math.inf)]
    rows += [row(7, "temperature", 1.5, "val"), row(7, "cka", 0.9, condition="block:1")]
    found = MeasureSet(rows)
    assert found.num_runs == 2
    assert found.mean("ece") == pytest.approx(0.2)
    assert found.sd("ece") == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert found.mean("nll") is None
    assert found.cells("nll", number) == (DASH, DASH)
    assert found.cells("ece", number) == ("0.2", "0.141")
    assert (found.mean("temperature"), found.anywhere("temperature")) == (None, 1.5)
    assert found.conditions("cka") == ["block:1"]
    assert found.sd("cka", "block:1") is None
