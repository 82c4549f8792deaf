"""Gradient checkpointing and compilation change how a step is computed, and not what it gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hf_checkpoints import TEXTS
from stepping import Batch, make_rig, objective_of
from torch import Tensor, nn

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.errors import InvalidConfig
from trainables.execution import Execution
from trainables.preprocessing import State

CHECKPOINTED = Execution(gradient_checkpointing=True)

IMAGES = {  # with BatchNorm and dropout; stochastic depth as well; LayerNorm; branches side by side
    "torchvision/mobilenet_v3_small@random": 32,
    "torchvision/efficientnet_b0@random": 32,
    "timm/test_resnet@random": 64,
    "timm/test_vit@random": 160,
    "timm/test_convnext@random": 64,
}


def words(num: int, length: int) -> State:
    """Sequences of differing lengths, padded to `length`."""
    lengths = torch.randint(3, length + 1, (num, 1))
    lengths[0] = length
    mask = (torch.arange(length) < lengths).long()
    return torch.randint(4, 40, (num, length)) * mask, mask, torch.zeros_like(mask)


def batches(backbone: Backbone, depth: int, inputs: list[State]) -> list[Batch]:
    _, targets = objective_of()
    with torch.no_grad():
        states = [backbone.features(state, 0, depth) for state in inputs]
    return [(state, targets(len(state if isinstance(state, Tensor) else state[0]))) for state in states]


@pytest.fixture(scope="module", params=[*IMAGES, "bert"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, list[State]]:
    """A backbone with dropout and three batches of different sizes."""
    torch.manual_seed(0)
    if request.param in IMAGES:
        side = IMAGES[request.param]
        return build(lookup(request.param)), [torch.randn(num, 3, side, side) for num in (4, 6, 3)]
    folder = tmp_path_factory.mktemp("bert")
    TEXTS["bert"].save(folder)
    return build(lookup(f"hf/{folder}")), [words(4, 9), words(6, 12), words(3, 5)]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_checkpointing_gives_the_same_to_the_bit(case: tuple[Backbone, list[State]], share: float) -> None:
    """Losses, weights, running statistics, their counts, and what the random number generator gives next."""
    backbone, inputs = case
    depth = round(share * backbone.num_blocks)
    data = batches(backbone, depth, inputs)
    plain = make_rig(backbone, freeze_depth=depth, optimizer="adamw").train(data)
    rig = make_rig(backbone, CHECKPOINTED, freeze_depth=depth, optimizer="adamw")
    rig.train(data).assert_equal(plain)


def test_checkpointing_in_a_window(small: Backbone) -> None:
    data = batches(small, 2, [torch.randn(4, 3, 32, 32) for _ in range(2)])
    plain = make_rig(small, tune_window=(2, 6)).train(data)
    make_rig(small, CHECKPOINTED, tune_window=(2, 6)).train(data).assert_equal(plain)


class Warming(nn.Module):
    """What it gives depends on a buffer that it moves; another it moves when a second pass has all it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))
        self.num_done: Tensor
        self.register_buffer("num_done", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale.mul_(0.9)
        result = torch.tanh(self.linear(x) * self.scale.clone())
        self.num_done.add_(1)
        return result


def test_the_second_pass_finds_buffers_as_the_first_did(small: Backbone) -> None:
    torch.manual_seed(0)
    pretrained = Backbone(small.spec, [Warming() for _ in range(3)], nn.Linear(6, 2), small.preprocessing)
    _, targets = objective_of()
    data: list[Batch] = [(torch.randn(4, 6), targets(4)) for _ in range(3)]
    plain = make_rig(pretrained).train(data)
    make_rig(pretrained, CHECKPOINTED).train(data).assert_equal(plain)


def test_checkpointing_keeps_less(small: Backbone) -> None:
    """Bytes that wait for the backward pass, counted as autograd packs them."""

    def kept(execution: Execution) -> int:
        rig, seen = make_rig(small, execution), {}

        def pack(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        parameters = {p.untyped_storage().data_ptr() for p in rig.backbone.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            rig.step._loss(torch.randn(8, 3, 64, 64), torch.zeros(8, dtype=torch.long))
        return sum(size for pointer, size in seen.items() if pointer not in parameters)

    assert kept(CHECKPOINTED) < 0.6 * kept(Execution())


def test_a_single_block_is_never_computed_twice(small: Backbone) -> None:
    depth = small.num_blocks - 1
    rig = make_rig(small, CHECKPOINTED, freeze_depth=depth)
    calls: list[int] = []
    rig.backbone.blocks[depth].register_forward_hook(lambda *_: calls.append(1))
    rig.train(batches(small, depth, [torch.randn(4, 3, 32, 32)]))
    assert len(calls) == 1


@pytest.fixture
def tiny(small: Backbone) -> Backbone:
    """Three blocks with BatchNorm that compile in seconds."""
    torch.manual_seed(0)
    blocks: list[nn.Module] = [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.GELU()) for _ in range(3)]
    return Backbone(small.spec, blocks, nn.Linear(6, 2), small.preprocessing)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("execution", [Execution(compile=True), Execution(compile=True, gradient_checkpointing=True)])
def test_compiled_it_gives_the_same_within_rounding(tiny: Backbone, execution: Execution) -> None:
    _, targets = objective_of()
    data: list[Batch] = [(torch.randn(num, 6), targets(num)) for num in (6, 6, 4)]
    plain = make_rig(tiny, freeze_depth=1).train([(tiny.blocks[0](x).detach(), y) for x, y in data])
    rig = make_rig(tiny, execution, freeze_depth=1)
    compiled = rig.train([(tiny.blocks[0](x).detach(), y) for x, y in data])
    compiled.assert_close(plain)
    assert compiled.state.keys() == plain.state.keys()


def test_without_a_compiler_it_says_so(small: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InvalidConfig, match=r"needs a C\+\+ compiler.*set execution.compile to false"):
        make_rig(small, Execution(compile=True))


def test_what_cannot_be_compiled_is_told_how_to_do_without(small: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables import tuned

    def refuse(state: State) -> Tensor:
        raise torch._dynamo.exc.TorchDynamoException("\nno such operator\nmore")

    monkeypatch.setattr(tuned, "_compiled", lambda function: refuse)
    rig = make_rig(small, Execution(compile=True))
    with pytest.raises(InvalidConfig, match=r"execution.compile must be false here: .*\(no such operator\)"):
        rig.train([(torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long))])
