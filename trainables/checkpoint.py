"""What a run has come to, saved at the end of an epoch and loaded by whoever goes on with it. Nothing is pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainables.checkpoint_file import CheckpointFile, Entry, checkpoint_files, read_values, write_checkpoint
from trainables.config import EpochMetrics, FinetuneConfig
from trainables.data import Task
from trainables.errors import InvalidConfig, TrainableError
from trainables.finetune import Finetuner
from trainables.state import TrainingState

__all__ = ["Restored", "load_checkpoint", "save_checkpoint"]

_DTYPES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names that safetensors has for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What a run goes on from."""

    epochs: tuple[EpochMetrics, ...] = ()
    """All that are behind it; none where it begins anew."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """As they were saved."""

    notes: tuple[str, ...] = ()
    """What a person should know: which checkpoints could not be used, and why."""


def save_checkpoint(
    folder: Path, run: Finetuner, *, attempt: int, epochs: Sequence[EpochMetrics], facts: Mapping[str, Any]
) -> None:
    """Save a run as it is after its last completed epoch. The newest two checkpoints are kept.

    Args:
        folder: of this run alone; made where it does not exist.
        attempt: how many processes have begun this run, this one included, >= 1. What a later attempt has saved
            counts more than what an earlier one saves, whenever it does.
        epochs: all that the run has completed.
        facts: anything of what JSON takes, for whoever reads the checkpoint.

    Raises:
        OSError: the folder cannot be written, or the disk is full. Earlier checkpoints are still there.
    """
    state = run.state()
    # Wider numbers first: each is then aligned in the file.
    named = sorted(state.tensors.items(), key=lambda item: -item[1].element_size())
    orders = {name: order for name, tensor in named if (order := _order(tensor)) != sorted(order)}
    entries = {
        name: Entry(_DTYPES[t.dtype], tuple(t.shape[d] for d in orders.get(name, range(t.ndim))), t.nbytes)
        for name, t in named
    }
    values = {
        **state.values,
        "attempt": attempt,
        "epochs": [asdict(metrics) for metrics in epochs],
        "facts": facts,
        "config": asdict(run.config),
        "splits": _splits_digest(run.task),
        "orders": orders,
    }
    contents = (_bytes(tensor, orders.get(name)) for name, tensor in named)
    write_checkpoint(folder, values, entries, contents, epoch=run.epoch, attempt=attempt)


def load_checkpoint(folder: Path, run: Finetuner) -> Restored:
    """Have a new run go on from the newest checkpoint that is whole and fits; where none does, from its start.

    The next epochs equal those of the run that was saved, had it not been interrupted: to the bit on a CPU.

    Raises:
        FrozenMoved: it was trained behind other frozen blocks.
        InvalidConfig: it is of another configuration, or of other samples.
    """
    problems: list[str] = []
    for file in checkpoint_files(folder):
        try:
            restored = _loaded(file, run)
        except TrainableError:
            raise
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            problems.append(f"checkpoint of epoch {file.epoch} is damaged ({error})")
        else:
            return Restored(epochs=restored.epochs, facts=restored.facts, notes=_notes(problems, file.epoch))
    return Restored(notes=_notes(problems, 0))


def _notes(problems: Sequence[str], epoch: int) -> tuple[str, ...]:
    """One sentence of all, as each is followed by what became of it."""
    where = f"went back to epoch {epoch}" if epoch else "begins anew"
    return (f"{'; '.join(problems)}: {where}",) if problems else ()


def _loaded(file: CheckpointFile, run: Finetuner) -> Restored:
    values = read_values(file.path)
    epochs = tuple(EpochMetrics(**epoch) for epoch in values["epochs"])
    orders = values["orders"]
    with safe_open(file.path, framework="pt") as opened:
        tensors = {name: _logical(opened.get_tensor(name), orders.get(name)) for name in opened.keys()}  # noqa: SIM118
    _require_same_run(values, run, file.path.parent)
    run.load_state(TrainingState(tensors=tensors, values=values))
    return Restored(epochs=epochs, facts=values["facts"])


def _require_same_run(values: Mapping[str, Any], run: Finetuner, folder: Path) -> None:
    if values["frozen_digest"] != run.frozen_digest:
        return  # said by the run itself
    fix = "name another folder for checkpoints, or remove this one"
    saved, wanted = (asdict(config) for config in (FinetuneConfig(**values["config"]), run.config))
    differing = [name for name in wanted if saved[name] != wanted[name]]
    if differing:
        said = ", ".join(f"{name} {saved[name]!r} and not {wanted[name]!r}" for name in differing)
        raise InvalidConfig(f"{folder} must hold checkpoints of this configuration, and theirs has {said}; {fix}")
    if values["splits"] != _splits_digest(run.task):
        raise InvalidConfig(f"{folder} must hold checkpoints of the same samples, got other splits or labels; {fix}")


def _splits_digest(task: Task) -> str:
    """sha256 of which samples each split holds, with what labels.

    Not of the samples themselves: decoded on another kind of CPU they may differ in their last bits.
    """
    digest = hashlib.sha256()
    for split in (task.train, task.val, task.test):
        for tensor in (split.rows, split.targets):
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def _order(tensor: Tensor) -> list[int]:
    """Its dimensions as they follow each other in memory: filters under channels_last are (0, 2, 3, 1)."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda dimension: -strides[dimension])


def _bytes(tensor: Tensor, order: Sequence[int] | None = None) -> memoryview:
    """Of a tensor in that order of dimensions, on the CPU; no copy of one that is there and dense."""
    ordered = tensor.detach() if order is None else tensor.detach().permute(*order)
    return ordered.cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _logical(stored: Tensor, order: Sequence[int] | None) -> Tensor:
    """The tensor whose dimensions were stored in that order, with its strides."""
    return stored if order is None else stored.permute(*(order.index(dimension) for dimension in range(stored.ndim)))
