"""Charts that compare the backbones of a task. Each takes plain values and returns SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from orchestrator.report.drawing import GRAY, INK, MARKERS, SMALL, draw, ink, label
from orchestrator.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Place", "Standing", "costs", "forest", "grouped", "ranks"]


_LOG_FROM = 4.0
"""Ratio of costs from which on an axis is logarithmic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A backbone's score, a fraction, with its interval."""

    name: str
    color: str
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
    rank: int | None
    low: int
    high: int
    found_low: int
    found_high: int


def forest(name: str, standings: Sequence[Standing]) -> Markup:
    """Scores with their intervals, best on top."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for place, one in enumerate(standings):
            color, marker = ink(one.color), MARKERS[place % len(MARKERS)]
            axes.plot([100 * one.low, 100 * one.high], [place, place], color=color, linewidth=2.2)
            axes.plot([100 * one.score], [place], color=color, marker=marker, markersize=7, markeredgecolor=INK)
            if one.confirmed is not None:
                axes.plot([100 * one.confirmed], [place], "|", color=INK, markersize=11, markeredgewidth=1.2)
        _names(axes, [one.name for one in standings])
        axes.set_xlabel("score, points (0 is chance, 100 is perfect)")

    return draw(name, plot, height=0.85 + 0.3 * len(standings))


def ranks(name: str, places: Sequence[Place]) -> Markup:
    """Places each backbone can hold: thin for the backbones, thick for the configurations that were found."""

    def plot(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for row, one in enumerate(places):
            color = ink(one.color)
            axes.plot([one.low, one.high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
            axes.plot(
                [one.found_low, one.found_high], [row, row], color=color, linewidth=7, alpha=0.45, solid_capstyle="butt"
            )
            for end in (one.low, one.high):
                axes.plot([end], [row], "|", color=color, markersize=9, markeredgewidth=1.6)
            if one.rank is not None:
                marker = MARKERS[row % len(MARKERS)]
                axes.plot([one.rank], [row], color=color, marker=marker, markersize=7, markeredgecolor=INK)
        _names(axes, [one.name for one in places])
        axes.set_xlim(0.6, max(one.high for one in places) + 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("rank (1 is best)")

    return draw(name, plot, height=0.85 + 0.3 * len(places))


def grouped(
    name: str, groups: Sequence[str], values: Mapping[str, Sequence[float | None]], colors: Mapping[str, str]
) -> Markup:
    """For every group one marker per backbone. values: backbone -> its score in each group, fractions."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        width = 0.7 / max(len(values), 1)
        for place, (backbone, scores) in enumerate(values.items()):
            shift = (place - (len(values) - 1) / 2) * width
            spots = [(at + shift, 100 * score) for at, score in enumerate(scores) if score is not None]
            axes.plot(
                [x for x, _ in spots],
                [y for _, y in spots],
                color=ink(colors[backbone]),
                linestyle="",
                marker=MARKERS[place % len(MARKERS)],
                markersize=6,
                markeredgecolor=INK,
                markeredgewidth=0.5,
                label=label(backbone),
            )
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("score, points")
        _legend(figure, len(values))

    return draw(name, plot, height=2.6 + 0.16 * _legend_rows(len(values)))


def costs(
    name: str,
    spots: Sequence[tuple[str, str, float, float, bool]],
    *,
    x: str,
    y: str,
) -> Markup:
    """Score against seconds, with the front that nothing beats in both.

    spots: (backbone, colour, seconds > 0, score on the axis' scale, whether on the front).
    """

    def plot(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

        axes = figure.subplots()
        front = sorted((cost, score) for _, _, cost, score, on_front in spots if on_front)
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
        for place, (backbone, color, cost, score, on_front) in enumerate(spots):
            axes.plot(
                [cost],
                [score],
                color=ink(color),
                linestyle="",
                marker=MARKERS[place % len(MARKERS)],
                markersize=9 if on_front else 6,
                markeredgecolor=INK,
                markeredgewidth=1.0 if on_front else 0.4,
                label=label(backbone),
            )
        known = [cost for _, _, cost, _, _ in spots]
        if max(known) >= _LOG_FROM * min(known):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        else:
            axes.set_xlim(0, 1.1 * max(known))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _legend(figure, len(spots) + 1)

    return draw(name, plot, height=2.8 + 0.16 * _legend_rows(len(spots) + 1))


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
