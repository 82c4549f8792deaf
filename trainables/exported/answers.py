"""From a network's outputs to what people read."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainables.exported.facts import ModelFacts
from trainables.objective import Regression

__all__ = ["answers"]


def answers(outputs: Tensor, facts: ModelFacts) -> dict[str, list[Any]]:
    """One column each of `ModelFacts.output_columns`, with as many values as there are samples.

    Args:
        outputs: float32 (n, num_outputs), on the CPU.
    """
    if facts.kind == "regression":
        scaled = Regression(mean=facts.target_mean, std=facts.target_std).answers(outputs)
        return {name: scaled[:, place].tolist() for place, name in enumerate(facts.output_columns)}
    # In float64: a logit just above zero is a yes, and its probability must not be rounded down to one half.
    wide = outputs.double()
    shares = wide.softmax(dim=1) if facts.kind == "classification" else wide.sigmoid()
    columns: dict[str, list[Any]] = {}
    if facts.kind == "classification":
        columns["label"] = [facts.class_names[place] for place in outputs.argmax(dim=1).tolist()]
    names = (f"probability_{name}" for name in facts.class_names)
    return columns | {name: shares[:, place].tolist() for place, name in enumerate(names)}
