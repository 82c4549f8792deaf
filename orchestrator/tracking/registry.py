"""A LoggedModel in MLflow's registry: one version for each network, however often it is registered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import EnvironmentUnusable, redact
from orchestrator.tracking import naming
from orchestrator.tracking.failure import ForbiddenError, RefusedError, UnavailableError
from orchestrator.tracking.location import kind
from orchestrator.tracking.logged_model import WEIGHTS_TAG, find
from orchestrator.tracking.model_info import ModelInfo
from orchestrator.tracking.store import Store

__all__ = ["Registered", "add_to_registry"]

_VERSIONS_TAG: Final = "mlflow.modelVersions"
LATEST_ALIAS: Final = "latest-sweep"
_MAX_TEXT: Final = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: int
    is_new: bool
    """Whether it was made just now."""

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.version}"


def add_to_registry(uri: str, sweep_id: str, model: ModelInfo, name: str) -> Registered | None:
    """Make a version of the registered model `name` from the LoggedModel of a network.

    The version has its score and sweep as tags, and the alias ``latest-sweep`` moves to it.

    Args:
        uri: of MLflow.
        sweep_id: that the network is of.

    Returns:
        None where MLflow does not hold the network (yet).

    Raises:
        EnvironmentUnusable: MLflow does not answer, or takes no such model.
    """
    store = Store(uri)
    try:
        store.connect()
        return _register(store, sweep_id, model, name, is_served=kind(uri) == "server")
    except (UnavailableError, ForbiddenError, RefusedError) as error:
        raise EnvironmentUnusable(f"MLflow at {redact(uri)} does not register {name!r}: {error}") from error


def _register(store: Store, sweep_id: str, model: ModelInfo, name: str, *, is_served: bool) -> Registered | None:
    experiment = store.call("get_experiment_by_name", naming.experiment_name(model.task))
    if experiment is None:
        return None
    run_id = naming.model_run_id(sweep_id, model.task, model.backbone)
    model_id = find(store, experiment.experiment_id, run_id, model.facts.weights_digest)
    if model_id is None:
        return None
    known = _version(store, name, model.facts.weights_digest)
    registered = Registered(
        name=name,
        version=known or _create(store, sweep_id, model, name, model_id, is_served=is_served),
        is_new=known is None,
    )
    store.call("set_registered_model_alias", name, LATEST_ALIAS, str(registered.version))
    return registered


def _version(store: Store, name: str, weights_digest: str) -> int | None:
    found = store.call("search_model_versions", f"name = '{name}'")
    return next((int(version.version) for version in found if version.tags.get(WEIGHTS_TAG) == weights_digest), None)


def _create(store: Store, sweep_id: str, model: ModelInfo, name: str, model_id: str, *, is_served: bool) -> int:
    facts, logged = model.facts, store.call("get_logged_model", model_id)
    try:
        store.call("get_registered_model", name)
    except RefusedError:
        store.call("create_registered_model", name)
    version = store.call(
        "create_model_version",
        name,
        # A database looks models up at the tracking URI of the process, whatever that is; a server in itself.
        source=f"models:/{model_id}" if is_served else logged.artifact_location,
        run_id=logged.source_run_id,
        model_id=model_id,
        description=model.card[:_MAX_TEXT],
        tags={
            WEIGHTS_TAG: facts.weights_digest,
            naming.SWEEP_ID_TAG: sweep_id,
            "orchestrator.backbone": model.backbone,
            "task": model.task,
            f"test_{facts.metric}": f"{facts.test_score:.6g}",
            "num_test": str(facts.num_test),
        },
    )
    known = json.loads(logged.tags.get(_VERSIONS_TAG, "[]"))
    mine = {"name": name, "version": int(version.version)}
    # What MLflow's own way of registering leaves on the model: its page lists the versions from it.
    store.call("set_logged_model_tags", model_id, {_VERSIONS_TAG: json.dumps([*known, mine])})
    return int(version.version)
