"""Every rule of a sweep file, in tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, get_args

from orchestrator.config.field_docs import field_docs
from orchestrator.config.locations import broken_storage, broken_tracking_uri
from orchestrator.config.model import (
    Allocation,
    Budget,
    Component,
    Confirmation,
    Preset,
    Resources,
    SweepConfig,
    Weighting,
)
from orchestrator.config.relations import (
    at_most,
    augmented_images,
    batch_fits,
    blocks_exist,
    blocks_said_once,
    classes_to_balance,
    modality_fits,
    race_can_start,
    searched_or_fixed,
    some_weight,
    studies_fit,
)
from orchestrator.config.rules import (
    ListOf,
    Nullable,
    OneOf,
    Report,
    Rule,
    Scalar,
    Section,
    Text,
    dataclass_defaults,
)
from orchestrator.config.task import METRIC_HINT, task_section
from orchestrator.config.values import (
    NAME,
    Fixed,
    Flag,
    Numbers,
    Space,
    broken_backbone,
    broken_gpus,
    broken_name,
    broken_part,
    broken_timeout,
    full_name,
)
from orchestrator.config.yaml_source import Document
from orchestrator.errors import ConfigError
from search_spaces import SEARCHABLE
from search_spaces.errors import ABSENT
from trainables.config import FinetuneConfig
from trainables.evaluation import Evaluation, Perturbed
from trainables.execution import ActivationCache, ActivationDtype, Execution

__all__ = ["check_sweep", "sweep_section"]

MAX_SEED: Final = 2**31 - 1
YEAR_S: Final = 365 * 86_400


def check_sweep(document: Document) -> dict[str, Any]:
    """The checked values of a sweep file, every default filled in.

    Raises:
        ConfigError: rules are broken; all of them are listed.
    """
    report = Report(document)
    values = sweep_section().check(document.value, (), report)
    if report.problems:
        raise ConfigError(report.in_order())
    return dict(values)


@cache
def sweep_section() -> Section:
    """The rules of a whole sweep file."""
    name = Text(broken=broken_name, pattern=f"^{NAME}$")
    return _section(
        SweepConfig,
        {
            "name": name,
            "tasks": ListOf(item=task_section(), most=100, name=lambda values: values.get("name", ABSENT)),
            "backbones": ListOf(item=Text(broken=broken_backbone), most=1000, name=full_name),
            "space": Space(),
            "finetune": _finetune_section(),
            "budget": _budget_section(),
            "confirmation": _confirmation_section(),
            "resources": _resources_section(),
            "execution": _execution_section(),
            "evaluation": Nullable(rule=_evaluation_section()),
            "screen": Flag(),
            "ranking": _ranking_section(),
            "tracking_uri": Text(broken=broken_tracking_uri),
            "storage": Text(broken=broken_storage),
            "seed": Scalar(kind=int, low=0, high=MAX_SEED),
        },
        hints={
            "metric": METRIC_HINT,
            "mode": METRIC_HINT,
            "models": "did you mean 'backbones'?",
            "datasets": "did you mean 'tasks'?",
            "lr": "learning_rate belongs under space, or fixed under finetune",
            **dict.fromkeys(
                ("learning_rate", "freeze_depth", "tune_window"), "it belongs under space, or fixed under finetune"
            ),
            "batch_size": "it belongs under finetune",
            "trials": "it belongs under budget",
            "max_epochs": "it belongs under budget",
            "race": "write budget: {allocation: race}",
            "cache": "it is execution.activation_cache",
            "train_fracs": "it belongs under confirmation",
            "metrics": "did you mean 'evaluation'?",
            "perturbations": "it belongs under evaluation",
            "weights": "it belongs under ranking",
            "preset": "it belongs under ranking",
        },
        relations=(
            searched_or_fixed,
            blocks_said_once,
            batch_fits,
            blocks_exist,
            classes_to_balance,
            augmented_images,
            modality_fits,
            race_can_start,
            studies_fit,
        ),
    )


def _section(cls: type, rules: Mapping[str, Rule], **more: Any) -> Section:
    return Section(rules=rules, defaults=_checked_defaults(cls), descriptions=field_docs(cls), **more)


def _checked_defaults(cls: type) -> dict[str, Any]:
    """Defaults in their checked form, in which a nested section is a dict."""
    defaults = dataclass_defaults(cls)
    nested: dict[str, type] = {
        "budget": Budget,
        "confirmation": Confirmation,
        "resources": Resources,
        "execution": Execution,
        "evaluation": Evaluation,
        "ranking": Weighting,
    }
    checked = {name: dataclass_defaults(nested[name]) for name in nested if name in defaults}
    return {**defaults, **checked, **({"finetune": {}} if "finetune" in defaults else {})}


def _budget_section() -> Section:
    return _section(
        Budget,
        {
            "allocation": OneOf(options=get_args(Allocation)),
            "trials": Scalar(kind=int, low=1, high=100_000),
            "random_trials": Scalar(kind=int, low=0, high=100_000),
            "max_epochs": Scalar(kind=int, low=1, high=10_000),
            "grace_epochs": Scalar(kind=int, low=1, high=10_000),
            "reduction_factor": Scalar(kind=int, low=2, high=100),
        },
        hints={
            "epochs": "did you mean 'max_epochs'?",
            "num_trials": "did you mean 'trials'?",
            "race": "write allocation: race",
            "mode": "did you mean 'allocation'?",
        },
        relations=(at_most("random_trials", "trials"), at_most("grace_epochs", "max_epochs")),
    )


def _confirmation_section() -> Section:
    part = Scalar(kind=float, low=0, high=1, also=broken_part)
    return _section(
        Confirmation,
        {"seeds": Scalar(kind=int, low=1, high=100), "train_fracs": Numbers(item=part), "keep_model": Flag()},
        hints={
            "num_seeds": "did you mean 'seeds'?",
            "train_frac": "did you mean 'train_fracs'? A task's own train_frac belongs under tasks",
            "fractions": "did you mean 'train_fracs'?",
            **dict.fromkeys(("keep", "keep_models", "save_model", "export"), "did you mean 'keep_model'?"),
        },
    )


def _evaluation_section() -> Section:
    count = Scalar(kind=int, low=0, high=10**6)
    return _section(
        Evaluation,
        {
            "perturbations": OneOf(options=get_args(Perturbed)),
            "num_perturbed": Scalar(kind=int, low=1, high=10**6),
            "num_attacked": count,
            "num_explained": Scalar(kind=int, low=0, high=10**4),
            "num_drifted": count,
        },
        hints={
            "robustness": "did you mean 'perturbations'?",
            "explain": "did you mean 'num_explained'?",
            "attacks": "did you mean 'num_attacked'?",
            "drift": "did you mean 'num_drifted'?",
            "screen": "it is the sweep's own key screen",
            "train_fracs": "it belongs under confirmation",
        },
    )


def _ranking_section() -> Section:
    names = get_args(Component)
    weights = Section(
        rules={name: Scalar(kind=float, low=0, high=1000) for name in names},
        defaults=dict.fromkeys(names, ABSENT),
        hints={
            "accuracy": "did you mean 'quality'?",
            "few_trials": "did you mean 'ease'?",
            "few_labels": "did you mean 'data_efficiency'?",
            "perturbed": "did you mean 'robustness'?",
            "cost": "cost stays on its own axis and has no weight",
        },
    )
    return _section(
        Weighting,
        {"preset": OneOf(options=get_args(Preset)), "weights": weights},
        hints={name: f"write weights: {{{name}: ...}}" for name in names},
        relations=(some_weight,),
    )


def _resources_section() -> Section:
    return _section(
        Resources,
        {
            "cpus_per_trial": Scalar(kind=int, low=1, high=1024),
            "gpus_per_trial": Scalar(kind=float, low=0, high=64, also=broken_gpus, auto=True),
            "max_concurrent": Scalar(kind=int, low=1, high=10_000, auto=True),
            "max_retries": Scalar(kind=int, low=0, high=10),
            "epoch_timeout_s": Nullable(rule=Scalar(kind=float, low=0, high=YEAR_S, also=broken_timeout, auto=True)),
        },
        hints={
            **{name: f"did you mean '{name}_per_trial'?" for name in ("gpus", "cpus")},
            **dict.fromkeys(("retries", "max_failures"), "did you mean 'max_retries'?"),
            **dict.fromkeys(("timeout", "timeout_s"), "did you mean 'epoch_timeout_s'?"),
        },
    )


def _execution_section() -> Section:
    return _section(
        Execution,
        {
            "activation_cache": OneOf(options=get_args(ActivationCache)),
            "activation_dtype": OneOf(options=get_args(ActivationDtype)),
            "compile": Flag(),
            "gradient_checkpointing": Flag(),
            "micro_batch_size": Nullable(rule=Scalar(kind=int, low=1, high=10_000_000)),
        },
        hints={
            "cache": "did you mean 'activation_cache'?",
            "dtype": "did you mean 'activation_dtype'?",
            "torch_compile": "did you mean 'compile'?",
            "checkpointing": "did you mean 'gradient_checkpointing'?",
            "micro_batch": "did you mean 'micro_batch_size'?",
            "batch_size": "it belongs under finetune; a part of a batch is micro_batch_size",
            "precision": "it belongs under finetune",
        },
    )


def _finetune_section() -> Section:
    return Section(
        rules={name: Fixed(name=name) for name in SEARCHABLE},
        defaults=dict.fromkeys(SEARCHABLE, ABSENT),
        descriptions=field_docs(FinetuneConfig),
        hints={
            "max_epochs": "it belongs under budget",
            "seed": "it is the sweep's own key seed",
            "backbone": "list them under backbones",
            "lr": "did you mean 'learning_rate'?",
            "window": "did you mean 'tune_window'?",
            "blocks": "did you mean 'tune_window'?",
            "freeze": "did you mean 'freeze_depth'?",
            "l2_sp": "did you mean 'stay_near'?",
            "lp_ft": "did you mean 'head_init'?",
            "class_weights": "did you mean 'class_weight'?",
            "scheduler": "did you mean 'schedule'?",
            "epochs": "it belongs under budget, as max_epochs",
        },
    )
