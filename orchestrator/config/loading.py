"""Sweep files: YAML in, one frozen `SweepConfig` out, and back.

    config = load_sweep("quickstart", ["budget.trials=4"])

`load_sweep` and `sweep_from_mapping` are the ways in; both check every rule of
`orchestrator.config.schema` and report all that is broken at once.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from orchestrator.config.model import Budget, Confirmation, Resources, SweepConfig, Weighting
from orchestrator.config.overrides import set_value
from orchestrator.config.placing import placed_backbone, placed_tracking_uri
from orchestrator.config.schema import check_sweep, sweep_section
from orchestrator.config.task import placed
from orchestrator.config.yaml_source import Document, dump_yaml, read_yaml
from orchestrator.errors import ConfigError, Problem, redact
from trainables.config import FinetuneConfig, TaskSpec
from trainables.errors import did_you_mean
from trainables.evaluation import Evaluation
from trainables.execution import Execution

__all__ = [
    "config_schema",
    "load_sweep",
    "resolved_yaml",
    "sweep_files",
    "sweep_from_mapping",
    "sweep_mapping",
]


def sweep_files() -> tuple[str, ...]:
    """Names of the shipped sweeps, sorted."""
    shipped = (entry.name for entry in files("search_spaces").joinpath("sweeps").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in shipped if name.endswith(".yaml")))


def load_sweep(path_or_name: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file.

    Args:
        path_or_name: path of a YAML file, or the name of a shipped sweep (which wins over a file of
            that exact name: write ``./quickstart`` for the file).
        overrides: ``a.b=x`` each, applied in order; ``x`` is read as YAML and a list item is named
            by its index: ``tasks.0.num_train=200``.

    Raises:
        ConfigError: the file cannot be read, or rules are broken; all of them are listed.
    """
    document = _read(path_or_name)
    for override in overrides:
        set_value(document, override)
    return _checked(document)


def sweep_from_mapping(mapping: Mapping[str, Any], *, source: str = "sweep") -> SweepConfig:
    """A sweep from the values a sweep file would hold; `source` is what messages call it.

    Raises:
        ConfigError: rules are broken; all of them are listed.
    """
    return _checked(Document(source=source, value=mapping))


def sweep_mapping(config: SweepConfig) -> dict[str, Any]:
    """What a sweep file says to get an equal `config`, with every default written out."""
    return {
        "name": config.name,
        "tasks": [_listed(dataclasses.asdict(task)) for task in config.tasks],
        "backbones": list(config.backbones),
        "space": config.space.to_mapping(),
        "finetune": _listed(config.fixed),
        "budget": dataclasses.asdict(config.budget),
        "confirmation": _listed(dataclasses.asdict(config.confirmation)),
        "resources": dataclasses.asdict(config.resources),
        "execution": dataclasses.asdict(config.execution),
        "evaluation": None if config.evaluation is None else dataclasses.asdict(config.evaluation),
        "screen": config.screen,
        "ranking": dataclasses.asdict(config.ranking),
        "tracking_uri": config.tracking_uri,
        "storage": config.storage,
        "seed": config.seed,
    }


def resolved_yaml(config: SweepConfig, *, redacted: bool = False) -> str:
    """The complete sweep file of `config`: every default filled in; it loads back to an equal value.

    With `redacted`, what a URI says before ``@`` is hidden (and the file cannot be loaded to the same
    value): for everything that others may see.
    """
    text = dump_yaml(sweep_mapping(config))
    return redact(text) if redacted else text


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a sweep file. Rules between two values are not in it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sweep",
        **sweep_section().schema(),
    }


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    """With lists for tuples, which neither YAML nor JSON has."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _read(path_or_name: str | Path) -> Document:
    name = str(path_or_name)
    if name in sweep_files():
        with as_file(files("search_spaces").joinpath("sweeps", f"{name}.yaml")) as path:
            return read_yaml(path, source=path.name)
    path = Path(path_or_name)
    try:
        found = path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        found = False
    if not found:
        hint = did_you_mean(name, sweep_files()).removeprefix("; ")
        rule = f"is neither a file nor a shipped sweep ({', '.join(sweep_files())})"
        raise ConfigError([Problem(where=name, key="", rule=rule, hint=hint)])
    return read_yaml(path)


def _checked(document: Document) -> SweepConfig:
    values = check_sweep(document)
    evaluation = values.pop("evaluation")
    values["storage"] = os.path.expanduser(values["storage"])
    values["tracking_uri"] = placed_tracking_uri(values["tracking_uri"])
    return SweepConfig(
        tasks=tuple(TaskSpec(**placed(task)) for task in values.pop("tasks")),
        backbones=tuple(map(placed_backbone, values.pop("backbones"))),
        finetune=FinetuneConfig(backbone="any", **values.pop("finetune")),
        budget=Budget(**values.pop("budget")),
        confirmation=Confirmation(**values.pop("confirmation")),
        resources=Resources(**values.pop("resources")),
        execution=Execution(**values.pop("execution")),
        evaluation=None if evaluation is None else Evaluation(**evaluation),
        ranking=Weighting(**values.pop("ranking")),
        **values,
    )
