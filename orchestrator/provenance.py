"""Where a sweep came from: versions, commit, user. Written once, when it starts."""

from __future__ import annotations

import dataclasses
import getpass
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from orchestrator.config import SweepConfig, resolved_yaml
from orchestrator.errors import EnvironmentUnusable, redact
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import Plan
from orchestrator.sweep import StudyFacts
from orchestrator.tracking import DatasetInfo, SweepInfo

__all__ = [
    "code_changes",
    "data_notes",
    "datasets",
    "new_facts",
    "own_version",
    "require_same",
    "study_facts",
    "sweep_info",
]

_VERSIONED: Final = (
    "ray",
    "optuna",
    "mlflow",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "pyarrow",
    "numpy",
)
_OF_DATA: Final = (
    *("kind", "modality", "digest", "num_train", "num_val", "num_test", "num_classes", "metric", "chance"),
)
_LASTING: Final = (
    *("num_blocks", "weights_digest", "digest", "num_train", "num_val", "num_test", "num_outputs", "metric"),
)
_SIZES: Final = ("image_size", "max_length", "max_duration_s")


def own_version() -> str:
    """Of this package, as installed."""
    return _version("orchestrator")


def new_facts(config: SweepConfig, plan: Plan, tracking_uri: str) -> dict[str, Any]:
    """What `sweep.json` holds before the studies are known."""
    commit, dirty = _git()
    return {
        "name": config.name,
        "version": own_version(),
        "created_at": datetime.now(UTC).isoformat(),
        "user": _user(),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": {name: _version(name) for name in _VERSIONED},
        "tracking_uri": redact(tracking_uri),
        "config": resolved_yaml(config, redacted=True),  # to see later whether the sweep's file was changed
        "tasks": [task.name for task in config.tasks],
        "backbones": list(dict.fromkeys(study.backbone.name for study in plan.studies)),
        "settings": settings_of(config),
        "ranking": dataclasses.asdict(config.ranking),
        "studies": [],
    }


def settings_of(config: SweepConfig) -> dict[str, Any]:
    """What of a sweep's configuration MLflow shows, and a ranking needs."""
    return {
        "search.space": config.space.digest,
        "search.seed": config.seed,
        "search.random_trials": config.budget.random_trials,
        "budget.allocation": config.budget.allocation,
        "budget.trials": config.budget.trials,
        "budget.max_epochs": config.budget.max_epochs,
        "budget.grace_epochs": config.budget.grace_epochs,
        "budget.reduction_factor": config.budget.reduction_factor,
        "budget.confirmations": config.confirmation.seeds,
        "budget.train_fracs": ", ".join(f"{frac:g}" for frac in config.confirmation.train_fracs) or "none",
    }


def study_facts(facts: Sequence[StudyFacts]) -> list[dict[str, Any]]:
    """The part of `sweep.json` that is known once backbones are built."""
    return [dataclasses.asdict(study) for study in facts]


def require_same(known: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> None:
    """
    Args:
        known: what a sweep's earlier driver found its studies to be; empty where there was none.
        found: what they are now.

    Raises:
        EnvironmentUnusable: data or backbones are not those that the sweep began with.
    """
    now = {study["study"]: study for study in found}
    changed = [
        f"{study['study']}: {key} was {study[key]}, is {now[study['study']][key]}"
        for study in known
        for key in _LASTING
        # What an earlier version did not record cannot be compared.
        if key in study and study["study"] in now and study[key] != now[study["study"]][key]
    ]
    if changed:
        raise EnvironmentUnusable(
            "a sweep goes on with the data and backbones that it began with; put them back, or start a new sweep:\n"
            + "\n".join(changed)
        )


def code_changes(facts: Mapping[str, Any]) -> list[str]:
    """What of the code differs from what a sweep began with, one sentence each."""
    commit, dirty = _git()
    was, has = (facts["git_commit"], facts["git_dirty"]), (commit, dirty)
    sentences = []
    if was != has or (dirty and commit is not None):
        sentences.append(f"the code is at {_commit_text(*has)}; the sweep began at {_commit_text(*was)}")
    if facts["version"] != own_version():
        sentences.append(f"orchestrator is {own_version()}; the sweep began with {facts['version']}")
    sentences += [
        f"{name} is {_version(name)}; the sweep began with {version}"
        for name, version in facts["versions"].items()
        if _version(name) != version
    ]
    return sentences


def _commit_text(commit: str | None, dirty: bool) -> str:
    return "an unknown commit" if commit is None else f"{commit[:12]}{' with changes' if dirty else ''}"


def data_notes(facts: Sequence[StudyFacts]) -> list[str]:
    """What a person should know of each task's data, said once however many studies found it."""
    lines = (f"{study.study.partition(':')[0]}: {note}" for study in facts for note in study.notes)
    return list(dict.fromkeys(lines))


def sweep_info(folder: SweepFolder) -> SweepInfo:
    """What MLflow is told of a sweep, from what its folder holds."""
    facts = folder.read_facts()
    return SweepInfo(
        sweep_id=folder.sweep_id,
        name=facts["name"],
        version=facts["version"],
        config_yaml=folder.config_file.read_text(encoding="utf-8"),
        created_at=datetime.fromisoformat(facts["created_at"]),
        tasks=tuple(facts["tasks"]),
        backbones=tuple(facts["backbones"]),
        facts=facts["settings"],
        git_commit=facts["git_commit"],
        git_dirty=facts["git_dirty"],
        user=facts["user"],
        folder=folder.path,
    )


def datasets(folder: SweepFolder, config: SweepConfig) -> list[DatasetInfo]:
    """One per task: the data as its first study saw them."""
    studies = folder.read_facts()["studies"]
    found = []
    for task in config.tasks:
        seen = next((s for s in studies if s["study"].startswith(f"{task.name}:")), None)
        if seen is not None:
            found.append(
                DatasetInfo(
                    task=task.name,
                    name=task.name,
                    source=task.data,
                    sizes={name: getattr(task, name) for name in _SIZES if getattr(task, name) is not None},
                    **{key: seen[key] for key in _OF_DATA},
                )
            )
    return found


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        return str(os.getuid())


def _git() -> tuple[str | None, bool]:
    """Commit of the checkout this package runs from, and whether it differs from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit, bool(commit and git("status", "--porcelain", "--untracked-files=no", "."))
