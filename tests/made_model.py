"""Folders as `trainables.exported.save_model` leaves them, made up without torch."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainables.config import FinetuneConfig
from trainables.exported.facts import ModelFacts, file_digests, write_facts

__all__ = ["make_model"]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def make_model(
    folder: Path,
    *,
    backbone: str,
    task: str = "digits",
    val_score: float = 0.5,
    test_score: float = 0.8,
    weights: bytes = b"weights",
    origin: Mapping[str, Any] | None = None,
) -> ModelFacts:
    """Three classes of images; its weights are no network's."""
    (folder / "example").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "example" / "input.png").write_bytes(PNG)
    facts = ModelFacts(
        backbone=backbone,
        modality="image",
        kind="classification",
        class_names=("ant", "bee", "cat"),
        inputs={"side": 32, "framed": True},
        num_blocks=7,
        config=asdict(FinetuneConfig(backbone=backbone, freeze_depth=2, seed=11)),
        task=task,
        data_digest="d" * 64,
        num_train=1000,
        num_val=300,
        num_test=400,
        metric="accuracy",
        best_epoch=2,
        val_score=val_score,
        test_score=test_score,
        chance=0.1,
        origin=origin or {"number": 4},
        versions={"torch": "2.14.1"},
    )
    answer = {name: ["ant" if name == "label" else 0.25] for name in facts.output_columns}
    (folder / "example" / "output.json").write_text(json.dumps(answer))
    facts = replace(facts, files=file_digests(folder))
    write_facts(folder, facts)
    return facts
