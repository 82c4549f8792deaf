"""Cut a model into an exact chain of blocks and a classifier.

The model's forward is recorded with its units as opaque calls (`tracing`) and cut between units. The
blocks re-use the model's own modules and run the same calls in the same order, hence bit-equality.

A place can be a cut where what is alive there can travel (`carry`): always when that is one tensor of
the batch. Several values are a tuple of tensors, but only if the module that starts there takes them
all, as a stage of parallel branches does: what it leaves alone is a shortcut around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any, Final

from torch import fx, nn
from torch.fx.proxy import TraceError

from trainables.backbones.carry import Carry, side_by_side
from trainables.backbones.program import Program
from trainables.backbones.tracing import trace
from trainables.backbones.unit import num_outputs
from trainables.errors import InvalidConfig

__all__ = ["partition"]

_MAX_TENSORS: Final = 4
"""Most branches side by side (HRNet's); a list that grows layer by layer is no chain."""

_COARSE: Final = 0.5
"""A chain with a block of more than this share of all parameters is cut by a looser rule."""


def partition(
    model: nn.Module,
    classifiers: Collection[str],
    sample_shape: tuple[int, ...],
    autowrap: tuple[Callable[..., Any], ...] = (),
) -> tuple[list[nn.Module], nn.Module]:
    """Return the blocks from the input side, and the head.

    The head names the layers to replace for a new task in its attribute ``classifiers``.
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

    def cut(opaque: Collection[str] = ()) -> tuple[Program, list[int]]:
        program = Program.of(model, trace(model, classifiers, sample_shape, autowrap=autowrap, opaque=opaque))
        return program, _cuts(program, classifiers)

    try:
        program, cuts = cut()
        if program.branching():
            # Left whole they branch as they like, which is worth some blocks.
            whole, fewer = cut(program.branching())
            if 2 * len(fewer) >= len(cuts):
                program, cuts = whole, fewer
    except TraceError as error:
        raise InvalidConfig(f"{type(model).__name__} cannot be cut into a chain of blocks: {error}") from error
    blocks, head = _split(program, cuts)
    _name_classifiers(head, classifiers)
    return blocks, head


def _cuts(program: Program, classifiers: Collection[str]) -> list[int]:
    """Positions where a block but the first starts, then that of the head.

    Raises:
        TraceError: there are none.
    """
    calls = program.calls(classifiers)
    if not calls:
        raise TraceError(f"its classifier {', '.join(sorted(classifiers))} is not called")
    units = [unit for unit in program.units if unit < calls[0]]
    head = _start_of_head(program, units[-1] + 1 if units else 0, calls[0])
    if head is None:
        raise TraceError("more than one value reaches its classifier")
    if any(node.op == "get_attr" for node in program.nodes[head:]):
        raise TraceError("its classifiers are weighed by parameters outside of any layer, which no new head can have")
    starts = _starts(program, units, is_loose=False)
    if _largest_share(program, [*starts, head]) > _COARSE:
        starts = max(starts, _starts(program, units, is_loose=True), key=len)
    if not starts:
        raise TraceError("more than one value is alive between all of its layers")
    return [*starts, head]


def _starts(program: Program, units: list[int], *, is_loose: bool) -> list[int]:
    """For each pair of units the best place to cut between them: the least is carried, then the latest."""
    tied = program.spans()
    starts = []
    for before, unit in pairwise(units):
        entered = program.entered(before, unit)
        ranked = [
            (len(carried.items), -position)
            for position in range(before + 1, unit + 1)
            if (carried := program.carries[position]) is not None
            and (carried.is_single or _takes_all(program, entered, carried, is_loose=is_loose))
            and not any(first < position <= last for first, last in tied)
        ]
        if ranked:
            starts.append(-min(ranked)[1])
    return starts


def _takes_all(program: Program, entered: list[int], carried: Carry, *, is_loose: bool) -> bool:
    """Whether the calls at `entered` take all that is carried, and no tensor is a shortcut around them.

    What the next unit takes as well is no shortcut: a cell may take the outputs of the two before it.
    Loosely, what is no tensor of the batch may wait for a later call, and tensors of the batch may be taken
    again by all that follow.
    """
    if len(carried.tensors) > _MAX_TENSORS:
        return False
    taken = {value for index in entered for value in program.nodes[index].all_input_nodes}
    after = next((unit for unit in program.units if unit > entered[-1]), len(program.nodes))
    for node, kind in carried.items:
        is_taken = node in taken or kind == "batch_size" or (is_loose and kind != "batch")
        may_stay = is_loose or kind != "batch" or len(carried.tensors) == 1
        if not is_taken or not (may_stay or program.last_use[node] <= after):
            return False
    return True


def _start_of_head(program: Program, earliest: int, classifier: int) -> int | None:
    """Where the head starts: at the classifier, or as short a way before it as can be.

    Feature vectors are preferred, and one to several. It moves up over the dropout that feeds the
    classifier.
    """
    ranks = {position: _rank_as_features(program, position) for position in range(earliest, classifier + 1)}
    ranked = [(rank, -position) for position, rank in ranks.items() if rank is not None]
    if not ranked:
        return None
    rank, position = min(ranked)[0], -min(ranked)[1]
    while ranks.get(position - 1) == rank and _is_dropout(program, position - 1):
        position -= 1
    return position


def _rank_as_features(program: Program, position: int) -> int | None:
    """0 for one feature vector, 1 for several, 2 for one tensor of any shape, None for anything else."""
    carried = program.carries[position]
    if carried is None or len(carried.tensors) < len(carried.items):
        return None
    values = [program.trace.values[node] for node in carried.tensors]
    if carried.is_single:
        return 0 if all(size == 1 for size in values[0].shape[2:]) else 2
    return 1 if all(value.ndim == 2 for value in values) else None


def _is_dropout(program: Program, position: int) -> bool:
    node = program.nodes[position]
    return node.op == "call_module" and isinstance(program.model.get_submodule(str(node.target)), nn.Dropout)


def _largest_share(program: Program, cuts: list[int]) -> float:
    """Of all parameters before the head, in the block that holds the most."""
    sizes = []
    for begin, end in pairwise([0, *cuts]):
        modules = [str(node.target) for node in program.nodes[begin:end] if node.op == "call_module"]
        sizes.append(sum(p.numel() for path in modules for p in program.model.get_submodule(path).parameters()))
    return max(sizes) / max(1, sum(sizes))


def _name_classifiers(head: fx.GraphModule, classifiers: Collection[str]) -> None:
    """Set ``head.classifiers``, which `replace_head` reads, such that copies of the head have it too.

    A layer of the head with as many outputs is one of them: what it gives is combined with theirs.
    """
    widths = {num_outputs(head.get_submodule(path)) for path in classifiers}
    paths = tuple(path for path, layer in head.named_modules() if num_outputs(layer) in widths - {None})
    head.meta["_user_preserved_attributes"] = {"classifiers": paths}
    head.classifiers = paths  # type: ignore[assignment]  # an attribute that is no module


def _split(program: Program, cuts: list[int]) -> tuple[list[nn.Module], fx.GraphModule]:
    edges = [0, *cuts, len(program.nodes)]
    carries = [carried for edge in edges if (carried := program.carries[edge]) is not None]
    carries[-2] = side_by_side(carries[-2], program.trace.values)
    *blocks, head = [
        _subgraph(program, program.nodes[begin:end], entering, leaving)
        for (begin, end), (entering, leaving) in zip(pairwise(edges), pairwise(carries), strict=True)
    ]
    return list[nn.Module](blocks), head


def _subgraph(program: Program, calls: list[fx.Node], entering: Carry, leaving: Carry) -> fx.GraphModule:
    """The calls as a module; weights are shared with the model."""
    graph = fx.Graph()
    copied = entering.unpack(graph)

    def copy(node: fx.Node) -> fx.Node | None:
        if node not in copied:
            if program.trace.values[node] is None and node not in program.position:
                return None
            copied[node] = graph.node_copy(node, copy)
        return copied[node]

    for node in calls:
        copy(node)
    leaving.pack(graph, copied)
    graph.lint()
    return fx.GraphModule(program.model, graph, class_name="Block")
