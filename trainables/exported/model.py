"""A saved model: built again from its folder alone, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.backbones import Backbone, build, replace_head
from trainables.batches import eval_batches
from trainables.catalog import RANDOM, lookup
from trainables.data import Split
from trainables.errors import InvalidConfig, UnknownName, WeightsUnavailable
from trainables.exported.answers import answers
from trainables.exported.facts import CHECKPOINT, WEIGHTS_FILE, ModelFacts, file_digests, model_folder, read_facts
from trainables.exported.samples import AT_ONCE, as_rows, encoded
from trainables.finetune import default_device
from trainables.precision import autocast
from trainables.preprocessing import ImagePreprocessing, Preprocessing, State
from trainables.splitting import InParts

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ExportedModel", "load_model"]


class ExportedModel:
    """A fine-tuned network that is given samples as people have them.

    Args:
        network: with its head and weights, on `device`.
        facts: what it is.
        preprocessing: the network's own.
    """

    def __init__(
        self, network: Backbone, facts: ModelFacts, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.facts = facts
        self.network = network
        self.device = device
        self._preprocessing = preprocessing
        self._prepare = preprocessing.on_device().to(device)
        self._in_parts = InParts(device)

    def predict(self, samples: Any) -> DataFrame:
        """Predictions, one row per sample in the given order, with the columns of `ModelFacts.output_columns`.

        Args:
            samples: a table or a sequence, as `trainables.exported.samples.as_rows` takes them; any number.

        Raises:
            DataError: a column is missing, or a sample cannot be read.
            MissingExtra: they are sounds and nothing that is installed reads them.
        """
        from pandas import DataFrame

        return DataFrame(answers(self.outputs(samples), self.facts), columns=list(self.facts.output_columns))

    def outputs(self, samples: Any) -> Tensor:
        """What the head gives, float32 (n, num_outputs) on the CPU. Raises as `predict`."""
        rows, at_once = as_rows(samples, self.facts), AT_ONCE[self.facts.modality]
        if not rows:
            return torch.zeros(0, len(self.facts.class_names))
        return torch.cat(
            [self._outputs(rows[start : start + at_once], start) for start in range(0, len(rows), at_once)]
        )

    def _outputs(self, rows: list[Any], first: int) -> Tensor:
        samples = encoded(rows, self.facts, self._preprocessing, first=first)
        split = Split(samples=samples, rows=torch.arange(len(rows)), targets=torch.zeros(len(rows)))
        batches = eval_batches(split)  # as a task is evaluated: the same numbers to the last bit
        self.network.eval()
        with torch.inference_mode():
            parts = [self._in_parts(self._forward, split.batch(positions)[0]) for positions in batches]
        return torch.cat([part.float().cpu() for part in parts])[torch.cat(batches).argsort()]

    def _forward(self, state: State) -> Tensor:
        moved = state.to(self.device) if isinstance(state, Tensor) else tuple(part.to(self.device) for part in state)
        prepared = self._prepare(moved)
        with autocast(self.facts.precision, self.device):
            outputs: Tensor = self.network(prepared)
        return outputs


def load_model(folder: str | Path, device: torch.device | None = None) -> ExportedModel:
    """The model that `save_model` left in `folder`, or that of an MLflow model around it.

    Every file is held against the checksum written with it. Nothing is looked for elsewhere, and nothing is unpickled.

    Args:
        device: None is CUDA where there is one, else the CPU.

    Raises:
        WeightsUnavailable: there is none, or a file is not as it was written.
        InvalidConfig: the libraries that are installed build another network by its name.
        UnknownName: nobody here builds the backbone, as where its plug-in is not installed.
    """
    place, facts, device = model_folder(folder), read_facts(folder), device or default_device()
    _require_whole(place, facts.files)
    network = _network(place, facts)
    preprocessing = _preprocessing(network.preprocessing, facts)
    return ExportedModel(network.to(device).to(memory_format=torch.channels_last).eval(), facts, preprocessing, device)


def _require_whole(place: Path, files: Mapping[str, str]) -> None:
    found = file_digests(place)
    if changed := [name for name, digest in files.items() if found.get(name) != digest]:
        raise WeightsUnavailable(
            f"every file of a model must be as it was written; {place.absolute()} has {len(changed)} missing or "
            f"changed: {', '.join(changed[:3])}; export it again"
        )


def _network(place: Path, facts: ModelFacts) -> Backbone:
    from safetensors import SafetensorError
    from safetensors.torch import load_model as load_tensors

    try:
        spec = lookup(facts.backbone)
    except UnknownName as error:
        raise UnknownName(f"{error}. The model was made from it: install the package that brings it") from error
    if spec.source == "hf":  # all that builds it lies beside the weights
        spec = lookup(f"hf/{(place / CHECKPOINT).resolve()}@{RANDOM}")
    network = build(spec, load_weights=False)
    replace_head(network, len(facts.class_names), seed=0)
    try:
        load_tensors(network, place / WEIGHTS_FILE, strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise InvalidConfig(
            f"the weights of {facts.backbone} must fit the network that the installed libraries build by that name, "
            f"and do not ({error}); it was made with {', '.join(f'{k} {v}' for k, v in facts.versions.items())}"
        ) from error
    return network


def _preprocessing(built: Preprocessing, facts: ModelFacts) -> Preprocessing:
    """As it was in training. Of images that is numbers, which another version of a library may have changed."""
    if not isinstance(built, ImagePreprocessing):
        return built
    own = {name: facts.inputs[name] for name in ("input_size", "interpolation", "crop_frac", "crop_mode")}
    return ImagePreprocessing(mean=tuple(facts.inputs["mean"]), std=tuple(facts.inputs["std"]), **own)
