"""Cut a model into an exact chain of blocks and a classifier.

The model's forward is recorded with its units as opaque calls (`tracing`) and cut between units. The
blocks re-use the model's own modules and run the same calls in the same order, hence bit-equality.

A place can be a cut where what is alive there can travel (`carry`): always when that is one tensor of
the batch; several are a tuple of tensors only if the module that starts there takes them all, as a
stage of parallel branches does, since otherwise one of them is a shortcut around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from operator import setitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from trainables.backbones.carry import Carry, carry
from trainables.backbones.tracing import BATCH, Trace, has_weights, trace
from trainables.errors import InvalidConfig

__all__ = ["partition"]


def partition(
    model: nn.Module,
    classifiers: Collection[str],
    sample_shape: tuple[int, ...],
    autowrap: tuple[Callable[..., Any], ...] = (),
) -> tuple[list[nn.Module], nn.Module]:
    """Return the blocks from the input side, and the head.

    Pooling, flattening and the final norm belong to the last block, so that what leaves it is the
    feature vector; the head is the classifier with the dropout before it (and, where a model ends in
    more, what follows it). Several classifiers that are combined are one head.

    Args:
        model: in eval mode; its modules are reused, not copied.
        classifiers: paths in `model` of the layers whose outputs are the classes.
        sample_shape: of one input, (channels, height, width). Other sizes are as good, unless the model
            branches on its input's size between blocks; then they are refused when they are run.
        autowrap: functions that torch.fx must not look into.

    Raises:
        InvalidConfig: torch.fx cannot trace the model, it does not end in its classifiers alone, or
            nothing but them can be cut off.
    """
    opaque: set[str] = set()
    while True:
        try:
            program = _Program.of(model, trace(model, classifiers, sample_shape, autowrap=autowrap, opaque=opaque))
        except TraceError as error:
            raise _no_chain(model, str(error)) from error
        cuts = _cuts(model, program, set(classifiers))
        # A module that branches on sizes and is not cut inside is better left whole: then it still
        # branches as it likes.
        barren = {path for path in program.branching(model) if not program.is_cut_inside(path, cuts)} - opaque
        if not barren:
            return _blocks(model, program, cuts)
        opaque |= barren


def _no_chain(model: nn.Module, reason: str) -> InvalidConfig:
    return InvalidConfig(f"{type(model).__name__} cannot be cut into a chain of blocks: {reason}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    """The calls that the model's output needs, in order, and what is alive between them."""

    trace: Trace
    nodes: list[fx.Node]
    source: fx.Node
    result: fx.Node
    free: set[fx.Node]
    """What depends on neither the input nor a parameter: each block computes it anew."""

    last_use: dict[fx.Node, int]
    alive: list[list[fx.Node]]
    """Before each node, and at the end; free values left out."""

    @classmethod
    def of(cls, model: nn.Module, recorded: Trace) -> _Program:
        source = next(node for node in recorded.graph.nodes if node.op == "placeholder")
        result = next(node for node in recorded.graph.nodes if node.op == "output").args[0]
        if not isinstance(result, fx.Node) or not isinstance(recorded.values[result], Tensor | Exception):
            raise TraceError(f"it must return one tensor, it returns {result!r}")
        needed = _needed(recorded, result)
        everything = [node for node in recorded.graph.nodes if node in needed and node.op != "placeholder"]
        free = _free(model, everything)
        nodes = [node for node in everything if node not in free]
        position = {node: index for index, node in enumerate(nodes)}
        last_use = {
            node: max((position[user] for user in node.users if user in position), default=-1)
            for node in [source, *nodes]
        }
        last_use[result] = len(nodes)
        alive: list[list[fx.Node]] = []
        current = [source]
        for index, node in enumerate([*nodes, result]):
            current = [value for value in current if last_use[value] >= index]
            alive.append(current)
            current = [*current, node]
        return cls(trace=recorded, nodes=nodes, source=source, result=result, free=free, last_use=last_use, alive=alive)

    def carry(self, position: int) -> Carry | None:
        return carry(self.alive[position], self.trace.values)

    def calls(self, paths: Collection[str]) -> list[int]:
        return [i for i, node in enumerate(self.nodes) if node.op == "call_module" and str(node.target) in paths]

    def takes_all(self, begin: int, end: int, carried: Carry) -> bool:
        """Whether the calls from `begin` to `end` use all that is carried, and no tensor is used after."""
        taken = {value for node in self.nodes[begin : end + 1] for value in node.all_input_nodes}
        return all(
            kind == "batch_size"
            or (node in taken and (kind != "batch" or len(carried.tensors) == 1 or self.last_use[node] <= end))
            for node, kind in carried.items
        )

    def end_of_scope(self, scope: str) -> int:
        return max(i for i, node in enumerate(self.nodes) if scope in self.trace.scopes[node])

    def branching(self, model: nn.Module) -> set[str]:
        """Paths of the modules inside `model` that branch on sizes."""
        return {self.trace.checks[node] for node in self.nodes if node in self.trace.checks} - {""}

    def is_cut_inside(self, path: str, cuts: list[int]) -> bool:
        for scope in {s for node in self.nodes for s in self.trace.scopes[node] if s.rpartition("@")[0] == path}:
            inside = [i for i, node in enumerate(self.nodes) if scope in self.trace.scopes[node]]
            if any(inside[0] < cut <= inside[-1] for cut in cuts):
                return True
        return False


