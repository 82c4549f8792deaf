"""What a sweep is about to do, said before anything slow is imported. Pure but for a look at this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.config import SweepConfig
from orchestrator.errors import redact
from orchestrator.hardware import this_machine
from orchestrator.planning.plan import Plan, StudyPlan
from orchestrator.planning.table import duration
from orchestrator.stores import shown_path, storage_folder
from trainables.config import TaskSpec

__all__ = ["announcement"]

_START_S: Final = 20.0
"""Until the first run has begun, and from the last one to the ranking: Ray, torch, data, the report."""

_SLOWEST: Final = 2.0
"""Times the plan's estimate that small runs took on two cores: there are overheads it knows nothing of."""

_MOST_TASKS: Final = 5


def announcement(config: SweepConfig, plan: Plan, *, address: str | None) -> list[tuple[str, str]]:
    """Lines, each a label and a text; the first has no label.

    Args:
        address: of a Ray cluster; None is this machine.
    """
    lines = [("", _what(config, plan))]
    lines += [("data", text) for text in _data(config)]
    lines += [
        ("results", f"{shown_path(storage_folder(config))}, in a folder of their own"),
        ("MLflow", _tracking(config)),
    ]
    lines.append(("time", _time(config, plan, address)))
    return lines


def _what(config: SweepConfig, plan: Plan) -> str:
    study = plan.studies[0]
    fewer = " and ".join(f"{100 * frac:g} %" for frac in study.train_fracs)
    again = f", and on {fewer} of the samples" if fewer else ""
    tasks = ", ".join(task.name for task in config.tasks)
    num = len(config.backbones)
    backbones = f"{num} backbone" + ("s" if num > 1 else "")
    if plan.allocation == "race":
        return (
            f"{config.name}: a race of {backbones} on {tasks}; each gets {study.random_trials} trials of "
            f"{_epochs(study)}, then more while it may be the best, and what is left is confirmed with "
            f"{study.confirmations} fresh seeds{again}: {_studies(plan)}, {plan.runs} runs at most"
        )
    return (
        f"{config.name}: {backbones} on {tasks}; each gets {study.trials} trials of up to {_epochs(study)}, and its "
        f"best configuration is confirmed with {study.confirmations} fresh seeds{again}: {_studies(plan)}, "
        f"{plan.runs} runs, about {plan.epochs_expected:.0f} epochs in all"
    )


def _studies(plan: Plan) -> str:
    return "1 study" if len(plan.studies) == 1 else f"{len(plan.studies)} studies"


def _epochs(study: StudyPlan) -> str:
    return "1 epoch" if study.max_epochs == 1 else f"{study.max_epochs} epochs"


def _data(config: SweepConfig) -> Iterator[str]:
    for task in config.tasks[:_MOST_TASKS]:
        where = "8 x 8 digits that come with scikit-learn" if task.data == "digits" else _short_data(task.data)
        yield f"{task.name}: {where}; {_sizes(task)}"
    if len(config.tasks) > _MOST_TASKS:
        yield f"and {len(config.tasks) - _MOST_TASKS} more tasks"


def _sizes(task: TaskSpec) -> str:
    """What is known of it without reading it."""
    known = [
        *([f"{task.few_shot} of each class to train on"] if task.few_shot else []),
        *(
            [f"{task.num_train} to train on{'' if _has_own_val(task) else ' and to validate'}"]
            if task.num_train
            else []
        ),
        *([f"{task.num_val} to validate"] if task.num_val else []),
        *([f"{task.num_test} to test"] if task.num_test else []),
    ]
    text = ", ".join(known) if known else "its samples are counted once it is read"
    return text if task.train_frac == 1 else f"{text}; {100 * task.train_frac:g} % of the training samples are used"


def _has_own_val(task: TaskSpec) -> bool:
    """Whether `num_train` is for training alone. A validation split in the data counts as well, and is seen later."""
    return task.num_val is not None or task.val_data is not None


def _tracking(config: SweepConfig) -> str:
    if config.tracking_uri == "auto":
        return f"{shown_path(storage_folder(config) / 'mlflow.db')}, a database; no server is needed"
    return redact(config.tracking_uri)


def _time(config: SweepConfig, plan: Plan, address: str | None) -> str:
    compute_s = plan.compute_s
    if compute_s is None:
        return "not known before the first runs have ended: they are measured"
    if address is not None:
        return (
            f"{duration(compute_s)} of computing by the plan, divided by what the cluster runs at a time; "
            "measured once runs have ended"
        )
    machine = this_machine()
    if config.resources.gpus_per_trial != 0 and machine.num_gpus:
        return f"{duration(compute_s)} without the GPU, less with it; measured once runs have ended"
    slots = _slots(config, plan, machine.num_cores)
    each = "one run" if slots == 1 else f"{slots} runs"
    least, most = (_START_S + factor * compute_s / slots for factor in (1.0, _SLOWEST))
    guess = " if it ends as races usually do" if plan.allocation == "race" else ""
    return f"{_between(least, most)} on this machine, {each} at a time{guess}; measured once runs have ended"


def _between(least_s: float, most_s: float) -> str:
    """``1 to 5 min``: whole units are all that a guess deserves."""
    units = ((5400, "min", 60), (172_800, "h", 3600), (math.inf, "days", 86400))
    unit, size = next((unit, size) for limit, unit, size in units if most_s < limit)
    least, most = max(1, round(least_s / size)), math.ceil(most_s / size)
    return f"{least} to {most} {unit}" if least < most else f"about {most} {unit}"


def _slots(config: SweepConfig, plan: Plan, num_cores: int) -> int:
    """Runs at a time on this machine, as Ray will count its cores."""
    fitting = max(1, num_cores // config.resources.cpus_per_trial)
    most = config.resources.max_concurrent
    return min(fitting if most == "auto" else min(most, fitting), plan.runs)


def _short_data(data: str) -> str:
    return shown_path(Path(data)) if os.path.isabs(data) else redact(data)
