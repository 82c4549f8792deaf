"""Charts that compare the backbones of a task. Each takes plain values and returns SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from orchestrator.report.drawing import GRAY, INK, SMALL, cased, draw, ink, label
from orchestrator.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Marked", "Place", "Priced", "Standing", "costs", "forest", "grouped", "ranks"]

_MOST_RANKS = 12
"""Ranks named on an axis."""

_LOG_FROM = 4.0
"""Ratio of costs from which on an axis is logarithmic."""

_DECADES = 100.0
"""Ratio of costs from which on there is room for the powers of ten alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A backbone's score, a fraction, with its interval."""

    name: str
    color: str
    marker: str
    score: float
    low: float
    high: float
    confirmed: float | None
    """Plain mean of the confirmations on the same scale; None without any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A backbone's rank; 1 is best. None where it has an interval alone."""

    name: str
    color: str
    marker: str
    rank: int | None
    low: int
    high: int
    found_low: int
    found_high: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """A backbone's score, a fraction, under each of several conditions; None where it was not measured."""

    name: str
    color: str
    marker: str
    scores: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced:
    """A backbone's score, on the axis' scale, and what it took."""

    name: str
    color: str
    marker: str
    cost: float
    """Seconds, above zero."""

    score: float
    on_front: bool
    """Whether nobody beats it in both."""


def forest(name: str, standings: Sequence[Standing]) -> Markup:
    """Scores with their intervals, best on top."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for row, one in enumerate(standings):
            cased(axes, [100 * one.low, 100 * one.high], [row, row], one.color, width=2.4)
            axes.plot(
                [100 * one.score],
                [row],
                color=ink(one.color),
                marker=one.marker,
                markersize=8,
                markeredgecolor=INK,
                markeredgewidth=0.8,
            )
            if one.confirmed is not None:
                axes.plot([100 * one.confirmed], [row], "|", color=INK, markersize=13, markeredgewidth=1.2)
        _names(axes, [one.name for one in standings])
        axes.set_xlabel("score, points")

    return draw(name, plot, height=0.75 + 0.3 * len(standings))


def ranks(name: str, places: Sequence[Place]) -> Markup:
    """Places each backbone can hold: thin for the backbones, thick for the configurations that were found."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        last = max(one.high for one in places)
        for row, one in enumerate(places):
            color = ink(one.color)
            axes.plot(
                [one.found_low, one.found_high], [row, row], color=color, linewidth=8, alpha=0.45, solid_capstyle="butt"
            )
            cased(axes, [one.low, one.high], [row, row], one.color, width=2.2)
            for end in (one.low, one.high):
                axes.plot([end], [row], "|", color=INK, markersize=9, markeredgewidth=1.4)
            if one.rank is not None:
                axes.plot([one.rank], [row], color=color, marker=one.marker, markersize=8, markeredgecolor=INK)
        _names(axes, [one.name for one in places])
        axes.set_xlim(0.6, last + 0.4)
        axes.set_xticks(range(1, last + 1, -(-last // _MOST_RANKS)))
        axes.set_xlabel("rank (1 is best)")

    return draw(name, plot, height=0.75 + 0.3 * len(places))


def grouped(name: str, groups: Sequence[str], spots: Sequence[Marked]) -> Markup:
    """For every group one marker per backbone."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        width = 0.7 / max(len(spots), 1)
        for place, spot in enumerate(spots):
            shift = (place - (len(spots) - 1) / 2) * width
            known = [(at + shift, 100 * score) for at, score in enumerate(spot.scores) if score is not None]
            axes.plot(
                [x for x, _ in known],
                [y for _, y in known],
                color=ink(spot.color),
                linestyle="",
                marker=spot.marker,
                markersize=6.5,
                markeredgecolor=INK,
                markeredgewidth=0.6,
                label=label(spot.name),
            )
        axes.set_xticks(range(len(groups)), [group.replace(" ", "\n") for group in groups])
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("score, points")
        _legend(figure, len(spots))

    return draw(name, plot, height=2.6 + 0.17 * _legend_rows(len(spots)))


def costs(name: str, spots: Sequence[Priced], *, x: str, y: str) -> Markup:
    """Score against seconds, with the front that nothing beats in both."""

    def plot(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

        axes = figure.subplots()
        front = sorted((spot.cost, spot.score) for spot in spots if spot.on_front)
        if len(front) > 1:
            axes.step(
                [cost for cost, _ in front],
                [score for _, score in front],
                where="post",
                color=GRAY,
                linewidth=1.2,
                linestyle="--",
                label="Pareto front",
            )
        for spot in spots:
            axes.plot(
                [spot.cost],
                [spot.score],
                color=ink(spot.color),
                linestyle="",
                marker=spot.marker,
                markersize=10 if spot.on_front else 6.5,
                markeredgecolor=INK,
                markeredgewidth=1.0 if spot.on_front else 0.6,
                label=label(spot.name),
            )
        known = [spot.cost for spot in spots]
        if max(known) >= _LOG_FROM * min(known):
            axes.set_xscale("log")
            subs = (1.0, 2.0, 5.0) if max(known) < _DECADES * min(known) else (1.0,)
            axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
        else:
            axes.set_xlim(0, 1.1 * max(known))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _legend(figure, len(spots) + 1)

    return draw(name, plot, height=2.8 + 0.17 * _legend_rows(len(spots) + 1))


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [label(one) for one in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _legend_rows(entries: int) -> int:
    return -(-entries // 2)


def _legend(figure: Figure, entries: int) -> None:
    figure.legend(
        loc="outside lower center", ncols=2 if entries > 1 else 1, fontsize=SMALL, handlelength=1.4, columnspacing=1.2
    )
