"""A backbone's tuned network as MLflow's LoggedModel, once for each network however often it is written."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.tracking.info import DatasetInfo
from orchestrator.tracking.inputs import data_inputs
from orchestrator.tracking.metric import milliseconds, rounded
from orchestrator.tracking.model_folder import write_model_folder
from orchestrator.tracking.model_info import ModelInfo
from orchestrator.tracking.naming import RUN_ID_TAG
from orchestrator.tracking.store import Store
from orchestrator.tracking.stored_run import StoredRun

__all__ = ["find", "write"]

WEIGHTS_TAG: Final = "orchestrator.weights_sha256"
_LINKED_TAG: Final = "orchestrator.linked"
_NOTE_TAG: Final = "mlflow.note.content"
_READY: Final = "READY"
_UNFIT: Final = re.compile(r"[^\w-]+")
_MAX_TAG: Final = 5000
_PARAMS: Final = ("freeze_depth", "tune_window", "learning_rate", "head_learning_rate", "batch_size", "seed")


def write(
    store: Store, run: StoredRun, model: ModelInfo, source: Mapping[str, str], dataset: DatasetInfo | None
) -> str:
    """Have MLflow hold this network, and no other one of this sweep, backbone and task.

    Args:
        run: the backbone's summary run, which the model becomes an output of.
        source: tags that say which sweep it is of, and who ran it.
        dataset: that its test score was measured on.

    Returns:
        MLflow's identity of the model, ``m-...``.

    Raises:
        OSError: there is no room to put the model together.
        UnavailableError, RefusedError, ForbiddenError: as the store.
    """
    current: Any = None
    for found in _all(store, run.experiment_id, run.run_id):
        if current is None and _is_whole(found) and found.tags.get(WEIGHTS_TAG) == model.facts.weights_digest:
            current = found
        else:  # another network, or what a writer left that was cut off
            store.call("delete_logged_model", found.model_id)
    if current is None:
        current = _create(store, run, model, source)
    if current.tags.get(_LINKED_TAG) != run.id:
        _link(store, run, current.model_id, model, dataset)
    return str(current.model_id)


def find(store: Store, experiment_id: str, run_id: str, weights_digest: str) -> str | None:
    """MLflow's identity of a network that is there whole; else None.

    Args:
        run_id: our own identity of the backbone's summary run.
        weights_digest: sha256 of the network's weights.
    """
    whole = (m for m in _all(store, experiment_id, run_id) if _is_whole(m))
    return next((str(m.model_id) for m in whole if m.tags.get(WEIGHTS_TAG) == weights_digest), None)


def _all(store: Store, experiment_id: str, run_id: str) -> Iterator[Any]:
    token = None
    where = f"tags.`{RUN_ID_TAG}` = '{run_id}'"
    while True:
        page = store.call("search_logged_models", [experiment_id], filter_string=where, page_token=token)
        yield from list(page)
        token = page.token
        if not token:
            return


def _is_whole(found: Any) -> bool:
    return str(getattr(found.status, "value", found.status)) == _READY


def _create(store: Store, run: StoredRun, model: ModelInfo, source: Mapping[str, str]) -> Any:
    facts = model.facts
    tags = {
        **source,
        RUN_ID_TAG: run.run_id,
        WEIGHTS_TAG: facts.weights_digest,
        "orchestrator.backbone": model.backbone,
        "orchestrator.confirmation": str(model.number),
        "task": model.task,
        "modality": facts.modality,
        "kind": facts.kind,
        _NOTE_TAG: model.card[:_MAX_TAG],
    }
    params = {name: str(facts.config[name]) for name in _PARAMS if facts.config.get(name) is not None}
    params |= {"model": model.backbone, "num_blocks": str(facts.num_blocks), "best_epoch": str(facts.best_epoch)}
    made = store.call(
        "create_logged_model",
        run.experiment_id,
        name=_UNFIT.sub("-", model.backbone.partition("/")[2]).strip("-") or "model",
        source_run_id=run.id,
        tags={name: value for name, value in tags.items() if value},
        params=params,
        model_type=facts.kind,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_model_folder(folder, model, model_id=made.model_id, run_id=run.id)
        store.call("log_model_artifacts", made.model_id, str(folder))
    return store.call("finalize_logged_model", made.model_id, _READY)


def _link(store: Store, run: StoredRun, model_id: str, model: ModelInfo, dataset: DatasetInfo | None) -> None:
    """The scores on the model, and the model on its run. What says that it was done comes last."""
    from mlflow.entities import LoggedModelOutput, Metric

    facts, now = model.facts, milliseconds(None)
    of_data: dict[str, dict[str, str]] = {"test": {}, "val": {}}
    if dataset is not None:
        of_data = {
            split: {"dataset_name": data.name, "dataset_digest": data.digest}
            for split in of_data
            for data in data_inputs(dataset, (split,))
        }
    scores = {"test": facts.test_score, "val": facts.val_score}
    metrics = [
        Metric(f"model/{split}_{facts.metric}", rounded(score), now, 0, model_id=model_id, **of_data[split])
        for split, score in scores.items()
    ]
    store.call("log_batch", run.id, metrics=metrics)
    outputs = getattr(store.call("get_run", run.id).outputs, "model_outputs", None) or ()
    if model_id not in {output.model_id for output in outputs}:
        store.call("log_outputs", run.id, [LoggedModelOutput(model_id, step=0)])
    store.call("set_logged_model_tags", model_id, {_LINKED_TAG: run.id})
