"""A first sweep over somebody's data: which backbones, how many samples and trials, and the file that says so."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from orchestrator.config import SweepConfig, sweep_from_mapping
from orchestrator.config.placing import placed_data
from orchestrator.config.yaml_source import parse_yaml
from orchestrator.hardware import Hardware
from orchestrator.init.offers import Offer
from orchestrator.init.sweep_file import render
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.table import duration
from trainables.config import TaskSpec

__all__ = ["FirstSweep", "cost_text", "first_sweep"]

_LONGEST_S: Final = 3600.0
"""Estimate beyond which less is suggested: a first answer is wanted within the hour."""

_SHORT_S: Final = 1200.0
"""Estimate up to which more trials are suggested."""

_WIDTH: Final = 106
_START_S: Final = 20.0
"""Until the first run has begun, and from the last one to the ranking."""

_BEYOND_PLAN: Final = 1.5
"""Times the plan's estimate: of what it knows nothing of, such as reading data and cores that share their memory. The
quickstart takes 114 s on two cores, of which this foretells 100."""

_SMALLER_PX: Final = 128
_FEWER_TOKENS: Final = 128
_STEPS: Final = 150
"""Optimizer steps that a trial should have at least, within its bounds of epochs."""

_FEWER: Final = ((5000, _STEPS), (2000, _STEPS), (1000, _STEPS), (1000, 90), (500, 48))
"""Training samples, and steps, that are enough to begin with."""

_LEAST_VAL, _LEAST_TEST = 250, 500
_MOST_EPOCHS: Final = 20
_SPENDING: Final = ((24, 8), (16, 6), (8, 5))
"""Trials, and how many of them are random, the most first."""

_SEEDS: Final = 3
_CHEAP: Final = {"perturbations": "all", "num_perturbed": 100, "num_attacked": 0, "num_drifted": 64}
"""What is measured of confirmations where all of it would take longer than the search."""

_KINDS: Final = {
    "classification": "one label each; multilabel and regression are the other kinds",
    "multilabel": "any number of labels each",
    "regression": "a number each",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstSweep:
    """A sweep file with what it will do."""

    text: str
    """The file."""

    config: SweepConfig
    plan: Plan
    left_out: tuple[Offer, ...]
    """Backbones that the file has as comments."""

    missing: tuple[Offer, ...]
    """Backbones that the file ranks although they cannot be had here: there is no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    """How much is trained."""

    task: TaskSpec
    is_cheap: bool = False
    steps: int = _STEPS
    spending: tuple[int, int] = _SPENDING[-1]


def first_sweep(
    task: TaskSpec,
    backbones: Sequence[Offer],
    *,
    num_left: int,
    found: Sequence[str],
    file: str,
    hardware: Hardware,
    resize: bool = False,
    is_unbalanced: bool = False,
    comments: Mapping[str, str] | None = None,
) -> FirstSweep:
    """The sweep to begin with, and its file.

    Args:
        task: what to adapt to, with the sizes of its held-out splits; `num_left` is filled in where it asks for
            no number of training samples.
        backbones: those that cannot be had become comments, unless none can be had.
        num_left: samples that the held-out splits leave to train on.
        found: lines on the data, for the head of the file.
        file: what the file will be called.
        hardware: that the sweep shall end on within the hour.
        resize: whether images may get another size than each checkpoint's own.
        is_unbalanced: whether rare classes shall count as much as the others in the loss.
        comments: what is said behind keys of the task, beside the usual.
    """
    usable = [offer for offer in backbones if offer.why_not is None]
    # A file without backbones would not load: then all stay, and their comments say what they need.
    kept = usable or list(backbones)
    names = [offer.name for offer in kept]
    whole = replace(task, num_train=num_left) if task.num_train is None and num_left > 0 else task
    fixed = {"class_weight": "balanced"} if is_unbalanced else {}

    def planned(size: _Size) -> Plan:
        return plan(sweep_from_mapping(_mapping(size, names, fixed)))

    # The first that fits, else the smallest.
    for size in _sizes(whole, resize=resize):
        if _seconds(planned(size), hardware) <= _LONGEST_S:
            break
    more = (replace(size, spending=spending) for spending in _SPENDING)
    size = next((one for one in more if _seconds(planned(one), hardware) <= _SHORT_S), size)
    mapping = _mapping(size, names, fixed)
    planned_size = planned(size)
    text = render(
        _head(planned_size, file, hardware, found),
        str(mapping.pop("name")),
        mapping.pop("tasks")[0],
        [(name, why) for name, why in _listed(mapping.pop("backbones"), kept, backbones)],
        mapping,
        {**_comments(size, whole, num_left, planned_size), **(comments or {})},
    )
    return FirstSweep(
        text=text,
        config=sweep_from_mapping(parse_yaml(text, "new").value),
        plan=planned_size,
        left_out=tuple(offer for offer in backbones if offer not in kept),
        missing=() if usable else tuple(kept),
    )


