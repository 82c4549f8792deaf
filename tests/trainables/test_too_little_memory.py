"""Where memory does not suffice, training and evaluation go on in a smaller way and give the same, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import Batch, Choke, Rig, make_rig, objective_of
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.data import Task
from trainables.errors import InvalidConfig, OutOfMemory
from trainables.execution import Execution
from trainables.finetune import Finetuner
from trainables.memory_limit import is_out_of_memory
from trainables.passes import Passes

FITS = 1_000_000


class Mixed(nn.Module):
    """A block with norms of every kind."""

    def __init__(self, *, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 6), nn.BatchNorm1d(6) if batch_norm else nn.LayerNorm(6), nn.Tanh(), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


@pytest.fixture
def backbone(small: Backbone) -> Callable[..., Backbone]:
    def backbone(*, batch_norm: bool = True, dropout: float = 0.2) -> Backbone:
        torch.manual_seed(0)
        blocks: list[nn.Module] = [Mixed(batch_norm=batch_norm, dropout=dropout) for _ in range(4)]
        # A head that writes to what it is given, as those of many models in torchvision do.
        head = nn.Sequential(nn.Dropout(dropout, inplace=True), nn.Linear(6, 2))
        head.classifiers = ("1",)  # type: ignore[assignment]
        return Backbone(small.spec, blocks, head, small.preprocessing)

    return backbone


def data(sizes: tuple[int, ...] = (8, 8, 5, 8), kind: str = "classification") -> list[Batch]:
    torch.manual_seed(1)
    _, targets = objective_of(kind)
    return [(torch.randn(size, 6), targets(size)) for size in sizes]


def switched(choke: Choke, on: set[int]) -> Callable[[int], None]:
    """Turns the memory short at some steps only."""

    def switch(number: int) -> None:
        choke.is_on = number in on

    return switch


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("failing", [{0}, {2}, {0, 1, 2, 3}])
@pytest.mark.parametrize("depth", [0, 2])
def test_a_step_tried_again_under_checkpointing_never_failed(
    backbone: Callable[..., Backbone], where: str, failing: set[int], depth: int, cache: Path
) -> None:
    """To the bit: what the failed attempt did to running statistics, gradients and the random numbers is undone."""
    pretrained = backbone()
    plain = make_rig(pretrained, freeze_depth=depth, optimizer="adamw").train(data())
    rig = make_rig(pretrained, freeze_depth=depth, optimizer="adamw")
    choke = Choke(rig, rig.backbone.blocks[-1], where, most=1, most_checkpointed=FITS)
    rig.train(data(), switched(choke, failing)).assert_equal(plain)
    assert choke.num_failures == 1, "it stays with what it found"
    assert rig.passes == Passes(gradient_checkpointing=True, micro_batch_size=None)


def test_a_failed_attempt_leaves_its_input_alone(backbone: Callable[..., Backbone], cache: Path) -> None:
    """The head of a probe begins with dropout in place."""
    rig = make_rig(backbone(), freeze_depth=4)
    choke = Choke(rig, rig.backbone.head, "forward", most=4, most_checkpointed=4)
    batches = data()
    before = [batch[0].clone() for batch in batches if isinstance(batch[0], Tensor)]
    rig.train(batches)
    assert choke.num_failures == 1
    assert rig.passes == Passes(gradient_checkpointing=False, micro_batch_size=4), "there is no block to compute twice"
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, batches, strict=True) if isinstance(b, Tensor))


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 7])
def test_parts_sum_up_to_the_batch(
    backbone: Callable[..., Backbone], kind: str, where: str, most: int, cache: Path
) -> None:
    """Step by step within rounding; the last batch is smaller, and its parts are unequal."""
    pretrained = backbone(batch_norm=False, dropout=0.0)
    options: dict[str, Any] = {"objective": objective_of(kind)[0], "stay_near": 0.1, "learning_rate": 0.05}
    if kind == "classification":
        options["weight"] = torch.tensor([0.1, 3.0, 1.0, 0.5, 7.0])
    plain = make_rig(pretrained, **options).train(data(kind=kind))
    rig = make_rig(pretrained, **options)
    choke = Choke(rig, rig.backbone.blocks[1], where, most=most, most_checkpointed=most)
    rig.train(data(kind=kind)).assert_close(plain)
    assert rig.passes.gradient_checkpointing
    assert rig.passes.micro_batch_size == next(size for size in (4, 2, 1) if size <= most)
    assert choke.num_failures == 2 + [4, 2, 1].index(rig.passes.micro_batch_size)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 9))
def test_asked_for_parts_of_any_size(small: Backbone, sizes: list[int], micro: int) -> None:
    torch.manual_seed(0)
    pretrained = Backbone(small.spec, [Mixed(batch_norm=False, dropout=0.0)], nn.Linear(6, 2), small.preprocessing)
    seen: list[int] = []
    plain = make_rig(pretrained).train(data(tuple(sizes)))
    rig = make_rig(pretrained, Execution(micro_batch_size=micro))
    rig.backbone.blocks[0].register_forward_hook(lambda _, inputs, output: seen.append(len(output)))
    rig.train(data(tuple(sizes))).assert_close(plain)
    assert max(seen) <= micro
    assert sum(seen) == sum(sizes)


class TestStatisticsOfTheBatch:
    """A tuned BatchNorm sees other samples in a part than in the batch: that is another result."""

    def test_running_out_says_what_to_do(self, backbone: Callable[..., Backbone], cache: Path) -> None:
        rig = make_rig(backbone())
        choke = Choke(rig, rig.backbone.blocks[0], "forward", most=4, most_checkpointed=4)
        with pytest.raises(OutOfMemory, match=r"BatchNorm.*\(no room\); use a smaller finetune.batch_size, a deeper"):
            rig.train(data())
        assert choke.num_failures == 2, "as it was, and under checkpointing"

    def test_asking_for_parts_is_refused(self, backbone: Callable[..., Backbone]) -> None:
        rig = make_rig(backbone(), Execution(micro_batch_size=4))
        with pytest.raises(InvalidConfig, match=r"micro_batch_size must be at least the batch \(8\).*got 4"):
            rig.train(data())

    def test_frozen_ones_do_not_mind(self, small: Backbone, cache: Path) -> None:
        """In eval mode, in front of what is tuned."""
        torch.manual_seed(0)
        blocks = [Mixed(batch_norm=n == 0, dropout=0.0) for n in range(3)]
        pretrained = Backbone(small.spec, list(blocks), nn.Linear(6, 2), small.preprocessing)
        plain = make_rig(pretrained, freeze_depth=1).train(data())
        rig = make_rig(pretrained, Execution(micro_batch_size=3), freeze_depth=1)
        rig.train(data()).assert_close(plain)


def test_a_single_sample_that_does_not_fit(backbone: Callable[..., Backbone], cache: Path) -> None:
    rig = make_rig(backbone(batch_norm=False))
    Choke(rig, rig.backbone.blocks[0], "backward", most=0, most_checkpointed=0)
    with pytest.raises(OutOfMemory, match="a single sample of a batch of 8 of torchvision/mobilenet_v3_small@random"):
        rig.train(data())


def test_other_errors_are_not_taken_for_it(backbone: Callable[..., Backbone]) -> None:
    rig = make_rig(backbone())
    Choke(rig, rig.backbone.blocks[0], "forward", most=0, most_checkpointed=0, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        rig.train(data())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_how_libraries_say_it(error: Exception, backbone: Callable[..., Backbone], cache: Path) -> None:
    assert is_out_of_memory(error)
    rig = make_rig(backbone())
    choke = Choke(rig, rig.backbone.blocks[0], "forward", most=0, most_checkpointed=FITS, error=error)
    rig.train(data())
    assert choke.num_failures == 1


def test_the_allocator_of_this_machine_says_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))


class TestRemembered:
    def failed(self, pretrained: Backbone, **options: Any) -> Rig:
        rig = make_rig(pretrained, **options)
        Choke(rig, rig.backbone.blocks[0], "forward", most=4, most_checkpointed=4)
        rig.train(data())
        return rig

    def test_by_later_trials(self, backbone: Callable[..., Backbone], cache: Path) -> None:
        pretrained = backbone(batch_norm=False, dropout=0.0)
        found = self.failed(pretrained).passes
        assert found == Passes(gradient_checkpointing=True, micro_batch_size=4)
        later = make_rig(pretrained, learning_rate=0.5)
        assert later.passes == found
        choke = Choke(later, later.backbone.blocks[0], "forward", most=4, most_checkpointed=4)
        later.train(data())
        assert choke.num_failures == 0

    def test_by_other_processes(
        self, backbone: Callable[..., Backbone], cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from trainables import findings

        pretrained = backbone(batch_norm=False, dropout=0.0)
        found = self.failed(pretrained).passes
        monkeypatch.setattr(findings, "_noted", {})
        assert make_rig(pretrained).passes == found
        [file] = (cache / "passes").iterdir()
        file.write_text(file.read_text()[:20])
        assert make_rig(pretrained).passes == Passes(gradient_checkpointing=False, micro_batch_size=None), "damaged"

    @pytest.mark.parametrize(
        "options", [{"batch_size": 4}, {"freeze_depth": 1}, {"optimizer": "adamw"}, {"precision": "bf16"}]
    )
    def test_of_that_kind_of_trial_alone(
        self, backbone: Callable[..., Backbone], cache: Path, options: dict[str, Any]
    ) -> None:
        pretrained = backbone(batch_norm=False, dropout=0.0)
        self.failed(pretrained)
        assert make_rig(pretrained, **options).passes == Passes(gradient_checkpointing=False, micro_batch_size=None)

    def test_a_cache_that_cannot_be_written_is_done_without(
        self, backbone: Callable[..., Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "file"))
        pretrained = backbone(batch_norm=False, dropout=0.0)
        found = self.failed(pretrained).passes
        assert make_rig(pretrained).passes == found, "by this process all the same"


def test_a_whole_run_on_a_device_that_is_too_small(
    small: Backbone, digits: Task, make: Callable[..., Finetuner], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Training under checkpointing and evaluation in parts report what a run with room enough reports."""

    def results(finetuner: Finetuner) -> list[tuple[float, float, float]]:
        return [(m.train_loss, m.val_loss, m.val_score) for m in finetuner.epochs()]

    plain = make(freeze_depth=4)
    expected = results(plain)
    finetuner = make(freeze_depth=4)
    passes = finetuner._step._ladder

    def check(module: nn.Module, inputs: Any, output: Tensor) -> None:
        most = 9 if module.training and passes.passes.gradient_checkpointing else 7
        if len(output) > most:
            raise torch.OutOfMemoryError("no room")

    finetuner.backbone.blocks[1].register_forward_hook(check)
    finetuner.backbone.blocks[6].register_forward_hook(check)
    assert len(digits.val) > 14
    assert results(finetuner) == [pytest.approx(row, rel=1e-5) for row in expected]
    assert passes.passes.gradient_checkpointing
    measured, wanted = finetuner.measure_test(), plain.measure_test()
    assert measured.quality.loss == pytest.approx(wanted.quality.loss, rel=1e-5)
