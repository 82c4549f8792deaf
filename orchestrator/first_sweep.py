"""A first sweep over somebody's data: which backbones, how many samples and trials, and the file that says so."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from orchestrator.availability import unobtainable
from orchestrator.config import SweepConfig, sweep_from_mapping
from orchestrator.config.yaml_source import parse_yaml, plain_value
from orchestrator.errors import one_line
from orchestrator.plan import Plan, plan
from orchestrator.plan_table import duration
from trainables.catalog import lookup
from trainables.config import TaskSpec

__all__ = ["DEFAULT_BACKBONES", "FirstSweep", "Offer", "cost_text", "first_sweep", "offers"]

DEFAULT_BACKBONES: Final = {
    "image": (
        "timm/tf_efficientnet_lite0",
        "timm/tf_efficientnet_lite1",
        "torchvision/mobilenet_v3_small",
        "timm/tf_efficientnet_lite0@random",
    ),
    "text": (
        "hf/sentence-transformers/all-MiniLM-L6-v2@pypi",
        "hf/distilbert/distilbert-base-uncased",
        "hf/sentence-transformers/all-MiniLM-L6-v2@random",
    ),
    "audio": ("hf/facebook/wav2vec2-base", "hf/facebook/wav2vec2-base@random"),
}
"""Small ones, with an untrained control each."""

_LONGEST_S: Final = 4 * 3600
"""Estimate beyond which fewer training samples are suggested."""

_FEWER: Final = (5000, 2000, 1000)
_LEAST_VAL: Final = 500
_STEPS: Final = 150
"""Optimizer steps that a trial should have at least, within its bounds of epochs."""

_TRIALS, _RANDOM, _SEEDS = 8, 5, 3
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./~@][\w./~@+-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A backbone with what stands in its way here."""

    name: str
    why_not: str | None = None
    """Why its checkpoint cannot be had; None where nothing is known to be missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstSweep:
    """A sweep file with what it will do."""

    text: str
    """The file."""

    config: SweepConfig
    plan: Plan
    left_out: tuple[Offer, ...]
    """Backbones that the file has as comments."""


def offers(modality: str, asked: Sequence[str] = ()) -> tuple[Offer, ...]:
    """The backbones `asked` for, else the usual ones of a modality, and what is missing for each.

    Raises:
        UnknownName: one of those asked for is no backbone.
    """
    names = asked or DEFAULT_BACKBONES[modality]
    return tuple(Offer(name=name, why_not=unobtainable(lookup(name))) for name in names)


def first_sweep(
    task: TaskSpec, backbones: Sequence[Offer], *, num_pool: int, found: Sequence[str], file: str
) -> FirstSweep:
    """The sweep to begin with, and its file.

    Args:
        task: what to adapt to; its split sizes are filled in where they are None and `num_pool` can pay.
        backbones: those that cannot be had become comments, unless none can be had.
        num_pool: samples that the splits which are not given are taken from.
        found: lines on the data, for the head of the file.
        file: what the file will be called.
    """
    usable = [offer for offer in backbones if offer.why_not is None]
    # A file without backbones would not load: then all stay, and their comments say what they need.
    kept = usable or list(backbones)
    task, left = _split(task, num_pool)
    mapping = _mapping(task, [offer.name for offer in kept])
    planned = plan(sweep_from_mapping(mapping))
    for fewer in _FEWER:
        if task.num_train is None or task.num_train <= fewer or not _too_long(planned):
            continue
        num_val = None if task.num_val is None else min(task.num_val, max(fewer // 2, _LEAST_VAL))
        task = replace(task, num_train=fewer, num_val=num_val)
        mapping = _mapping(task, [offer.name for offer in kept])
        planned = plan(sweep_from_mapping(mapping))
    left_out = tuple(offer for offer in backbones if offer not in kept)
    head = [
        f"A first sweep on {task.name}. What it will do:  python -m orchestrator sweep {file} --plan",
        f"Run it:  python -m orchestrator sweep {file}",
        "",
        *found,
    ]
    text = _render(mapping, kept, left_out, head, _comments(task, left, planned))
    return FirstSweep(
        text=text, config=sweep_from_mapping(parse_yaml(text, "new").value), plan=planned, left_out=left_out
    )


def _split(task: TaskSpec, num_pool: int) -> tuple[TaskSpec, int]:
    """The task with explicit sizes, and how many samples are left to train on."""
    num_test = 0 if task.test_data is not None else task.num_test or 0
    num_val = 0 if task.val_data is not None else task.num_val or 0
    left = num_pool - num_test - num_val
    return (replace(task, num_train=left) if task.num_train is None and left > 0 else task), left


def _too_long(planned: Plan) -> bool:
    return planned.compute_s is None or planned.compute_s > _LONGEST_S


def _mapping(task: TaskSpec, backbones: Sequence[str]) -> dict[str, Any]:
    """The sweep as its file will have it."""
    batch = _batch_size(task.num_train)
    epochs = 3 if task.num_train is None else min(max(math.ceil(_STEPS * batch / task.num_train), 3), 20)
    defaults = asdict(TaskSpec(name=task.name))
    always = ("name", "data", "kind", "modality", "num_train")
    said = {key: value for key, value in asdict(task).items() if key in always or value != defaults[key]}
    return {
        "name": task.name,
        "tasks": [{key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}],
        "backbones": list(backbones),
        "space": "default",
        "finetune": {"batch_size": batch},
        "budget": {
            "trials": _TRIALS,
            "random_trials": _RANDOM,
            "max_epochs": epochs,
            "grace_epochs": max(epochs // 3, 1),
        },
        "confirmation": {"seeds": _SEEDS},
        "storage": "sweeps",
        "seed": 0,
    }


def _batch_size(num_train: int | None) -> int:
    """32, or of few samples as many as give eight steps an epoch."""
    if num_train is None:
        return 32
    return min(32, 1 << int(math.log2(max(num_train // 8, 1))))


def _comments(task: TaskSpec, left: int, planned: Plan) -> dict[str, str]:
    """What is said behind a key of the file."""
    fewer = f"of {left:,}, to begin with; null takes all" if task.num_train and task.num_train < left else ""
    return {
        "kind": "classification, multilabel or regression",
        "image_size": "pixels; left out, each checkpoint's own size",
        "max_length": "tokens that texts are cut to",
        "max_duration_s": "seconds that sounds are cut to",
        "num_train": fewer or "labelled samples to learn from",
        "num_val": "chooses",
        "num_test": "only measures",
        "on_bad_sample": "samples that cannot be read are left out and counted",
        "batch_size": "anything else that is not searched goes here",
        "trials": "configurations per backbone",
        "random_trials": "of which drawn at random; the others are searched",
        "max_epochs": "passes over the training samples",
        "grace_epochs": "passes before a searched trial may be stopped",
        "seeds": "fresh ones for the chosen configuration: these scores are ranked",
        "space": "python -m orchestrator sweep --print-config shows what it samples",
        "backbones": f"{planned.runs} runs in all",
    }


def _render(
    mapping: Mapping[str, Any],
    kept: Sequence[Offer],
    left_out: Sequence[Offer],
    head: Sequence[str],
    comments: Mapping[str, str],
) -> str:
    lines = [f"# {one_line(line)}".rstrip() for line in head]
    pair = _pair_writer(comments)
    lines += ["", pair("name", mapping["name"], ""), "", "# What to adapt to.", "tasks:"]
    for index, (key, value) in enumerate(mapping["tasks"][0].items()):
        lines.append(pair(key, value, "    " if index else "  - "))
    lines += [
        "",
        "# What is ranked, as source/architecture[@weights]; `@random` is an untrained control.",
        "backbones:",
    ]
    lines += [f"  - {_value(offer.name)}" + (f"  # {offer.why_not}" if offer.why_not else "") for offer in kept]
    lines += [f"  # - {_value(offer.name)}  # {offer.why_not}" for offer in left_out]
    for key in ("space", "finetune", "budget", "confirmation", "storage", "seed"):
        value = mapping[key]
        if isinstance(value, Mapping):
            lines += ["", f"{key}:", *(pair(name, item, "  ") for name, item in value.items())]
        else:
            lines += ["", pair(key, value, "")]
    return "\n".join(lines) + "\n"


def _pair_writer(comments: Mapping[str, str]) -> Callable[[str, Any, str], str]:
    def pair(key: str, value: Any, indent: str) -> str:
        text = f"{indent}{key}: {_value(value)}"
        return f"{text}  # {comments[key]}" if comments.get(key) else text

    return pair


def _value(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and plain_value(value) == value
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def cost_text(planned: Plan) -> str:
    """``about 3 h on one CPU core``, or that it is not known."""
    if planned.compute_s is None:
        return "of unknown cost until the backbones are built"
    return f"about {duration(planned.compute_s)} on one CPU core, one after another"
