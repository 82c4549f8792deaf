"""An MLflow model: a folder that `mlflow.pyfunc` loads and `mlflow models serve` serves.

It holds the kept model as it is, the package that loads it, a signature, an example and pinned requirements. torch
is not loaded here: what the example is answered was written when the network was saved.
"""

from __future__ import annotations

import importlib.util
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from orchestrator.tracking import environment
from orchestrator.tracking.model_info import ModelInfo
from trainables.exported.facts import ModelFacts, model_folder, read_example

__all__ = ["CARD", "write_model_folder"]

CARD: Final = "README.md"
_LOADER: Final = "trainables.exported.pyfunc"
_CODE: Final = "trainables"

_NEEDED: Final = ("torch", "numpy", "pandas", "pyarrow", "pillow", "safetensors", "filelock", "scikit-learn", "scipy")
"""Distributions that the package imports whatever the model."""

_OF_SOURCE: Final = {
    "torchvision": ("torchvision",),
    "timm": ("timm", "torchvision"),
    "hf": ("transformers", "tokenizers"),
}


def write_model_folder(path: Path, model: ModelInfo, *, model_id: str | None = None, run_id: str | None = None) -> None:
    """Write an MLflow model.

    Args:
        path: is made.
        model_id: under which MLflow knows it; None of one that MLflow does not.
        run_id: of the run that it belongs to.

    Raises:
        OSError: the folder cannot be written.
        mlflow.exceptions.MlflowException: it exists already.
    """
    environment.prepare()
    import mlflow.pyfunc
    from mlflow.models import Model
    from pandas import DataFrame

    environment.quieten()
    facts = model.facts
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "model"  # MLflow keeps the name of what it copies
        data.symlink_to(model_folder(model.folder).resolve(), target_is_directory=True)
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module=_LOADER,
            data_path=str(data),
            code_paths=[str(_package())],
            signature=_signature(facts),
            input_example=DataFrame(read_example(data, facts)),
            pip_requirements=requirements(facts),
            metadata=_metadata(facts),
            mlflow_model=Model(model_id=model_id, run_id=run_id),
        )
    (path / CARD).write_text(model.card, encoding="utf-8")


def requirements(facts: ModelFacts) -> list[str]:
    """What the model needs, pinned to what is installed here; pip knows no local versions such as ``+cu128``."""
    source = facts.backbone.partition("/")[0]
    names = [*_NEEDED, *_OF_SOURCE.get(source, _plug_in(source)), *(["soundfile"] if facts.modality == "audio" else [])]
    pinned = []
    for name in dict.fromkeys(names):
        try:
            pinned.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:  # of what is needed by some models only, one that got by without it
            continue
    return pinned


def _plug_in(source: str) -> tuple[str, ...]:
    """The distribution that builds backbones of this source."""
    from importlib.metadata import entry_points

    from trainables.plugins import GROUP

    found = (entry.dist for entry in entry_points(group=GROUP) if entry.name == source)
    return tuple(dist.name for dist in found if dist is not None)


def _package() -> Path:
    spec = importlib.util.find_spec(_CODE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the package {_CODE} has no folder that could be copied")
    return Path(spec.origin).parent


def _signature(facts: ModelFacts) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    kind = DataType.string if facts.modality == "text" else DataType.binary
    outputs = [
        ColSpec(DataType.string if name == "label" and facts.kind == "classification" else DataType.double, name)
        for name in facts.output_columns
    ]
    return ModelSignature(inputs=Schema([ColSpec(kind, name) for name in facts.input_columns]), outputs=Schema(outputs))


def _metadata(facts: ModelFacts) -> dict[str, Any]:
    return {
        "backbone": facts.backbone,
        "task": facts.task,
        "metric": facts.metric,
        "test_score": facts.test_score,
        "num_test": facts.num_test,
        "freeze_depth": facts.config["freeze_depth"],
        "weights_sha256": facts.weights_digest,
        **{f"origin_{name}": value for name, value in facts.origin.items()},
    }