def _needed(recorded: Trace, result: fx.Node) -> set[fx.Node]:
    """What `result` is computed from, with writes into tensors and the checks of branches taken.

    Assertions, and options fixed at their defaults, fall away.
    """
    writes = [node for node in recorded.graph.nodes if node.target is setitem]
    needed: set[fx.Node] = set()
    waiting = [result, *recorded.checks, *writes]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed


def _free(model: nn.Module, nodes: list[fx.Node]) -> set[fx.Node]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    free: set[fx.Node] = set()
    for node in nodes:
        if node.op == "get_attr":
            is_free = node.target not in parameters
        elif node.op == "call_module":
            is_free = not any(True for _ in model.get_submodule(str(node.target)).parameters())
        else:
            is_free = True
        if is_free and all(value in free for value in node.all_input_nodes):
            free.add(node)
    return free


def _cuts(model: nn.Module, program: _Program, classifiers: set[str]) -> list[int]:
    """Positions where a block but the first starts, then that of the head."""
    modules = dict(model.named_modules())
    calls = program.calls(classifiers)
    if not calls:
        raise _no_chain(model, f"its classifiers {', '.join(sorted(classifiers))} are not called")
    units = [
        i
        for i, node in enumerate(program.nodes[: calls[0]])
        if node.op == "call_module" and has_weights(modules[str(node.target)])
    ]
    head = _start_of_head(program, modules, units, calls[0])
    if head is None:
        raise _no_chain(model, "more than one value reaches its classifiers")
    tied = _spans_of_tied_weights(program, modules)
    starts = [
        start for before, unit in pairwise(units) if (start := _start_of_block(program, before, unit, tied)) is not None
    ]
    if not starts:
        raise _no_chain(model, "more than one value is alive between all of its layers")
    return [*starts, head]


def _start_of_block(program: _Program, before: int, unit: int, tied: list[tuple[int, int]]) -> int | None:
    """The best place to cut between the units at two positions: the least is carried, then the latest."""
    scopes = program.trace.scopes
    outer = scopes[program.nodes[before]]
    entered = next(scope for scope in scopes[program.nodes[unit]] if scope not in outer)
    end = program.end_of_scope(entered)
    best: tuple[int, int] | None = None
    for position in range(unit, before, -1):
        carried = program.carry(position)
        if carried is None or any(first < position <= last for first, last in tied):
            continue
        if not carried.is_single and not program.takes_all(unit, end, carried):
            continue
        if best is None or len(carried.items) < best[0]:
            best = len(carried.items), position
    return best and best[1]


def _start_of_head(program: _Program, modules: dict[str, nn.Module], units: list[int], classifier: int) -> int | None:
    """Where what follows the last unit needs one tensor only, the latest such place up to the classifier.

    It moves up over the dropout that feeds the classifier.
    """

    def is_single(position: int) -> bool:
        carried = program.carry(position)
        return carried is not None and len(carried.items) == 1

    last_unit = units[-1] if units else -1
    position = classifier
    while position > last_unit and not is_single(position):
        position -= 1
    if position <= last_unit:
        return None
    while position - 1 > last_unit and is_single(position - 1) and _is_dropout(modules, program.nodes[position - 1]):
        position -= 1
    return position


def _is_dropout(modules: dict[str, nn.Module], node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], nn.Dropout)


def _spans_of_tied_weights(program: _Program, modules: dict[str, nn.Module]) -> list[tuple[int, int]]:
    """First and last position of each parameter's uses: a cut between them would tear it apart."""
    parameters = dict(modules[""].named_parameters(remove_duplicate=False))
    spans: dict[int, tuple[int, int]] = {}
    position = {node: index for index, node in enumerate(program.nodes)}
    for index, node in enumerate(program.nodes):
        if node.op == "call_module":
            used = list(modules[str(node.target)].parameters())
            last = index
        elif node.op == "get_attr":
            used = [parameters[str(node.target)]]
            last = max((position[user] for user in node.users if user in position), default=index)
        else:
            continue
        for parameter in used:
            spans[id(parameter)] = (spans.get(id(parameter), (index, 0))[0], last)
    return list(spans.values())


def _blocks(model: nn.Module, program: _Program, cuts: list[int]) -> tuple[list[nn.Module], nn.Module]:
    edges = [0, *cuts, len(program.nodes)]
    blocks: list[nn.Module] = [_subgraph(model, program, begin, end) for begin, end in pairwise(edges)]
    head = blocks.pop()
    return blocks, head


def _subgraph(model: nn.Module, program: _Program, begin: int, end: int) -> fx.GraphModule:
    """The calls from `begin` to `end` as a module; weights are shared with `model`."""
    entering, leaving = program.carry(begin), program.carry(end)
    if entering is None or leaving is None:
        raise ValueError("a cut is at a place where nothing can be carried")
    graph = fx.Graph()
    copied = entering.unpack(graph)

    def copy(node: fx.Node) -> fx.Node:
        if node not in copied:
            for value in node.all_input_nodes:
                copy(value)
            copied[node] = graph.node_copy(node, lambda old: copied[old])
        return copied[node]

    for node in program.nodes[begin:end]:
        copy(node)
    leaving.pack(graph, copied)
    graph.lint()
    return fx.GraphModule(model, graph, class_name="Block")
