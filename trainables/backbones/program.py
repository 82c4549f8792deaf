"""A recorded forward as a straight list of calls, with what is alive between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from operator import setitem

from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from trainables.backbones.carry import Carry, carry
from trainables.backbones.tracing import Trace
from trainables.backbones.unit import has_weights

__all__ = ["Program"]


@dataclass(frozen=True, kw_only=True)
class Program:
    """The calls that the model's output needs, in order.

    What depends on neither the input nor a parameter is *free* and no part of it: each block that needs
    it computes it anew. Nor are assertions, and options fixed at their defaults.
    """

    model: nn.Module
    trace: Trace
    source: fx.Node
    result: fx.Node
    nodes: list[fx.Node]

    @classmethod
    def of(cls, model: nn.Module, trace: Trace) -> Program:
        """
        Raises:
            TraceError: the model does not return one tensor.
        """
        source = next(node for node in trace.graph.nodes if node.op == "placeholder")
        result = next(node for node in trace.graph.nodes if node.op == "output").args[0]
        if not isinstance(result, fx.Node):
            raise TraceError(f"it must return one tensor, it returns {result!r}")
        if not isinstance(trace.values[result], Tensor):
            raise TraceError(f"it must return one tensor, it returns {trace.values[result]!r}")
        needed = _needed(trace, result)
        calls = [node for node in trace.graph.nodes if node in needed and node.op != "placeholder"]
        free = _free(model, calls)
        nodes = [node for node in calls if node not in free]
        return cls(model=model, trace=trace, source=source, result=result, nodes=nodes)

    @cached_property
    def units(self) -> list[int]:
        """Positions of the calls of modules with weights of their own."""
        return [
            i
            for i, node in enumerate(self.nodes)
            if node.op == "call_module" and has_weights(self.model.get_submodule(str(node.target)))
        ]

    @cached_property
    def last_use(self) -> dict[fx.Node, int]:
        """Position of the last call that takes each value; past the end for the result."""
        last = {
            node: max((self.position[user] for user in node.users if user in self.position), default=-1)
            for node in [self.source, *self.nodes]
        }
        return {**last, self.result: len(self.nodes)}

    @cached_property
    def position(self) -> dict[fx.Node, int]:
        return {node: index for index, node in enumerate(self.nodes)}

    @cached_property
    def carries(self) -> list[Carry | None]:
        """Before each call, and at the end: how what is alive there travels, None where it cannot."""
        alive, carries = [self.source], []
        for index, node in enumerate([*self.nodes, self.result]):
            alive = [value for value in alive if self.last_use[value] >= index]
            carries.append(carry(alive, self.trace.values))
            alive.append(node)
        return carries

    def calls(self, paths: Collection[str]) -> list[int]:
        """Positions of the calls of the modules at `paths`."""
        return [i for i, node in enumerate(self.nodes) if node.op == "call_module" and str(node.target) in paths]

    def entered(self, before: int, position: int) -> list[int]:
        """Calls inside the outermost module that is entered between two calls and holds the second."""
        left = self.trace.scopes[self.nodes[before]]
        scope = next(scope for scope in self.trace.scopes[self.nodes[position]] if scope not in left)
        return [i for i, node in enumerate(self.nodes) if scope in self.trace.scopes[node]]

    def branching(self) -> set[str]:
        """Paths of the modules, but for the model itself, that branch on sizes."""
        return {self.trace.checks[node] for node in self.nodes if node in self.trace.checks} - {""}

    def spans(self) -> list[tuple[int, int]]:
        """First and last use of each parameter: a cut between them would tear tied weights apart."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        spans: dict[int, tuple[int, int]] = {}
        for index, node in enumerate(self.nodes):
            used: list[Tensor] = []
            if node.op == "call_module":
                used, last = list(self.model.get_submodule(str(node.target)).parameters()), index
            elif node.op == "get_attr":
                used, last = [parameters[str(node.target)]], max(index, self.last_use[node])
            for parameter in used:
                spans[id(parameter)] = (spans.get(id(parameter), (index, 0))[0], last)
        return list(spans.values())


def _needed(trace: Trace, result: fx.Node) -> set[fx.Node]:
    """What `result` is computed from, with writes into tensors and the checks of branches taken."""
    writes = [node for node in trace.graph.nodes if node.target is setitem]
    needed: set[fx.Node] = set()
    waiting = [result, *trace.checks, *writes]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [value for value in node.all_input_nodes if trace.values[value] is not None]
    return needed


def _free(model: nn.Module, calls: list[fx.Node]) -> set[fx.Node]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    free: set[fx.Node] = set()
    for node in calls:
        is_written = any(x.target is setitem for x in (node, *node.users))
        if node.op == "get_attr":
            is_free = node.target not in parameters
        elif node.op == "call_module":
            is_free = not any(True for _ in model.get_submodule(str(node.target)).parameters())
        else:
            is_free = not is_written
        if is_free and all(value in free for value in node.all_input_nodes):
            free.add(node)
    return free
