"""Record what a model's forward does, unit by unit, as a torch.fx graph.

Every *unit* (residual unit, transformer layer, plain layer) stays one opaque call, so only the glue
between units is recorded and train/eval behaviour stays inside the modules. Plain torch.fx gives up
where glue asks for a size; here each recorded value is also computed on torch's meta device, for one
example shape, so that sizes are known. Where glue branches on one, the branch taken is recorded
together with a check of the condition: an input that would take the other branch is refused when it
is run, never sent down the wrong one.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from trainables.backbones.unit import is_list_of_units
from trainables.errors import InvalidConfig

__all__ = ["BATCH", "Trace", "require_same_path", "trace"]

BATCH: Final = 1009
"""Batch size of the example: a prime that no model has as a width, so that the batch is recognised."""

_ELEMENTWISE = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.ReLU,
    nn.ReLU6,
    nn.Sigmoid,
    nn.SiLU,
)
"""What gives the shape it is given; computing that on the meta device is slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One recorded forward."""

    graph: fx.Graph
    values: dict[fx.Node, Any]
    """What each node gives for the example: meta tensors, sizes; a `LookupError` where that is unknown."""

    scopes: dict[fx.Node, tuple[str, ...]]
    """Calls of modules each node was recorded in, outermost first; a leaf's own call is the last."""

    checks: dict[fx.Node, str]
    """Checks of branch conditions, with the path of the innermost module that branched."""


def trace(
    model: nn.Module,
    classifiers: Collection[str],
    sample_shape: tuple[int, ...],
    *,
    autowrap: tuple[Callable[..., Any], ...] = (),
    opaque: Collection[str] = (),
) -> Trace:
    """Record the forward of `model` in eval mode, its optional arguments at their defaults.

    Args:
        classifiers: paths of the layers whose outputs are the classes; what holds one is looked into.
        sample_shape: of one sample, the shape that sizes are known for.
        autowrap: functions that are recorded as one call.
        opaque: paths of modules that are recorded as one call, whatever they hold.

    Raises:
        TraceError: control flow depends on numbers in a tensor, or on what torch.fx cannot record.
    """
    twin = _meta_twin(model)
    closed = set(opaque)
    while True:
        tracer = _UnitTracer(twin, [model.get_submodule(path) for path in classifiers], sample_shape, autowrap, closed)
        options = [p for p in inspect.signature(model.forward).parameters.values() if p.default is not p.empty]
        try:
            graph = tracer.trace(model, concrete_args={p.name: p.default for p in options})
        except Exception as error:
            # What cannot be looked into can still be one call.
            if not tracer.failed_in:
                raise TraceError(_first_line(error)) from error
            closed.add(tracer.failed_in)
        else:
            return Trace(graph=graph, values=tracer.values, scopes=tracer.scopes, checks=tracer.checks)


