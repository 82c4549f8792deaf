"""Charts of what was measured of a confirmed configuration. Plain values in, SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from orchestrator.report.drawing import GRAY, INK, SMALL, cased, draw, ink, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NUMBERED", "confusion", "drift", "perturbed", "reliability"]

_SMALL_SIZE = 4.0
NUMBERED = 12
"""Classes up to which a confusion matrix has room for its numbers."""


def perturbed(name: str, color: str, scores: Mapping[str, Mapping[int, float]], clean: float | None, x: str) -> Markup:
    """Score under each perturbation, a marker per severity; the line is the score without any.

    scores: perturbation -> severity (1 is mild) -> score on the axis' scale. clean: on the same scale.
    """

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        if clean is not None:
            axes.axvline(clean, color=INK, linewidth=1, linestyle="--", label="clean")
        shown: set[int] = set()
        for row, by_severity in enumerate(scores.values()):
            axes.plot(list(by_severity.values()), [row] * len(by_severity), color=GRAY, linewidth=0.8, zorder=1)
            for severity, score in by_severity.items():
                axes.plot(
                    [score],
                    [row],
                    color=ink(color),
                    alpha=min(1.0, 0.25 + 0.25 * severity),
                    linestyle="",
                    marker="o",
                    markeredgecolor=INK,
                    markeredgewidth=0.6,
                    markersize=_SMALL_SIZE + 1.6 * severity,
                    label=None if severity in shown else f"severity {severity}",
                )
                shown.add(severity)
        axes.set_yticks(range(len(scores)), [label(one.replace("_", " ")) for one in scores])
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.set_xlabel(x)
        figure.legend(loc="outside lower center", ncols=4, columnspacing=1, handlelength=1.2)

    return draw(name, plot, height=1.15 + 0.26 * len(scores))


def reliability(name: str, color: str, bins: Sequence[tuple[float, float, float]]) -> Markup:
    """How often answers are right against how sure they are. bins: (confidence, accuracy, samples)."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        confidence, accuracy, num = (np.array(column) for column in zip(*bins, strict=True))
        axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="perfectly calibrated")
        cased(axes, confidence, accuracy, color, width=1)
        look: dict[str, Any] = {"color": ink(color), "edgecolors": INK, "linewidths": 0.6, "zorder": 3}
        sizes = 10 + 50 * num / max(float(num.max()), 1.0)
        axes.scatter(confidence, accuracy, s=sizes, label="bins of the test set", **look)
        low = max(0.0, min(float(confidence.min()), float(accuracy.min())) - 0.05)
        axes.set_xlim(low, 1.02)
        axes.set_ylim(low, 1.02)
        axes.set_xlabel("confidence of the answer")
        axes.set_ylabel("share right")
        figure.legend(loc="outside lower center", ncols=2)

    return draw(name, plot, height=3.0)


def drift(name: str, color: str, blocks: Sequence[tuple[int, float]], freeze_depth: int | None) -> Markup:
    """Similarity of each block's features before and after tuning. blocks: (place, CKA)."""

    def plot(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        places, values = ([pair[side] for pair in blocks] for side in (0, 1))
        if freeze_depth:
            axes.axvspan(-0.5, freeze_depth - 0.5, color=GRAY, alpha=0.2, linewidth=0, label="frozen blocks")
        cased(axes, places, values, color, marker="o", label="CKA, 1 is unchanged")
        axes.set_xlim(-0.5, max(places) + 0.5)
        axes.set_ylim(min(0.95, min(values) - 0.05), 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("block, counted from the input")
        axes.set_ylabel("similarity to the pretrained")
        figure.legend(loc="outside lower center", ncols=2)

    return draw(name, plot, height=2.6)


def confusion(name: str, class_names: Sequence[str], counts: npt.NDArray[np.int64]) -> Markup:
    """Share of each true class (a row) that got each answer. counts: shape (classes, classes)."""

    def plot(figure: Figure) -> None:
        totals = counts.sum(axis=1, keepdims=True)
        shares = counts / np.maximum(totals, 1)
        pixels = np.empty((*shares.shape, 4))
        pixels[..., :3] = (0x00 / 255, 0x72 / 255, 0xB2 / 255)
        pixels[..., 3] = 0.75 * shares  # clear where nothing is: whatever the page's colour
        axes = figure.subplots()
        axes.imshow(pixels, interpolation="none")
        names = [label(one) for one in class_names]
        small = SMALL if len(names) <= NUMBERED else 6.2
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=small)
        axes.set_yticks(range(len(names)), names, fontsize=small)
        axes.grid(visible=False)
        if len(names) <= NUMBERED:
            for row, column in zip(*np.nonzero(counts), strict=True):
                axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", fontsize=SMALL)
        axes.set_xlabel("answer")
        axes.set_ylabel("true class")

    return draw(name, plot, height=4.0 if len(class_names) <= NUMBERED else 4.6)
