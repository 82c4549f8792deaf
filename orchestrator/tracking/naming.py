"""Names, tags and parameters of MLflow runs. Pure: the same record gives the same text, live or replayed.

Tables in MLflow's UI show about 12 characters of a header and 18 of a run's name, so names are short and
start with what differs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from orchestrator.errors import one_line, redact
from orchestrator.tracking.info import DatasetInfo, SweepInfo

__all__ = [
    "RUN_ID_TAG",
    "SWEEP_ID_TAG",
    "blocks_text",
    "changed_params",
    "child_run_id",
    "child_tags",
    "digest",
    "end_tags",
    "experiment_name",
    "is_model_run_id",
    "model_run_id",
    "model_tags",
    "parent_params",
    "parent_run_id",
    "parent_tags",
    "run_name",
    "run_params",
    "short_names",
    "source_tags",
    "split_study",
]

RUN_ID_TAG: Final = "orchestrator.run_id"
SWEEP_ID_TAG: Final = "orchestrator.sweep_id"
_MAX_ERROR: Final = 250
_MAX_NOTE: Final = 7500  # MLflow takes 8000 characters of a tag
_MAX_PARAM: Final = 5500  # MLflow takes 6000 characters of a parameter
_MAX_KEY: Final = 250
_UNSAFE: Final = re.compile(r"[^\w.\-:/ ]")

_SHORT: Final = {
    "learning_rate": "lr",
    "head_learning_rate": "head_lr",
    "max_epochs": "epochs",
    "warmup_frac": "warmup",
}
_MARKS: Final = {"confirmation": "c", "reduced": "r"}
_ROLES: Final = {"confirmation": "confirm", "reduced": "reduced"}
_UNUSED_WHEN_FROZEN: Final = ("learning_rate", "layer_decay", "stay_near")


def experiment_name(task: str) -> str:
    """Sweeps on one task share an experiment."""
    return f"adapt/{task}"


def parent_run_id(sweep_id: str, task: str) -> str:
    """Identity of the run that stands for the whole sweep on a task."""
    return f"{sweep_id}/{task}"


def child_run_id(sweep_id: str, task: str, backbone: str, number: int) -> str:
    """Identity of a trial or confirmation."""
    return f"{sweep_id}/{task}/{backbone}/{number}"


def model_run_id(sweep_id: str, task: str, backbone: str) -> str:
    """Identity of a backbone's summary run."""
    return f"{sweep_id}/{task}/{backbone}/model"


def is_model_run_id(run_id: str) -> bool:
    """Whether it is the identity of a summary run."""
    return run_id.endswith("/model")


def split_study(study: str) -> tuple[str, str]:
    """Task and backbone of ``<task>:<backbone>``; a task's name holds no colon."""
    task, _, backbone = study.partition(":")
    return task, backbone


def short_names(backbones: Sequence[str]) -> dict[str, str]:
    """The architecture alone, with ``@weights`` where two share it, in full where even that is not enough."""
    shorten: tuple[Callable[[str], str], ...] = (
        lambda name: name.rpartition("/")[2].partition("@")[0],
        lambda name: name.rpartition("/")[2],
        lambda name: name,
    )
    names = dict.fromkeys(backbones, "")
    for form in shorten:
        forms = {name: form(name) for name, short in names.items() if not short}
        counts = Counter(forms.values())
        names.update({name: short for name, short in forms.items() if counts[short] == 1})
    return {name: short or name for name, short in names.items()}


def blocks_text(freeze_depth: int, tune_stop: int, num_blocks: int) -> str:
    """``12/18``: frozen of all blocks, counted from the input. ``2-5/18``: only blocks 2 to 4 are tuned."""
    window = f"-{tune_stop}" if tune_stop < num_blocks else ""
    return f"{freeze_depth}{window}/{num_blocks}"


def run_name(run: Mapping[str, Any], short: str) -> str:
    """``#07 mobilenet_v2 12/18``: number, backbone, blocks as `blocks_text` has them. A confirmation starts with
    c, and one on fewer samples with r."""
    mark = _MARKS.get(run["phase"], "#")
    blocks = blocks_text(run["freeze_depth"], run["tune_stop"], run["num_blocks"])
    return f"{mark}{run['number']:02d} {short} {blocks}"


