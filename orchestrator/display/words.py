"""How a run is said in a few characters."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.open_run import Row
from orchestrator.tracking.naming import blocks_text

__all__ = ["clock", "depth", "describe", "measure", "rate"]


def describe(trial: Row) -> str:
    """Depth or window, and learning rates, as short as they can be said."""
    tuned = "" if trial["learning_rate"] is None else f", lr {rate(trial['learning_rate'])}"
    verb = "tune" if trial["tune_stop"] < trial["num_blocks"] else "freeze"
    share = f", {100 * trial['train_frac']:g} % of the samples" if trial["train_frac"] < 1 else ""
    return f"{verb} {depth(trial)}{tuned}, head lr {rate(trial['head_learning_rate'])}{share}"


def depth(trial: Row) -> str:
    """``10/18``: frozen of all blocks; ``2-5/18``: a window."""
    return blocks_text(trial["freeze_depth"], trial["tune_stop"], trial["num_blocks"])


def measure(trials: Sequence[Row]) -> str:
    """What to call a validation score: a share of 1, unless every one is an R²."""
    return "val R²" if trials and all(trial["metric"] == "r2" for trial in trials) else "val"


def rate(value: float | None) -> str:
    """A learning rate; ``-`` where nothing had it."""
    return "-" if value is None else f"{value:.1e}"


def clock(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
