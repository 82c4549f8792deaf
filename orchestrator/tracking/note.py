"""The Markdown page above a task's runs: the question, the answer once there is one, how to read the rest."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import redact
from orchestrator.tracking.info import DatasetInfo, SweepInfo

__all__ = ["note"]

_MAX_NOTE: Final = 7500
_READING: Final = """\
**How to read this page.** Open *Views*: `0 Ranking` has one run per backbone, `1 All trials` every
configuration that was tried, `2 Mean curves by backbone` the learning curves, `3 Trials table` the numbers.
A colour is a backbone, everywhere. `freeze_frac` is the share of blocks frozen from the input side: 0 tunes
all, 1 trains the head alone. `adapt/score` is the confirmed test score with chance at 0 and perfect at 1;
`adapt/ci_low` to `adapt/ci_high` is its interval. Backbones whose `adapt/rank_low` is 1 may be the best.
Configurations were chosen on validation; test scores are on confirmations and backbones alone. What else was
measured of a confirmation is in its `measures.json`, with `pictures`."""


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
    parts = [f"### Which backbone adapts best to {task}?"]
    if verdict:
        parts.append(verdict)
    parts.append(f"Sweep `{info.sweep_id}`: {len(info.backbones)} backbones, each with the same budget.")
    if dataset is not None:
        parts.append(
            f"Data `{dataset.name}`: {_asked(dataset)}; {dataset.num_train} training,"
            f" {dataset.num_val} validation and {dataset.num_test} test samples; metric `{dataset.metric}`."
        )
    return redact("\n\n".join([*parts, _READING]))[:_MAX_NOTE]