def run_params(run: Mapping[str, Any], short: str, dataset: DatasetInfo | None) -> dict[str, str]:
    """Everything that may change the run's result. What a fully frozen backbone leaves unused is left out.

    `lr_log10` is there because MLflow's axes are linear.
    """
    config = dict(run["config"])
    num_blocks, start = int(run["num_blocks"]), int(run["freeze_depth"])
    if start >= num_blocks:
        for name in _UNUSED_WHEN_FROZEN:
            config.pop(name, None)
    config.pop("backbone", None)
    if config.get("tune_window") is not None:
        config["tune_window"] = f"{start}-{run['tune_stop']}"
    config["freeze_depth"] = start
    params: dict[str, Any] = {"model": short, "num_blocks": num_blocks, "freeze_frac": run["freeze_frac"]}
    if run.get("train_frac", 1.0) < 1:
        params["train_frac"] = run["train_frac"]
    for name, value in config.items():
        key = str(_SHORT.get(name, name))
        params[key] = value
        if key.endswith("lr") and value:
            params[f"{key}_log10"] = math.log10(value)
    if dataset is not None:
        params |= {"kind": dataset.kind, "modality": dataset.modality, **dataset.sizes}
    return {_key(key): _text(value) for key, value in params.items() if value is not None}


def parent_params(info: SweepInfo) -> dict[str, str]:
    """The sweep's search and budget."""
    return {_key(key): _text(value) for key, value in info.facts.items()}


def changed_params(held: Mapping[str, str], now: Mapping[str, str]) -> str:
    """``budget.trials 4 -> 16``: parameters of a sweep that was granted more since. MLflow lets none change."""
    changes = (f"{key} {held[key]} -> {value}" for key, value in now.items() if held.get(key, value) != value)
    return one_line(", ".join(changes))[:_MAX_NOTE]


def source_tags(info: SweepInfo) -> dict[str, str]:
    """Who ran what, in MLflow's own tags; on every run."""
    tags = {
        "mlflow.source.name": info.source_name,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": info.user,
        "mlflow.source.git.commit": info.git_commit or "",
        "mlflow.source.git.dirty": str(info.git_dirty).lower() if info.git_commit else "",
        SWEEP_ID_TAG: info.sweep_id,
        "orchestrator.version": info.version,
    }
    return {key: value for key, value in tags.items() if value}


def child_tags(run: Mapping[str, Any], short: str) -> dict[str, str]:
    """What tells a trial or confirmation apart, without what only its end brings. Of a run that was handed to
    several workers, ``orchestrator.cause`` is why the last one got it."""
    tags = {
        "orchestrator.role": _ROLES.get(run["phase"], "trial"),
        "orchestrator.trial_id": f"{run['study']}#{run['number']}",
        "orchestrator.phase": run["phase"],
        "orchestrator.backbone": run["backbone"],
        "orchestrator.config_hash": _config_hash(run["config"]),
        "orchestrator.node": run.get("node"),
        "orchestrator.device": run.get("device"),
        "orchestrator.attempts": run.get("attempt"),
        "orchestrator.cause": one_line(redact(run.get("cause") or ""))[:_MAX_ERROR],
        "model": short,
        "task": run["task"],
    }
    return {key: str(value) for key, value in tags.items() if value}


def parent_tags(info: SweepInfo, task: str) -> dict[str, str]:
    """What tells the sweep's own run apart."""
    return {"orchestrator.role": "sweep", "orchestrator.sweep": info.name, "task": task}


def model_tags(row: Mapping[str, Any], short: str) -> dict[str, str]:
    """Of a RANKING row, for the backbone's summary run."""
    return {
        "orchestrator.role": "model",
        "orchestrator.backbone": row["backbone"],
        "orchestrator.status": row["status"],
        "orchestrator.reason": row.get("reason") or "none",
        "model": short,
        "task": row["task"],
    }


def end_tags(trial: Mapping[str, Any]) -> dict[str, str]:
    """What the end of a trial adds. The whole error is the run's description, its last line a tag."""
    tags = {"orchestrator.state": str(trial["state"])}
    if trial["state"] == "stopped":
        tags["orchestrator.stopped_early"] = "true"
    if trial["state"] == "failed":
        error = redact(trial.get("error") or "").strip() or "no reason was recorded"
        tags["orchestrator.error"] = one_line(error.splitlines()[-1])[:_MAX_ERROR]
        tags["mlflow.note.content"] = f"```\n{error[-_MAX_NOTE:]}\n```"
    return tags


def _config_hash(config: Mapping[str, Any]) -> str:
    """Equal for runs that differ in their seed alone, so a confirmation is found from its trial."""
    text = json.dumps({k: v for k, v in config.items() if k != "seed"}, sort_keys=True)
    return digest(text)


def digest(text: str) -> str:
    """Short, to tell one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _text(value: object) -> str:
    text = redact(f"{value:.6g}" if isinstance(value, float) else str(value))
    return text if len(text) <= _MAX_PARAM else f"{text[:_MAX_PARAM]}... ({len(text)} characters)"


def _key(name: str) -> str:
    """As MLflow takes a name: of letters, digits and ``_-. :/``."""
    return _UNSAFE.sub("_", name)[:_MAX_KEY]