def require_same_path(found: object, expected: bool) -> None:
    """The recorded check of a branch.

    Raises:
        InvalidConfig: the input would take the other branch.
    """
    if bool(found) is not expected:
        raise InvalidConfig("images of this size take another path through the model; leave image_size at its own")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _meta_twin(model: nn.Module) -> nn.Module:
    """A copy without numbers: it tells shapes and costs no memory."""
    tensors = [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    memo: dict[int, Any] = {id(t): t.detach().to("meta") for t in (*model.buffers(), *tensors)}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    return copy.deepcopy(model, memo)


class _Valued(fx.Proxy):
    """A proxy that answers for the example what plain torch.fx cannot: lengths, integers, rank."""

    tracer: _UnitTracer

    def __getattr__(self, name: str) -> Any:
        value = self.tracer.values.get(self.node)
        found = getattr(value, name, None)
        if found is None or callable(found):
            return super().__getattr__(name)
        if name == "ndim" or isinstance(found, bool):
            return found
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __len__(self) -> int:
        return len(self.tracer.known(self))

    def __index__(self) -> int:
        value = self.tracer.known(self)
        if not isinstance(value, int) or (value and value % BATCH == 0):
            raise TraceError("a value that differs between batches is used as a constant")
        self.tracer.to_bool(self.tracer.create_proxy("call_function", operator.eq, (self, value), {}))
        return value

    __int__ = __index__


class _UnitTracer(fx.Tracer):
    """Record containers and glue; keep units whole, but for what holds a classifier."""

    proxy_buffer_attributes = True

    def __init__(
        self,
        twin: nn.Module,
        classifiers: list[nn.Module],
        sample_shape: tuple[int, ...],
        autowrap: tuple[Callable[..., Any], ...],
        closed: set[str],
    ) -> None:
        super().__init__(autowrap_functions=autowrap)
        self.values: dict[fx.Node, Any] = {}
        self.scopes: dict[fx.Node, tuple[str, ...]] = {}
        self.checks: dict[fx.Node, str] = {}
        self.failed_in = ""
        self._autowrapped = frozenset(autowrap)
        self._twin = twin
        self._classifiers = classifiers
        self._sample_shape = sample_shape
        self._closed = closed
        self._stack: list[tuple[str, str]] = []
        self._num_calls = 0
        self._evaluating = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if m in self._classifiers:
            return True
        if self._holds_classifier(m):
            return False
        opened = is_list_of_units(m)
        return module_qualified_name in self._closed or not opened

    def _holds_classifier(self, module: nn.Module) -> bool:
        return any(x is y for x in module.modules() for y in self._classifiers)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._evaluating:
            return args[0] if args and isinstance(m, _ELEMENTWISE) else forward(*args, **kwargs)
        path = self.path_of_module(m)
        self._num_calls += 1
        self._stack.append((f"{path}@{self._num_calls}", path))
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if not self.failed_in and path not in self._closed and not self._holds_classifier(m):
                self.failed_in = path
            raise
        finally:
            self._stack.pop()

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Valued(node, self)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        self.scopes[node] = tuple(key for key, _ in self._stack)
        if kind != "output":
            self.values[node] = self._evaluate(node)
        return node

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        proxy: Any = super().create_proxy(*args, **kwargs)
        value = self.values[proxy.node]
        if proxy.node.target in self._autowrapped:  # torch.fx marks the proxy they give
            return proxy
        # Python's own None and containers, so that `is None`, isinstance and keys are Python's own too.
        if value is None:
            return None
        if type(value) in (tuple, list):
            return type(value)(proxy[index] for index in range(len(value)))
        if type(value) is dict:
            return {key: proxy[key] for key in value}
        return proxy

    def iter(self, obj: Any) -> Iterator[Any]:
        return iter([obj[index] for index in range(len(self.known(obj)))])

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.known(obj)
        if isinstance(value, Tensor):
            raise TraceError("control flow depends on numbers in a tensor")
        check = self.create_node("call_function", require_same_path, (obj.node, bool(value)), {})
        self.checks[check] = self._stack[-1][1] if self._stack else ""
        return bool(value)

    def known(self, proxy: fx.Proxy) -> Any:
        """What it gives for the example.

        Raises:
            TraceError: that could not be computed.
        """
        value = self.values[proxy.node]
        if isinstance(value, LookupError):
            raise TraceError(f"control flow depends on {proxy.node.name}, which is unknown: {value}")
        return value

    def _evaluate(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return torch.empty(BATCH, *self._sample_shape, device="meta")
        inputs = [self.values[value] for value in node.all_input_nodes]
        unknown = next((value for value in inputs if isinstance(value, LookupError)), None)
        if unknown is not None:
            return unknown
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        self._evaluating = True
        try:
            with torch.device("meta"), torch.no_grad():
                return _run(self._twin, node, args, kwargs)
        except Exception as error:
            return LookupError(_first_line(error))
        finally:
            self._evaluating = False


def _run(twin: nn.Module, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target: Any = node.target
    if node.op == "call_function":
        return target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if node.op == "call_module":
        return twin.get_submodule(target)(*args, **kwargs)
    value: Any = twin
    for part in target.split("."):
        value = getattr(value, part)
    return value
