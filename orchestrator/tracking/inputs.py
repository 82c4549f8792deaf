"""A task's data as inputs of MLflow's runs: one per split, told apart by its context. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import redact
from orchestrator.tracking.info import DatasetInfo
from orchestrator.workers.request import SEARCHED

__all__ = ["CONTEXTS", "CONTEXT_TAG", "DataInput", "contexts_of", "data_inputs"]

CONTEXTS: Final = ("train", "val", "test")
CONTEXT_TAG: Final = "mlflow.data.context"
_FRAC_TAG: Final = "orchestrator.train_frac"
_DIGEST: Final = 36


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInput:
    """As MLflow takes it. Two of the same name and digest are one dataset of an experiment."""

    name: str
    digest: str
    source: str
    profile: str
    tags: Mapping[str, str]


def contexts_of(phase: str) -> tuple[str, ...]:
    """Splits that a run's metrics are of: what is searched among shows no test score."""
    return CONTEXTS[:2] if phase in SEARCHED else CONTEXTS


def data_inputs(info: DatasetInfo, contexts: tuple[str, ...] = CONTEXTS, *, train_frac: float = 1.0) -> list[DataInput]:
    """
    Args:
        train_frac: share of the training split that was trained on; a smaller one is said with the input.
    """
    facts = {
        "num_classes": info.num_classes,
        "metric": info.metric,
        "kind": info.kind,
        "modality": info.modality,
        **info.sizes,
    }
    return [
        DataInput(
            name=f"{info.name}-{context}",
            digest=info.digest[:_DIGEST],
            source=json.dumps({"uri": redact(info.source)}),
            profile=json.dumps({"num_rows": getattr(info, f"num_{context}"), **facts}),
            tags={CONTEXT_TAG: context}
            | ({_FRAC_TAG: f"{train_frac:g}"} if context == "train" and train_frac < 1 else {}),
        )
        for context in contexts
    ]
