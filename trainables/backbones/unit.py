"""What the layers of a model are: units, kept whole when it is cut, lists of units, and classifiers."""

from __future__ import annotations

from torch import nn

__all__ = ["has_weights", "is_list_of_units", "num_outputs"]

_LAYER_NAMESPACES = ("torch.nn.", "torchvision.ops.", "timm.layers.")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def has_weights(unit: nn.Module) -> bool:
    """Whether it has matrices or filters: norms and scales have none and belong to the layer before them."""
    return any(p.numel() > max(p.shape, default=1) for p in unit.parameters())


def is_list_of_units(module: nn.Module) -> bool:
    """Whether it is a bare container, or a container inside lists units: a stage, an encoder.

    A module whose children are units of one type is such a container, whatever its class.
    """
    if type(module) in _CONTAINERS:
        return True
    for holder in module.modules():
        if _is_layer(holder):
            continue
        children = list(holder.children())
        units = [child for child in children if _is_unit(child)]
        is_list = len(units) == len(children) > 1 and len({type(unit) for unit in units}) == 1
        if units and (is_list or isinstance(holder, _CONTAINERS)):
            return True
    return False


def num_outputs(layer: nn.Module) -> int | None:
    """Of a linear or convolutional layer; None for any other."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None


def _is_unit(module: nn.Module) -> bool:
    return not _is_layer(module) and type(module) not in _CONTAINERS and has_weights(module)


def _is_layer(module: nn.Module) -> bool:
    """Whether a library of plain layers defines it; bare containers are not layers."""
    return type(module) not in _CONTAINERS and type(module).__module__.startswith(_LAYER_NAMESPACES)
