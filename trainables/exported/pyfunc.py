"""What MLflow calls to load a saved model and to ask it. Imports nothing of MLflow, and unpickles nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.errors import DataError
from trainables.exported.model import ExportedModel, load_model
from trainables.exported.samples import as_rows

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
        rows = as_rows(model_input, self.model.facts)
        if self.model.facts.modality != "text":
            for place, row in enumerate(rows):
                if not isinstance(row, (bytes, bytearray, memoryview)):
                    raise DataError(
                        f"sample {place} must be the bytes of a file, got {type(row).__name__}; read the file first, "
                        "and give a DataFrame with one row for each"
                    )
        return self.model.predict(rows)
