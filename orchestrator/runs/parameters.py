"""The parameters of one run as its worker took them: which were searched, which are defaults, which had no effect."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Final

from orchestrator.workers.request import tuned_blocks
from trainables.config import FinetuneConfig

__all__ = ["Parameter", "depth_words", "parameters"]

_IN_THE_DEPTH: Final = ("backbone", "freeze_depth", "tune_window")
"""Told in words of their own."""

_MEANINGS: Final = {
    "learning_rate": "peak, of the last tuned block",
    "head_learning_rate": "peak, of the head",
    "weight_decay": "of matrices and filters",
    "layer_decay": "times the learning rate, for each block towards the input",
    "head_init": "what the head begins as",
    "stay_near": "pull of tuned blocks towards their pretrained weights",
    "batch_size": "samples per step",
    "max_epochs": "passes over the training samples",
    "schedule": "of the learning rates",
    "warmup_frac": "of all steps, over which the learning rates rise from 0",
    "class_weight": "of classes in the loss",
    "augmentation": "of training images",
    "augment_views": "per image; 0 draws anew in every epoch",
    "seed": "of the head, the order of samples and dropout",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One field of `FinetuneConfig` with what a run had in it."""

    name: str
    value: Any
    """As JSON takes it."""

    text: str
    meaning: str
    """With its unit, where it has one."""

    is_searched: bool
    is_default: bool
    unused: str | None = None
    """Why it had no effect; None where it had one."""


def parameters(
    config: FinetuneConfig, num_blocks: int | None, *, searched: Collection[str] = (), device: str | None = None
) -> tuple[Parameter, ...]:
    """All but backbone and depth, in the order of `FinetuneConfig`.

    Args:
        num_blocks: of the backbone; None where nobody has built it yet.
        searched: names of the fields that the sweep's space samples.
        device: what it ran on, as its row of TRIALS has it; None is unknown.
    """
    is_probe = num_blocks is not None and tuned_blocks(config, num_blocks)[0] >= num_blocks
    found = []
    for field in fields(config):
        if field.name in _IN_THE_DEPTH:
            continue
        value = getattr(config, field.name)
        found.append(
            Parameter(
                name=field.name,
                value=value,
                text=_text(field.name, value, device),
                meaning=_MEANINGS.get(field.name, ""),
                is_searched=field.name in searched,
                is_default=value == field.default,
                unused=_why_unused(field.name, config, is_probe=is_probe),
            )
        )
    return tuple(found)


def depth_words(freeze_depth: int, tune_stop: int, num_blocks: int) -> str:
    """What is frozen, e.g. ``first 9 of 18 blocks frozen``.

    Args:
        freeze_depth: the first tuned block; `num_blocks` of a linear probe.
        tune_stop: the block after the last tuned one.
    """
    if freeze_depth >= num_blocks:
        return f"all {num_blocks} blocks frozen: a linear probe"
    if tune_stop < num_blocks:
        frozen = num_blocks - (tune_stop - freeze_depth)
        last = tune_stop - 1
        which = f"block {freeze_depth}" if last == freeze_depth else f"blocks {freeze_depth} to {last}"
        return f"only {which} of 0 to {num_blocks - 1} tuned, the other {frozen} frozen"
    return f"first {freeze_depth} of {num_blocks} blocks frozen" if freeze_depth else f"all {num_blocks} blocks tuned"


def _why_unused(name: str, config: FinetuneConfig, *, is_probe: bool) -> str | None:
    if is_probe and name in ("learning_rate", "layer_decay", "stay_near"):
        return "every block is frozen"
    if name == "augment_views" and config.augmentation == "none":
        return "nothing is augmented"
    return None


def _text(name: str, value: Any, device: str | None) -> str:
    if name == "precision" and value == "auto" and device is not None:
        return "auto (fp32)" if device == "cpu" else "auto (bf16)"
    if name == "warmup_frac":
        return f"{100 * value:g} %"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
