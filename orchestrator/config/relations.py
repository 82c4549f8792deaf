"""Rules of a sweep file between several values. What is missing or broken is left to its own rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from orchestrator.config.model import Component, Preset
from orchestrator.config.rules import Relation, Report
from orchestrator.config.yaml_source import Keys
from search_spaces import Choice, IntRange, SearchSpace
from search_spaces.errors import ABSENT
from search_spaces.searchable import FREEZE_DEPTH, TUNE_WINDOW
from trainables.catalog import lookup
from trainables.config import FinetuneConfig

__all__ = [
    "at_most",
    "augmented_images",
    "batch_fits",
    "blocks_exist",
    "blocks_said_once",
    "classes_to_balance",
    "modality_fits",
    "race_can_start",
    "searched_or_fixed",
    "some_weight",
    "studies_fit",
]


MIN_RACE_TRIALS: Final = 3

MAX_STUDIES: Final = 10_000

WEIGHTLESS: Final[Mapping[Preset, frozenset[Component]]] = {
    "accuracy_only": frozenset({"ease", "data_efficiency", "robustness"}),
    "few_trials": frozenset({"data_efficiency"}),
}
"""Components that a preset gives no weight, where there are such."""


def at_most(small: str, large: str) -> Relation:
    """The relation `small` <= `large` within one section."""

    def relation(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
        if small in values and large in values and values[small] > values[large]:
            # Whichever was written, the problem is shown where the smaller one would be.
            report.add((*keys, small), f"must be <= {large} ({values[large]})", values[small])

    return relation


def blocks_said_once(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """Which blocks are tuned is said by a depth or by a window, searched or fixed, never by two of them."""
    space, fixed = values.get("space"), values.get("finetune", {})
    searched = space.names if isinstance(space, SearchSpace) else ()
    depth, window = fixed.get(FREEZE_DEPTH), fixed.get(TUNE_WINDOW)
    if window is not None and FREEZE_DEPTH in searched:
        hint = f"take the depth out of the space: {{base: ..., {FREEZE_DEPTH}: null}}"
        report.add((*keys, "finetune", TUNE_WINDOW), f"cannot be fixed where {FREEZE_DEPTH} is searched", window, hint)
    if depth and TUNE_WINDOW in searched:
        rule = f"must be 0 where {TUNE_WINDOW} is searched"
        report.add((*keys, "finetune", FREEZE_DEPTH), rule, depth, "remove it")
    if depth and window is not None:
        rule = f"must be 0 where {TUNE_WINDOW} is given"
        report.add((*keys, "finetune", FREEZE_DEPTH), rule, depth, "remove it")


def searched_or_fixed(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """No value both ways."""
    space = values.get("space")
    for name in values.get("finetune", {}):
        if isinstance(space, SearchSpace) and name in space.names:
            hint = f"remove it here, or take it out of the space: {{base: ..., {name}: null}}"
            report.add((*keys, "finetune", name), "is searched by the space, so it cannot be fixed", hint=hint)


def batch_fits(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """A batch larger than the training split would be one step per epoch that nobody asked for."""
    if report.is_broken((*keys, "finetune", "batch_size")):
        return
    for where, size in _batch_sizes(values):
        for task in values.get("tasks", ()):
            num_train = None if task is ABSENT else task.get("num_train")
            if num_train is None:
                continue
            share = task.get("train_frac", 1.0)
            most, what = (num_train, "num_train") if share == 1 else (int(num_train * share), "num_train x train_frac")
            if size > most:
                rule = f"must be <= {what} ({most}) of task {task.get('name', '?')}"
                report.add((*keys, *where), rule, size)


def _batch_sizes(values: Mapping[str, Any]) -> Iterator[tuple[Keys, int]]:
    space = values.get("space")
    searched = space.get("batch_size") if isinstance(space, SearchSpace) else None
    if isinstance(searched, IntRange) and isinstance(searched.high, int):
        yield ("space", "batch_size", "high"), searched.high
    elif isinstance(searched, Choice):
        for index, size in enumerate(searched.choice):
            yield ("space", "batch_size", "choice", index), int(size)
    elif searched is None and "finetune" in values:
        default = FinetuneConfig.__dataclass_fields__["batch_size"].default
        yield ("finetune", "batch_size"), values["finetune"].get("batch_size", default)


def blocks_exist(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """No depth or window beyond the blocks of a backbone. What is not in the catalogue is seen when it is built."""
    space, fixed = values.get("space"), values.get("finetune", {})
    depth, window = fixed.get(FREEZE_DEPTH, 0), fixed.get(TUNE_WINDOW)
    for backbone in values.get("backbones", ()):
        num_blocks = None if backbone is ABSENT else lookup(backbone).num_blocks
        if num_blocks is None:
            continue
        for broken in space.broken_for(num_blocks) if isinstance(space, SearchSpace) else ():
            report.add((*keys, "space", *broken.keys), f"{broken.rule} of {backbone}", broken.value)
        if depth > num_blocks:
            rule = f"must be <= num_blocks ({num_blocks}) of {backbone}"
            report.add((*keys, "finetune", FREEZE_DEPTH), rule, depth)
        if window is not None and window[1] > num_blocks:
            rule = f"must lie within the num_blocks ({num_blocks}) of {backbone}"
            report.add((*keys, "finetune", TUNE_WINDOW), rule, list(window))


def classes_to_balance(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """Balanced class weights need classes."""
    space = values.get("space")
    searched = space.get("class_weight") if isinstance(space, SearchSpace) else None
    where: Keys = ("finetune", "class_weight")
    balanced = values.get("finetune", {}).get("class_weight") == "balanced"
    if isinstance(searched, Choice):
        where, balanced = ("space", "class_weight"), "balanced" in searched.choice
    names = [task.get("name", "?") for task in _tasks(values) if task.get("kind") == "regression"]
    if balanced and names:
        rule = f"must be none for a regression, which has no classes: task {', '.join(names)}"
        report.add((*keys, *where), rule, "balanced", "remove it")


def augmented_images(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """Only images are augmented. What modality a task is of may show in its backbones alone."""
    space = values.get("space")
    searched = space.get("augmentation") if isinstance(space, SearchSpace) else None
    where: Keys = ("finetune", "augmentation")
    asked = [values.get("finetune", {}).get("augmentation", "none")]
    if isinstance(searched, Choice):
        where, asked = ("space", "augmentation"), [str(option) for option in searched.choice]
    augmented = [option for option in asked if option != "none"]
    names = [lookup(backbone).modality for backbone in values.get("backbones", ()) if backbone is not ABSENT]
    taken = next((modality for modality in names if modality is not None), None)
    for task in _tasks(values) if augmented else ():
        modality = "image" if task.get("data") == "digits" else task.get("modality") or taken
        if modality not in (None, "image"):
            rule = f"must be none for {modality} data, as only images are augmented: task {task.get('name', '?')}"
            report.add((*keys, *where), rule, augmented[0], "remove it")


def some_weight(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """A score of nothing ranks nothing: found here, and not when the sweep has ended."""
    weights, preset = values.get("weights", {}), values.get("preset", "default")
    of_preset = set(get_args(Component)) - WEIGHTLESS.get(preset, frozenset()) - weights.keys()
    if weights and not any(weights.values()) and not of_preset:
        rule = f"must not all be 0, with those of preset {preset}"
        report.add((*keys, "weights"), rule, dict(weights), "give one of them a weight, or remove some")


def modality_fits(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """No backbone for other data than a task's, as far as both are known."""
    for index, backbone in enumerate(values.get("backbones", ())):
        takes = None if backbone is ABSENT else lookup(backbone).modality
        for task in _tasks(values):
            given = "image" if task.get("data") == "digits" else task.get("modality")
            if takes is not None and given is not None and takes != given:
                rule = f"takes {takes}, and task {task.get('name', '?')} is of {given} data"
                hint = "rank backbones of one modality per sweep"
                report.add((*keys, "backbones", index), rule, backbone, hint)


def race_can_start(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """A race needs someone to race against, and a surface from which it can tell where to look."""
    budget = values.get("budget", {})
    if budget.get("allocation") != "race":
        return
    backbones = values.get("backbones")
    if backbones is not None and len(backbones) < 2:
        hint = "name another backbone, or leave allocation out"
        report.add((*keys, "budget", "allocation"), "must be equal for a single backbone", "race", hint)
    random_trials = budget.get("random_trials", MIN_RACE_TRIALS)
    if random_trials < MIN_RACE_TRIALS:
        rule = f"must be >= {MIN_RACE_TRIALS} in a race, which begins with them"
        report.add((*keys, "budget", "random_trials"), rule, random_trials)


def studies_fit(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """Every backbone adapts to every task: a slip in a list must not become a million studies."""
    count = len(values.get("backbones", ())) * len(values.get("tasks", ()))
    if count > MAX_STUDIES:
        rule = f"must be at most {MAX_STUDIES} studies with {len(values['tasks'])} tasks"
        report.add((*keys, "backbones"), f"{rule}, got {count}", hint="split it into several sweeps")


def _tasks(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [task for task in values.get("tasks", ()) if task is not ABSENT]
