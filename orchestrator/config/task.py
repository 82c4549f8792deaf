"""The rules of one task of a sweep file: its data, how they are read, and how they are split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from orchestrator.config.field_docs import field_docs
from orchestrator.config.locations import Broken, broken_path
from orchestrator.config.placing import LOCAL_STARTS, placed_data
from orchestrator.config.rules import (
    Nullable,
    OneOf,
    Report,
    Rule,
    Scalar,
    Section,
    Text,
    dataclass_defaults,
)
from orchestrator.config.values import NAME, Texts, broken_name
from orchestrator.config.yaml_source import Keys
from trainables.config import Kind, OnBadSample, TaskSpec
from trainables.modality import Modality

__all__ = ["METRIC_HINT", "placed", "task_section"]

METRIC_HINT: Final = "a sweep maximises the task's own metric on validation; leave the key out"

_BUNDLED: Final = "digits"
_TORCHVISION: Final = "torchvision/"
_HF: Final = "hf/"
_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+)?", re.ASCII)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAX_COLUMN: Final = 300

_SIZES: Final = {"image_size": "image", "max_length": "text", "max_duration_s": "audio"}
"""Fields that only one modality has a use for."""

_ALIASES: Final = {
    "data": ("path", "folder", "dataset", "file", "root", "source", "train_data"),
    "val_data": ("val", "validation", "valid", "dev"),
    "test_data": ("test",),
    "kind": ("type", "task", "problem", "objective"),
    "modality": ("input_type", "inputs_are"),
    "input_columns": ("text", "texts", "input", "inputs", "column", "columns", "text_column", "image_column"),
    "label_columns": ("label", "labels", "label_column", "target", "targets", "y"),
    "split_column": ("split", "splits"),
    "group_column": ("group", "groups", "group_by"),
    "image_size": ("size", "resolution", "input_size"),
    "max_length": ("max_tokens", "max_seq_length", "sequence_length", "seq_len"),
    "max_duration_s": ("duration", "max_duration", "duration_s", "seconds"),
    "num_train": ("train", "n_train", "train_size"),
    "few_shot": ("shots", "shot", "k_shot", "num_shots", "per_class"),
    "train_frac": ("fraction", "frac", "train_fraction", "data_frac"),
    "on_bad_sample": ("on_error", "skip_bad", "on_bad", "bad_samples"),
    "split_seed": ("seed",),
}
"""Field -> names that other tools have for it, and that are too far from ours to be recognised as typing errors."""


def task_section() -> Section:
    """The rules of a task."""
    count = Nullable(rule=Scalar(kind=int, low=1, high=10_000_000))
    place, column = Text(broken=broken_data), Text(broken=broken_column)
    rules: dict[str, Rule] = {
        "name": Text(broken=broken_name, pattern=f"^{NAME}$"),
        "data": place,
        "val_data": Nullable(rule=place),
        "test_data": Nullable(rule=place),
        "kind": OneOf(options=get_args(Kind)),
        "modality": Nullable(rule=OneOf(options=get_args(Modality))),
        "input_columns": Texts(item=column, most=2),
        "label_columns": Texts(item=column),
        "split_column": Nullable(rule=column),
        "group_column": Nullable(rule=column),
        "image_size": Nullable(rule=Scalar(kind=int, low=8, high=4096)),
        "max_length": Nullable(rule=Scalar(kind=int, low=4, high=1_000_000)),
        "max_duration_s": Nullable(rule=Scalar(kind=float, low=0.01, high=86_400)),
        "num_train": count,
        "num_val": count,
        "num_test": count,
        "few_shot": count,
        "train_frac": Scalar(kind=float, low=0, high=1, also=_broken_share),
        "on_bad_sample": OneOf(options=get_args(OnBadSample)),
        "split_seed": Scalar(kind=int, low=0, high=2**31 - 1),
    }
    hints = {alias: f"did you mean {name!r}?" for name, aliases in _ALIASES.items() for alias in aliases}
    return Section(
        rules=rules,
        defaults=dataclass_defaults(TaskSpec),
        descriptions=field_docs(TaskSpec),
        hints={**hints, "metric": METRIC_HINT, "mode": METRIC_HINT},
        relations=(_few_shot_alone, _sizes_fit, _splits_apart),
    )


def placed(task: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of a task with its local paths made absolute; see `orchestrator.config.placing`."""
    places = {key: placed_data(task[key]) for key in ("data", "val_data", "test_data") if task[key] is not None}
    return {**task, **places}


def broken_data(text: str) -> Broken | None:
    """The rule a place of data breaks."""
    if broken := broken_path(text):
        return broken
    if _URL.match(text):
        return (
            f"must be {_BUNDLED}, a path, torchvision/<Dataset> or hf/<dataset>[@configuration]",
            "download it first, or name a dataset of the Hugging Face hub",
        )
    if text.startswith(_TORCHVISION) and not text.removeprefix(_TORCHVISION).isidentifier():
        return (
            "must be torchvision/<Dataset>, with the name of its class",
            "e.g. torchvision/CIFAR10; ./torchvision/... is a folder",
        )
    name = text.removeprefix(_HF)
    if text.startswith(_HF) and not name.startswith(LOCAL_STARTS) and not _HUB_NAME.fullmatch(name):
        return (
            "must be hf/<dataset>[@configuration], or hf/./folder",
            "e.g. hf/stanfordnlp/imdb or hf/nyu-mll/glue@sst2",
        )
    return None


def broken_column(text: str) -> Broken | None:
    """The rule the name of a column breaks."""
    if not text or len(text) > _MAX_COLUMN or not text.isprintable():
        return f"must be the name of a column: 1 to {_MAX_COLUMN} printable characters", ""
    return None


def _broken_share(share: float) -> Broken | None:
    return None if share > 0 else ("must be in (0, 1]", "leave the key out to keep all samples")


def _few_shot_alone(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    few_shot = values.get("few_shot")
    if few_shot is None:
        return
    if values.get("num_train") is not None:
        report.add((*keys, "few_shot"), "takes the place of num_train, so only one can be given", few_shot)
    if values.get("kind") not in (None, "classification"):
        rule = f"counts samples per class, which a {values['kind']} task has not"
        report.add((*keys, "few_shot"), rule, few_shot, "give num_train")


def _splits_apart(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    """Validation and test samples are others than those that are trained on."""
    data = values.get("data")
    seen: dict[str, str] = {}
    for name in ("data", "val_data", "test_data"):
        place = values.get(name)
        if place is None:
            continue
        if name != "data" and data is not None and (data == _BUNDLED or data.startswith(_TORCHVISION)):
            rule = f"cannot join {data}, which is split as it was published, or by num_val and num_test"
            report.add((*keys, name), rule, place, "remove it")
            continue
        first = seen.setdefault(placed_data(place), name)
        if first != name:
            rule = f"must not be {first}: a sweep would choose, or measure, by samples it has seen"
            report.add((*keys, name), rule, place, "leave it out, and it is split off from data")


def _sizes_fit(values: Mapping[str, Any], keys: Keys, report: Report) -> None:
    modality = values.get("modality")
    for name, owner in _SIZES.items():
        if modality not in (None, owner) and values.get(name) is not None:
            report.add((*keys, name), f"is for {owner} data, and modality is {modality}", values[name], "remove it")
    if modality in ("image", "audio") and len(values.get("input_columns", ())) > 1:
        rule = f"must be one column of paths or bytes for {modality} data; two are a pair of texts"
        report.add((*keys, "input_columns"), rule, list(values["input_columns"]))
