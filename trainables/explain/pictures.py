"""Explanations as small pictures for people: red is for the answer, blue against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.explain.drawing import figure, png
from trainables.explain.examination import Examination
from trainables.explain.pieces import ALWAYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_image", "draw_sound", "draw_text"]

_TITLES: Final = {
    "lime": "LIME",
    "kernel_shap": "KernelSHAP",
    "integrated_gradients": "integrated gradients",
    "grad_cam": "Grad-CAM",
}

_PAINT: Final[dict[str, Any]] = {"cmap": "bwr", "vmin": -1, "vmax": 1, "interpolation": "nearest"}

_COLUMNS: Final = 92
"""Characters in a line of text."""

_LINES: Final = 6
"""Of text per explainer; the rest is left out."""


def draw_image(examination: Examination, pixels: Tensor) -> bytes:
    """The image, then its cells in the colours of each explainer, side by side.

    Args:
        pixels: uint8 (3, side, side).

    Returns:
        A PNG of less than 60 kB.
    """
    image = pixels.permute(1, 2, 0).cpu().numpy()
    numbers = examination.question.pieces.numbers[0].cpu().numpy()
    num = 1 + len(examination.attributions)
    with figure(1.15 * num, 1.3) as made:
        first, *others = made.subplots(1, num, squeeze=False)[0]
        first.imshow(image)
        first.set_title("input", fontsize=6, pad=2)
        first.set_axis_off()
        for axes, name in zip(others, examination.attributions, strict=True):
            axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            axes.imshow(_relative(examination, name)[numbers], alpha=0.5, **_PAINT)
            axes.set_title(_TITLES.get(name, name), fontsize=6, pad=2)
            axes.set_axis_off()
        return png(made)


def draw_sound(examination: Examination, features: Tensor, duration_s: float | None) -> bytes:
    """Waveform or spectrogram with its stretches in the colours of each explainer, one below the other.

    Args:
        features: float32 (length,) or (length, width).
        duration_s: of `length`; None where it is not known, and time is counted in frames.

    Returns:
        A PNG of less than 60 kB.
    """
    values = features.cpu().numpy()
    numbers = examination.question.pieces.numbers.flatten().cpu().numpy()
    num, end = len(examination.attributions), duration_s or len(values)
    with figure(5.0, 0.3 + 0.7 * num) as made:
        panels = made.subplots(num, 1, squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, examination.attributions, strict=True):
            colours = np.where(numbers == ALWAYS, 0.0, _relative(examination, name)[numbers])
            low, high = _draw_frames(axes, values, end)
            axes.imshow(colours[None], alpha=0.5, aspect="auto", extent=(0, end, low, high), **_PAINT)
            axes.set_title(_TITLES.get(name, name), fontsize=6, pad=2)
            axes.tick_params(labelsize=5, left=False, labelleft=False)
        panels[-1].set_xlabel("s" if duration_s else "frames", fontsize=6)
        return png(made)


def draw_text(examination: Examination, tokens: list[str]) -> bytes:
    """The tokens of a text on grounds in the colours of each explainer, one paragraph below the other.

    Args:
        tokens: of the sample as text, special ones too.

    Returns:
        A PNG of less than 60 kB.
    """
    numbers = examination.question.pieces.numbers.tolist()
    placed = _placed([(token.strip() or "·", number) for token, number in zip(tokens, numbers, strict=True)])
    num, num_lines = len(examination.attributions), placed[-1][2] + 1
    with figure(5.0, 0.15 * (num_lines + 1.5) * num) as made:
        panels = made.subplots(num, 1, squeeze=False)[:, 0]
        for axes, name in zip(panels, examination.attributions, strict=True):
            axes.set(xlim=(0, _COLUMNS), ylim=(num_lines, -1.2))
            axes.set_axis_off()
            axes.text(0, -0.6, _TITLES.get(name, name), fontsize=6, va="center")
            for token, number, line, column in placed:
                ground = _ground(0.0 if number == ALWAYS else float(_relative(examination, name)[number]))
                box = {"facecolor": ground, "edgecolor": "none", "pad": 0.7}
                axes.text(
                    column, line + 0.5, token, fontsize=6, family="monospace", va="center", parse_math=False, bbox=box
                )
        return png(made)


def _relative(examination: Examination, name: str) -> npt.NDArray[np.float32]:
    """Attributions of pieces in [-1, 1], relative to the largest."""
    values: npt.NDArray[np.float32] = examination.attributions[name].values.numpy()
    return values / max(float(np.abs(values).max()), 1e-12)


def _draw_frames(axes: Axes, values: npt.NDArray[np.float32], end: float) -> tuple[float, float]:
    """Draw features over time; the lowest and highest place of the vertical axis."""
    if values.ndim == 2:
        axes.imshow(values.T, cmap="gray", origin="lower", aspect="auto", extent=(0, end, 0, values.shape[1]))
        return 0.0, float(values.shape[1])
    axes.plot(np.linspace(0, end, len(values)), values, color="black", linewidth=0.3)
    reach = max(float(np.abs(values).max()), 1e-12)
    return -reach, reach


def _placed(tokens: list[tuple[str, int]]) -> list[tuple[str, int, int, int]]:
    """Token, piece, line and column of each, wrapped."""
    placed, line, column = [], 0, 0
    for token, number in tokens:
        shown = token[: _COLUMNS - 1]
        if column and column + len(shown) > _COLUMNS:
            line, column = line + 1, 0
        if line == _LINES:
            break
        placed.append((shown, number, line, column))
        column += len(shown) + 1
    return placed


def _ground(value: float) -> tuple[float, float, float]:
    """From blue at -1 over white to red at 1, light enough to read black letters on."""
    fade = 1 - 0.7 * abs(value)
    return (1.0, fade, fade) if value >= 0 else (fade, fade, 1.0)
