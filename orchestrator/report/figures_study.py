"""Charts of one backbone's search: tuning curves, depth, learning rate, epochs. Plain values in, SVG out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from orchestrator.report.drawing import GRAY, INK, SMALL, cased, draw, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "Epochs", "Surface", "depth_curve", "learning_curves", "surface_map", "tuning_curve"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A curve with its interval; `low` and `high` are NaN where there is none."""

    x: Array
    y: Array
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """Scores over depth and learning rate; NaN where there is none."""

    depths: Array
    """Shares of blocks frozen, ascending, shape (d,)."""

    log_rates: Array
    """log10 of the learning rates, ascending, shape (r,)."""

    scores: Array
    """Shape (d, r)."""

    probe: tuple[float, float] | None
    """Share of blocks frozen and score of the linear probe, which has no learning rate."""


def tuning_curve(name: str, color: str, replay: Band | None, slice_: Band | None, y: str) -> Markup:
    """Expected test score of the validation-best of n random trials."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        if replay is not None:
            _band(axes, replay, ink(color))
            cased(axes, replay.x, replay.y, color, marker="o", label="replay on the smoothed surface")
        if slice_ is not None:
            known = np.isfinite(slice_.low) & np.isfinite(slice_.high)
            if known.any():
                below, above = (slice_.y - slice_.low)[known], (slice_.high - slice_.y)[known]
                errors = np.maximum(np.stack([below, above]), 0)
                axes.errorbar(slice_.x[known], slice_.y[known], errors, color=GRAY, linestyle="", capsize=3)
            axes.plot(slice_.x, slice_.y, color=INK, linestyle=":", marker="x", label="random slice alone (check)")
        axes.set_xscale("log", base=2)
        ticks = sorted({float(n) for band in (replay, slice_) if band is not None for n in band.x})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("random trials")
        axes.set_ylabel(y)
        figure.legend(loc="outside lower center", ncols=1)

    return draw(name, plot, height=3.0)


def depth_curve(name: str, color: str, curve: Band, tried: tuple[Array, Array], chosen: float | None, y: str) -> Markup:
    """Score against the share of blocks frozen, learning rate tuned anew at each depth.

    tried: share frozen and validation score of completed trials. chosen: share frozen that was chosen.
    """

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        _band(axes, curve, ink(color))
        cased(axes, curve.x, curve.y, color, label="smoothed test score")
        axes.plot(*tried, color=INK, linestyle="", marker="x", markersize=4, alpha=0.7, label="trials (validation)")
        if chosen is not None:
            axes.axvline(chosen, color=GRAY, linewidth=1, linestyle="--", label="chosen depth")
        _room(axes, np.concatenate([curve.low, curve.high, curve.y]))
        axes.set_xlim(-0.04, 1.04)
        axes.set_xlabel("share of blocks frozen")
        axes.set_ylabel(y)
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1, handlelength=1.4)

    return draw(name, plot, height=3.0)


def surface_map(
    name: str,
    surface: Surface,
    tried: tuple[Array, Array],
    chosen: tuple[float, float | None] | None,
    color_label: str,
) -> Markup:
    """The smoothed score over depth and learning rate; light is better.

    tried: log10 learning rate and share frozen of completed trials that tuned blocks. chosen: share frozen and
    log10 learning rate of the chosen configuration, None for a rate it does not have.
    """

    def plot(figure: Figure) -> None:
        from matplotlib.colors import Normalize

        finite = surface.scores[np.isfinite(surface.scores)]
        low, high = float(np.quantile(finite, 0.05)), float(finite.max())
        if surface.probe is not None:
            low, high = min(low, surface.probe[1]), max(high, surface.probe[1])
        look = {"cmap": "cividis", "norm": Normalize(low, high), "aspect": "auto", "interpolation": "none"}
        star = {"linestyle": "", "marker": "*", "markersize": 13, "color": "#D55E00", "markeredgecolor": "#FFFFFF"}
        axes, side, bar = figure.subplots(1, 3, width_ratios=(1, 0.06, 0.05))
        extent = (*_edges(surface.log_rates), *_edges(surface.depths))
        axes.imshow(surface.scores, origin="lower", extent=extent, **look)
        axes.plot(*tried, linestyle="", marker="o", markersize=3.2, color="#FFFFFF", markeredgecolor="#000000")
        spots = tried
        if chosen is not None and chosen[1] is not None:
            axes.plot([chosen[1]], [chosen[0]], **star)
            spots = (np.append(tried[0], chosen[1]), np.append(tried[1], chosen[0]))
        # What was tried may lie beyond where the random trials looked.
        axes.set_xlim(_around(extent[:2], spots[0], 0.1))
        axes.set_ylim(_around(extent[2:], spots[1], 0.05))
        axes.grid(visible=False)
        _decades(axes)
        axes.set_ylabel("share of blocks frozen")
        _bare(side)
        if surface.probe is None:
            side.set_visible(False)
        else:
            side.imshow([[surface.probe[1]]], **look)
            side.set_title("probe", fontsize=SMALL)
            if chosen is not None and chosen[1] is None:
                side.plot([0], [0], **star)
        _bare(bar)
        bar.imshow(np.linspace(low, high, 64)[:, None], origin="lower", extent=(0, 1, low, high + 1e-9), **look)
        bar.tick_params(axis="y", labelleft=False, labelright=True, right=True, left=False)
        bar.yaxis.set_label_position("right")
        bar.set_yticks(np.linspace(low, high, 4), [f"{value:.3g}" for value in np.linspace(low, high, 4)])
        bar.set_ylabel(color_label, fontsize=SMALL)

    return draw(name, plot, height=2.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epochs:
    """One run by epoch: arrays of one length."""

    epoch: Array
    score: Array
    """On validation."""

    train_loss: Array
    val_loss: Array
    collapsed: bool


def learning_curves(name: str, color: str, runs: Sequence[Epochs], y: str) -> Markup:
    """Epochs of the confirmations, a line each; collapsed ones are dotted."""

    def plot(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        left, right = figure.subplots(1, 2)
        for run in runs:
            if run.collapsed:
                look = {"color": GRAY, "linestyle": ":", "linewidth": 1.4, "marker": "x", "markersize": 4}
                left.plot(run.epoch, run.score, label="collapsed, left out", **look)
                right.plot(run.epoch, run.val_loss, **look)
                continue
            cased(left, run.epoch, run.score, color, width=1.2, marker="o", markersize=3, label="validation")
            look = {"color": GRAY, "linestyle": "--", "linewidth": 1, "marker": "s", "markersize": 3}
            right.plot(run.epoch, run.train_loss, label="training", **look)
            cased(right, run.epoch, run.val_loss, color, width=1.2, marker="o", markersize=3)
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
        left.set_ylabel(y)
        right.set_ylabel("loss")
        lines = [pair for axes in (left, right) for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
        shown = {said: line for line, said in lines}
        figure.legend(shown.values(), shown, loc="outside lower center", ncols=3, columnspacing=1, handlelength=1.6)

    return draw(name, plot, height=2.6)


def _band(axes: Axes, band: Band, color: str) -> None:
    known = np.isfinite(band.low) & np.isfinite(band.high)
    if known.any():
        axes.fill_between(band.x[known], band.low[known], band.high[known], color=color, alpha=0.2, linewidth=0)


def _room(axes: Axes, values: Array) -> None:
    """Limit the axis to what matters: one diverged trial may not flatten the curve."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = 0.15 * max(high - low, 1e-9)
    axes.set_ylim(max(low - 3 * margin, min(low, 0.0)), high + margin)


def _edges(centres: Array) -> tuple[float, float]:
    step = float(np.diff(centres).mean()) if len(centres) > 1 else 1.0
    return float(centres[0]) - step / 2, float(centres[-1]) + step / 2


def _around(limits: tuple[float, float], spots: Array, margin: float) -> tuple[float, float]:
    return min([limits[0], *(spots - margin)]), max([limits[1], *(spots + margin)])


def _decades(axes: Axes) -> None:
    """Label an axis of log10 learning rates."""
    left, right = axes.get_xlim()
    ticks = [float(tick) for tick in range(math.ceil(left), math.floor(right) + 1)] or [(left + right) / 2]
    axes.set_xticks(ticks, [f"{10**tick:.0e}".replace("e-0", "e-") for tick in ticks])
    axes.set_xlabel("learning rate")


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