def _sizes(task: TaskSpec, *, resize: bool) -> Iterator[_Size]:
    """From all that there is to what ends soon."""
    yield _Size(task=task)
    yield _Size(task=task, is_cheap=True)
    if resize and task.modality == "image" and task.image_size is None:
        task = replace(task, image_size=_SMALLER_PX)
        yield _Size(task=task)
        yield _Size(task=task, is_cheap=True)
    if task.max_length is not None and task.max_length > _FEWER_TOKENS:
        task = replace(task, max_length=_FEWER_TOKENS)
        yield _Size(task=task, is_cheap=True)
    for fewer, steps in _FEWER:
        if task.num_train is not None and (task.num_train > fewer or steps < _STEPS):
            smaller = replace(
                task,
                num_train=min(task.num_train, fewer),
                num_val=_at_most(task.num_val, fewer // 2, _LEAST_VAL),
                num_test=_at_most(task.num_test, fewer, _LEAST_TEST),
            )
            yield _Size(task=smaller, is_cheap=True, steps=steps)


def _at_most(number: int | None, wanted: int, least: int) -> int | None:
    return None if number is None else min(number, max(wanted, least))


def _seconds(planned: Plan, hardware: Hardware) -> float:
    if planned.compute_s is None:
        return math.inf
    return _START_S + _BEYOND_PLAN * planned.compute_s / hardware.speed


def _mapping(size: _Size, backbones: Sequence[str], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The sweep as its file will have it."""
    task = size.task
    batch = _batch_size(task.num_train)
    epochs = 3 if task.num_train is None else min(max(math.ceil(size.steps * batch / task.num_train), 3), _MOST_EPOCHS)
    defaults = asdict(TaskSpec(name=task.name))
    always = ("name", "data", "kind", "modality", "num_train")
    said = {key: value for key, value in asdict(task).items() if key in always or value != defaults[key]}
    trials, random_trials = size.spending
    return {
        "name": task.name,
        "tasks": [{key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}],
        "backbones": list(backbones),
        "space": "default",
        "finetune": {"batch_size": batch, **fixed},
        "budget": {
            "trials": trials,
            "random_trials": random_trials,
            "max_epochs": epochs,
            "grace_epochs": max(epochs // 3, 1),
        },
        "confirmation": {"seeds": _SEEDS},
        **({"evaluation": _CHEAP} if size.is_cheap else {}),
    }


def _batch_size(num_train: int | None) -> int:
    """32, or of few samples as many as give eight steps an epoch."""
    if num_train is None:
        return 32
    return min(32, 1 << int(math.log2(max(num_train // 8, 1))))


def _head(planned: Plan, file: str, hardware: Hardware, found: Sequence[str]) -> list[str]:
    command = f"python -m orchestrator sweep {shlex.quote(file)}"
    return [
        f"Which pretrained backbone adapts best to {planned.name}?",
        "",
        f"  {command}          {cost_text(planned, hardware)}",
        f"  {command} --plan   what it will do; starts nothing",
        "",
        "Found in the data:",
        *(part for line in found for part in textwrap.wrap(f"  {line}", _WIDTH, subsequent_indent=" " * 14)),
    ]


def _listed(names: Sequence[str], kept: Sequence[Offer], backbones: Sequence[Offer]) -> Iterator[tuple[str, str]]:
    why_not = {offer.name: offer.why_not or "" for offer in kept}
    yield from ((name, why_not[name]) for name in names)
    yield from ((f"# {offer.name}", offer.why_not or "") for offer in backbones if offer not in kept)


def _comments(size: _Size, whole: TaskSpec, left: int, planned: Plan) -> dict[str, str]:
    """What is said behind a key of the file, or above a block."""
    task = size.task
    fewer = f"of {left:,}, to begin with; null takes all" if task.num_train and task.num_train < left else ""
    smaller = task.image_size != whole.image_size
    return {
        "tasks:": "What to adapt to.",
        "backbones:": "What is ranked: source/architecture[@weights]. @random shows what pretraining is worth.",
        "data": "" if placed_data(task.data) == task.data else "relative to where the command is run",
        "kind": _KINDS[task.kind],
        "image_size": "pixels, to be quick; left out, each checkpoint's own" if smaller else "pixels a side",
        "max_length": "tokens that texts are cut to" + ", to be quick" * (task.max_length != whole.max_length),
        "max_duration_s": "seconds that sounds are cut to",
        "num_train": fewer or "samples to learn from",
        "num_val": "choose the configuration",
        "num_test": "only measure",
        "on_bad_sample": "samples that cannot be read are left out and counted",
        "space:": "What each trial samples: frozen blocks, learning rates, weight decay. `schema` has all that can be.",
        "batch_size": "anything else that is not searched goes here",
        "class_weight": "rare classes count as much in the loss as frequent ones",
        "budget:": f"For each backbone; {planned.runs} runs in all.",
        "trials": "configurations that are tried",
        "random_trials": "of which drawn at random; the others follow what was learned",
        "max_epochs": "passes over the training samples",
        "grace_epochs": "passes before a trial that is not a random one may be stopped",
        "seeds": "trainings of the chosen configuration, whose test scores are ranked",
        "evaluation:": "What is measured of these beside the score; few samples, to be quick.",
        "num_perturbed": "test samples that are perturbed (noise and the like)",
        "num_attacked": "that FGSM and PGD attack",
        "num_drifted": "whose features are compared before and after",
    }


def cost_text(planned: Plan, hardware: Hardware) -> str:
    """``about 25 min on 2 CPU cores``, or that it is not known."""
    if planned.compute_s is None:
        return "how long is not known until the backbones are built"
    if hardware.num_gpus:
        alone = f"about {duration(_seconds(planned, Hardware(num_cores=1)))} on one CPU core"
        return f"{alone}, and a small part of that on {replace(hardware, num_cores=0)}"
    return f"about {duration(_seconds(planned, hardware))} on {hardware}"
