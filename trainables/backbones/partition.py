"""Cut a traced model into an exact chain of blocks and a classifier.

The model is traced by torch.fx with every *unit* (residual unit, transformer layer, plain layer) kept
as one opaque call, so only the glue between units is traced and train/eval behaviour stays inside the
modules. A cut between two units is exact where one single value is alive; every unit with weights of
its own that starts at such a place starts a block. Nothing is re-implemented, hence bit-equality.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import fx, nn
from torch.fx.proxy import TraceError

from trainables.errors import InvalidConfig

__all__ = ["partition"]

_LAYER_NAMESPACES = ("torch.nn.", "torchvision.ops.", "timm.layers.")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def partition(
    model: nn.Module, classifier: str, autowrap: tuple[Callable[..., Any], ...] = ()
) -> tuple[list[nn.Module], nn.Module]:
    """Return the blocks from the input side, and the head.

    Pooling, flattening and the final norm belong to the last block, so that what leaves it is the
    feature vector; the head is the classifier with the dropout before it (and, where a model ends in
    more, what follows it).

    Args:
        model: in eval mode; its modules are reused, not copied.
        classifier: path in `model` of the layer whose outputs are the classes.
        autowrap: functions that torch.fx must not look into.

    Raises:
        InvalidConfig: torch.fx cannot trace the model, the classifier is not called exactly once at a
            single-value place, or nothing but the classifier can be cut off.
    """
    tracer = _UnitTracer(model.get_submodule(classifier), autowrap)
    options = [p for p in inspect.signature(model.forward).parameters.values() if p.default is not p.empty]
    try:
        graph = tracer.trace(model, concrete_args={p.name: p.default for p in options})
    except TraceError as error:
        raise _no_chain(model, str(error)) from error
    source = next(node for node in graph.nodes if node.op == "placeholder")
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node):
        raise _no_chain(model, f"it must return one tensor, its graph returns {result!r}")
    needed = _ancestors(result)
    nodes = [node for node in graph.nodes if node in needed and node.op != "placeholder"]
    crossing = _crossing_values(nodes, source, result)
    modules = dict(model.named_modules())
    start_of_head = _start_of_head(nodes, modules, crossing, classifier)
    if start_of_head is None:
        raise _no_chain(model, f"{classifier!r} must be called once, on the only value alive there")
    starts = _block_starts(nodes[:start_of_head], modules, crossing)
    if not starts:
        raise _no_chain(model, "more than one value is alive between all of its layers")
    edges = [0, *starts, start_of_head, len(nodes)]
    blocks: list[nn.Module] = [
        _subgraph(model, nodes[begin:end], crossing[begin], result if end == len(nodes) else crossing[end])
        for begin, end in pairwise(edges)
    ]
    head = blocks.pop()
    return blocks, head


def _no_chain(model: nn.Module, reason: str) -> InvalidConfig:
    return InvalidConfig(f"{type(model).__name__} cannot be cut into a chain of blocks: {reason}")


class _UnitTracer(fx.Tracer):
    """Trace containers and glue; keep units whole, but for what holds the classifier."""

    def __init__(self, classifier: nn.Module, autowrap: tuple[Callable[..., Any], ...]) -> None:
        super().__init__(autowrap_functions=autowrap)
        self._classifier = classifier

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        holds_classifier = m is not self._classifier and any(x is self._classifier for x in m.modules())
        return not (holds_classifier or type(m) in _CONTAINERS or _holds_a_stack_of_units(m))


def _is_layer(module: nn.Module) -> bool:
    """Whether a library of plain layers defines it; bare containers are not layers."""
    return type(module) not in _CONTAINERS and type(module).__module__.startswith(_LAYER_NAMESPACES)


def _holds_a_stack_of_units(module: nn.Module) -> bool:
    """Whether some container inside (or the module itself) lists units: a stage, an encoder."""
    if _is_layer(module):
        return False
    return any(
        _is_unit(child)
        for container in module.modules()
        if isinstance(container, _CONTAINERS) and not _is_layer(container)
        for child in container.children()
    )


def _is_unit(module: nn.Module) -> bool:
    return not _is_layer(module) and type(module) not in _CONTAINERS and _has_weights(module)


def _ancestors(result: fx.Node) -> set[fx.Node]:
    """What `result` is computed from: shape checks, and options fixed at their defaults, fall away."""
    needed: set[fx.Node] = set()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed


def _crossing_values(nodes: list[fx.Node], source: fx.Node, result: fx.Node) -> list[fx.Node | None]:
    """For each position the one value alive between ``nodes[i-1]`` and ``nodes[i]``, else None."""
    position = {node: index for index, node in enumerate(nodes)}
    last_use = {
        node: max((position[user] for user in node.users if user in position), default=-1) for node in [source, *nodes]
    }
    last_use[result] = len(nodes)
    alive: set[fx.Node] = {source}
    crossing: list[fx.Node | None] = []
    for index, node in enumerate(nodes):
        alive = {value for value in alive if last_use[value] >= index}
        crossing.append(next(iter(alive)) if len(alive) == 1 else None)
        alive.add(node)
    return crossing


def _start_of_head(
    nodes: list[fx.Node], modules: dict[str, nn.Module], crossing: list[fx.Node | None], classifier: str
) -> int | None:
    """Position of the classifier, moved up over the dropout that feeds it; None where it cannot be cut."""
    calls = [i for i, node in enumerate(nodes) if node.op == "call_module" and node.target == classifier]
    if len(calls) != 1 or crossing[calls[0]] is None:
        return None
    position = calls[0]
    while position > 1 and crossing[position - 1] is not None and _is_dropout(modules, nodes[position - 1]):
        position -= 1
    return position


def _is_dropout(modules: dict[str, nn.Module], node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], nn.Dropout)


def _block_starts(nodes: list[fx.Node], modules: dict[str, nn.Module], crossing: list[fx.Node | None]) -> list[int]:
    """Positions, but for the first block's, where a unit with weights starts at a single-value place."""
    units = [
        index
        for index, node in enumerate(nodes)
        if node.op == "call_module" and _has_weights(modules[str(node.target)])
    ]
    return [index for index in units[1:] if crossing[index] is not None]


def _has_weights(unit: nn.Module) -> bool:
    """Whether it has parameters besides those of norms, which belong to the layer before them."""
    return any(
        True for module in unit.modules() if not isinstance(module, _NORMS) for _ in module.parameters(recurse=False)
    )


def _subgraph(
    model: nn.Module, nodes: list[fx.Node], entering: fx.Node | None, leaving: fx.Node | None
) -> fx.GraphModule:
    """The nodes as a module of one input and one output; weights are shared with `model`."""
    if entering is None or leaving is None:
        raise ValueError("a block must have one input and one output")
    graph = fx.Graph()
    copied = {entering: graph.placeholder("x")}
    for node in nodes:
        copied[node] = graph.node_copy(node, lambda old: copied[old])
    graph.output(copied[leaving])
    graph.lint()
    return fx.GraphModule(model, graph, class_name="Block")
