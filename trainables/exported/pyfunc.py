"""What MLflow calls to load a saved model and to ask it. Imports nothing of MLflow, and unpickles nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.errors import DataError
from trainables.exported.model import ExportedModel, load_model

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["_load_pyfunc"]


def _load_pyfunc(path: str) -> PyfuncModel:
    """The model in the folder `path`: the name and form that MLflow's ``loader_module`` asks for."""
    return PyfuncModel(load_model(path))


class PyfuncModel:
    """An `ExportedModel` as MLflow calls it."""

    def __init__(self, model: ExportedModel) -> None:
        self.model = model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> DataFrame:
        """As `ExportedModel.predict`; `params` are none of this model's.

        Raises:
            DataError: as there, and where images or sounds are named by a path: whoever sends samples to a server
                must not have it read its own files.
        """
        if self.model.facts.modality != "text":
            column = self.model.facts.input_columns[0]
            values = model_input[column] if column in getattr(model_input, "columns", ()) else ()
            if any(isinstance(value, str) for value in values):
                raise DataError(f"column {column} must hold the bytes of files, got a text; read the files first")
        return self.model.predict(model_input)
