"""Take a tuned network out of a sweep: as a folder of its own, and into MLflow's registry."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from orchestrator.config import load_sweep
from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.folder import SweepFolder
from orchestrator.models.kept import model_infos
from orchestrator.overview import command_on, overview, resume_command
from orchestrator.tracking import ModelInfo, Registered, add_to_registry, write_model_folder
from orchestrator.tracking.naming import short_names
from trainables.errors import did_you_mean

__all__ = ["Exported", "choose_model", "default_output", "export_model", "register_model"]

_UNFIT: Final = re.compile(r"[^\w.-]+")
_NAME: Final = re.compile(r"[\w. -]{1,250}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was made of a network."""

    model: ModelInfo
    path: Path | None = None
    registered: Registered | None = None

    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        facts, made = self.model.facts, self.registered
        return {
            "sweep": facts.origin.get("sweep"),
            "task": self.model.task,
            "backbone": self.model.backbone,
            "confirmation": self.model.number,
            "metric": facts.metric,
            "test_score": facts.test_score,
            "num_test": facts.num_test,
            "val_score": facts.val_score,
            "path": None if self.path is None else str(self.path),
            "registered": made and {"name": made.name, "version": made.version, "uri": made.uri, "is_new": made.is_new},
        }


def choose_model(folder: SweepFolder, ranking: pa.Table, backbone: str | None, task: str | None) -> ModelInfo:
    """The kept network that is meant.

    Args:
        ranking: of schema RANKING.
        backbone: None is the leader of the task.
        task: None is the only one.

    Raises:
        UsageError: there is no such backbone or task in the sweep, several tasks and none named, or no network of
            it was kept; the message says what keeps one.
    """
    rows = ranking.to_pylist()
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    if task is not None and task not in tasks:
        raise _unknown("task", task, tasks, folder)
    if task is None and len(tasks) > 1:
        raise UsageError(
            f"{folder.sweep_id} has several tasks, one of which must be named: --task {' or '.join(tasks)}"
        )
    mine = [row for row in rows if task in (None, row["task"])]
    backbone = _full_name(backbone, [row["backbone"] for row in mine], folder)
    if not mine:
        raise UsageError(f"{folder.sweep_id} has no ranking yet, so no network to export; {_go_on(folder)}")
    leader = min(mine, key=lambda row: (row["rank"] is None, row["rank"] or 0))
    wanted = next(row for row in mine if row["backbone"] == (backbone or leader["backbone"]))
    kept = model_infos(folder, ranking)
    key = wanted["task"], wanted["backbone"]
    if key not in kept:
        others = [name for kept_task, name in kept if kept_task == key[0]]
        raise UsageError(_missing(folder, wanted, others))
    return kept[key]


def default_output(model: ModelInfo) -> Path:
    """``<backbone>-<task>`` in the working directory."""
    name = model.backbone.partition("/")[2]
    return Path(_UNFIT.sub("-", f"{name}-{model.task}").strip("-."))


def export_model(model: ModelInfo, output: Path) -> Path:
    """Write the network as an MLflow model, whole or not at all. Returns its absolute path.

    Raises:
        UsageError: there is something at `output`.
        EnvironmentUnusable: it cannot be written.
    """
    place = output.expanduser().absolute()
    if place.exists():
        raise UsageError(f"the output must be a folder that does not exist yet, got {output}; name another --output")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
            write_model_folder(Path(scratch) / "model", model)
            os.rename(Path(scratch) / "model", place)
    except OSError as error:
        raise EnvironmentUnusable(f"the model cannot be written to {place}: {error.strerror or error}") from error
    return place


def register_model(
    folder: SweepFolder, model: ModelInfo, name: str, uri: str, *, catch_up: Callable[[], object]
) -> Registered:
    """Make a version of a registered model from the network that MLflow holds.

    Args:
        uri: of MLflow.
        catch_up: brings MLflow up to date with the sweep; called where the network is not there yet.

    Raises:
        UsageError: the name is none that MLflow's registry takes.
        EnvironmentUnusable: MLflow does not take the model.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--register must be a name of letters, digits, '_', '-', '.' and spaces, at most 250, got {name!r}"
        )
    made = add_to_registry(uri, folder.sweep_id, model, name)
    if made is None:
        catch_up()
        made = add_to_registry(uri, folder.sweep_id, model, name)
    if made is None:
        raise EnvironmentUnusable(
            f"MLflow does not hold the model of {model.backbone}, so that it cannot be registered; "
            f"`python -m orchestrator report {folder.sweep_id}` says why"
        )
    return made


def _full_name(name: str | None, known: list[str], folder: SweepFolder) -> str | None:
    """Of a backbone that may be named as tables name it, without source and weights where that is enough."""
    if name is None or name in known:
        return name
    meant = [full for full, short in short_names(known).items() if short == name]
    if len(meant) != 1:
        raise _unknown("backbone", name, known, folder)
    return meant[0]


def _unknown(kind: str, name: str, known: list[str], folder: SweepFolder) -> UsageError:
    near = did_you_mean(name, [*known, *short_names(known).values()])
    return UsageError(f"{folder.sweep_id} has no {kind} {name!r}{near}; it has {', '.join(known) or 'none'}")


def _missing(folder: SweepFolder, wanted: Mapping[str, Any], others: Sequence[str]) -> str:
    """Why there is no network, and the command that makes one."""
    backbone, confirmation = wanted["backbone"], load_sweep(folder.config_file).confirmation
    has = f"; it has one of {', '.join(others)}" if others else ""
    if not confirmation.keep_model:
        return (
            f"{folder.sweep_id} keeps no networks (confirmation.keep_model: false). A sweep that does: "
            f"python -m orchestrator sweep {folder.config_file} --set confirmation.keep_model=true"
        )
    if not wanted["num_confirmations"]:
        ended = wanted["reason"] or "none of its confirmations ended"
        unfinished = overview(folder).state in ("interrupted", "running")
        return f"{folder.sweep_id} has no network of {backbone}{has}; {_go_on(folder) if unfinished else ended}"
    return (
        f"{folder.sweep_id} has no network of {backbone}{has}; none of its confirmations left one, or its folder "
        f"{folder.path / 'models'} was removed. One more seed leaves one: "
        f"{command_on(folder, 'sweep --extend')} --set confirmation.seeds={confirmation.seeds + 1}"
    )


def _go_on(folder: SweepFolder) -> str:
    if overview(folder).state == "running":
        return "it is running: try again when it has ended"
    return f"it was stopped, and goes on with: {resume_command(folder)}"
