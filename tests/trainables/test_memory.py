"""What is measured of a GPU, as far as a machine without one can tell; with one, that it is enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from trainables import findings, memory
from trainables.backbones import Backbone
from trainables.config import FinetuneConfig
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.memory import peak_memory, rehearsal
from trainables.memory_limit import CONTEXT_BYTES, limit_memory, memory_limit, tensor_share

GIB = 2**30
CPU = torch.device("cpu")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def config(backbone: Backbone, **options: object) -> FinetuneConfig:
    return FinetuneConfig(backbone=backbone.spec.name, batch_size=8, **options)  # type: ignore[arg-type]


def test_without_a_gpu_there_is_nothing_to_measure(small: Backbone, digits: Task) -> None:
    with pytest.raises(InvalidConfig, match=r"must be a CUDA GPU.*got cpu"):
        peak_memory(config(small), small, digits, CPU, Execution())
    assert memory_limit(CPU) == 0


@pytest.mark.parametrize("share", [1 / 8, 1 / 4, 1 / 2, 1.0])
def test_of_a_share_the_context_is_no_room_for_tensors(share: float) -> None:
    total = 80 * GIB
    assert tensor_share(share, total) * total + CONTEXT_BYTES == pytest.approx(share * total)


def test_a_share_smaller_than_the_context_leaves_nothing() -> None:
    assert tensor_share(1 / 8, 4 * GIB) == 0


def test_the_rehearsal_is_two_full_steps(digits: Task, small: Backbone) -> None:
    short = rehearsal(digits, 8)
    finetuner = Finetuner(config(small, max_epochs=1), small, short, CPU)
    assert finetuner.steps_per_epoch == 2
    assert len(short.val) == len(digits.val), "which is less than one batch"
    assert torch.equal(short.train.targets, digits.train.targets[:16])
    assert len(rehearsal(digits, 1000).train) == len(digits.train)


def test_the_longest_samples_rehearse(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.arange(len(digits.train)) % 7
    monkeypatch.setattr(type(digits.train), "lengths", property(lambda split: lengths[: len(split)]))
    kept = rehearsal(digits, 2).train
    order = lengths.argsort(descending=True, stable=True)[:4]
    assert torch.equal(kept.rows, digits.train.rows[order])
    assert torch.equal(kept.targets, digits.train.targets[order])


def test_it_is_measured_once(small: Backbone, digits: Task, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Per kind of run: another process finds it in the cache, another batch size is measured anew."""
    measured: list[int] = []

    def measure(config: FinetuneConfig, *_: object) -> int:
        measured.append(config.batch_size)
        return config.batch_size * GIB

    monkeypatch.setattr(memory, "_measured", measure)
    monkeypatch.setattr(memory, "memory_key", lambda config, *_: {"batch_size": config.batch_size})
    device = torch.device("cuda")
    for _ in range(2):
        assert peak_memory(config(small), small, digits, device, Execution()) == 8 * GIB + CONTEXT_BYTES
        monkeypatch.setattr(findings, "_noted", {})
    assert measured == [8]
    peak_memory(config(small), small, digits, device, Execution(gradient_checkpointing=True))
    assert measured == [8, 8], "computed otherwise, it takes another amount"


@contextmanager
def limited(num_bytes: int) -> Iterator[None]:
    """Tensors of this process may take so much more than they take now."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + num_bytes) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@needs_gpu
class TestOnAGpu:
    def test_what_was_measured_is_enough_and_not_far_too_much(self, small: Backbone, digits: Task, cache: Path) -> None:
        device = torch.device("cuda")
        asked = config(small, max_epochs=2)
        num_bytes = peak_memory(asked, small, digits, device, Execution()) - CONTEXT_BYTES
        with limited(num_bytes + 4 * 2**20):
            finetuner = Finetuner(asked, small, digits, device, Execution(activation_cache="off"))
            list(finetuner.epochs())
        assert not finetuner._step._ladder.passes.gradient_checkpointing
        assert torch.cuda.max_memory_reserved() >= 0.8 * num_bytes

    def test_a_worker_keeps_to_its_share(self) -> None:
        total = torch.cuda.get_device_properties(0).total_memory
        limit_memory(1 / 8)
        try:
            with pytest.raises(torch.OutOfMemoryError):
                torch.empty(total // 8, dtype=torch.uint8, device="cuda")
        finally:
            limit_memory(1.0)
