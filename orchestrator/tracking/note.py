"""The Markdown page above a task's runs: the question, the answer once there is one, how to read the rest."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import redact
from orchestrator.tracking.info import DatasetInfo, SweepInfo
from orchestrator.tracking.link import CURVES_VIEW, RANKING_VIEW, TABLE_VIEW, TRIALS_VIEW

__all__ = ["note"]

_MAX_NOTE: Final = 7500
_READING: Final = f"""\
#### How to read this page

`python -m orchestrator ui` prints a link to each of these views; they are under *Views* as well.

- **{RANKING_VIEW}**: one run is one backbone. `adapt/score` is its score with chance at 0 and perfect at 1, \
`adapt/ci_low` to `adapt/ci_high` its 95 % interval. Whose `adapt/rank_low` is 1 may be the best; \
`adapt/best` is how probable that is. `final/test_score` is the plain mean over confirmations on test data.
- **{TRIALS_VIEW}**: one run is one configuration that was tried, with its *validation* score. `freeze_frac` is the \
share of blocks frozen from the input side: 0 tunes all of them, 1 trains the head alone.
- **{CURVES_VIEW}**: mean learning curves. Bad trials are stopped early, so that later epochs hold the better ones.
- **{TABLE_VIEW}**: the same trials as numbers, with why one failed.

One colour is one backbone, except in mean curves. Configurations were chosen on validation alone; test scores are on
confirmations (the chosen configuration trained again with fresh seeds) and backbones. The sweep's own run, the one
that holds all others, has `report.html` with everything on one page, and the tables behind it."""


_SAMPLES: Final = {"image": ("image", "images"), "text": ("text", "texts"), "audio": ("sound", "sounds")}


def _asked(dataset: DatasetInfo) -> str:
    """``10 classes of images``, ``a number for each text``."""
    one, many = _SAMPLES.get(dataset.modality, ("sample", "samples"))
    count = dataset.num_classes
    if dataset.kind == "regression":
        return f"a number for each {one}" if count == 1 else f"{count} numbers for each {one}"
    return (
        f"{count} labels, any number of them for each {one}"
        if dataset.kind == "multilabel"
        else (f"{count} classes of {many}")
    )


def note(info: SweepInfo, task: str, dataset: DatasetInfo | None, verdict: str | None) -> str:
    """For the experiment and for the sweep's own run."""
    answer = verdict or "*Not known yet: the sweep has not been ranked.*"
    # MLflow shows the first line or two until somebody unfolds the rest.
    parts = [f"**Which backbone adapts best to {task}?** {answer}"]
    budget = "more trials for those that may be the best" if _is_race(info) else "each with the same budget"
    parts.append(f"Asked by the sweep `{info.sweep_id}` of {len(info.backbones)} backbones, {budget}.")
    if dataset is not None:
        parts.append(
            f"Data `{dataset.name}`: {_asked(dataset)}; {dataset.num_train} training,"
            f" {dataset.num_val} validation and {dataset.num_test} test samples; metric `{dataset.metric}`."
        )
    return redact("\n\n".join([*parts, _READING]))[:_MAX_NOTE]


def _is_race(info: SweepInfo) -> bool:
    return info.facts.get("budget.allocation") == "race"
