"""Checkpoint files of the user's own: every usual layout is read, nothing in them is run, misfits are named."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from trainables.backbones import Backbone, build
from trainables.backbones.checkpoint import load_checkpoint_file, load_local
from trainables.catalog import lookup
from trainables.errors import InvalidConfig, WeightsUnavailable

ARCHITECTURE = "torchvision/shufflenet_v2_x0_5"
STEM = "conv1.0.weight"


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """Weights that no seed of the package gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        return models.shufflenet_v2_x0_5(weights=None).eval()


@pytest.fixture
def state(trained: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in trained.state_dict().items()}


def logits(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
        return found


def built(path: Path) -> Backbone:
    return build(lookup(f"{ARCHITECTURE}@{path}"))


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "a bare state dict": lambda state: state,
    "timm's averaged weights beside the last": lambda state: {
        "epoch": 3,
        "state_dict": {key: torch.zeros_like(value) for key, value in state.items()},
        "state_dict_ema": state,
    },
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "a container in a container": lambda state: {"model": {"state_dict": state}},
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "torch.compile under DataParallel": lambda state: {f"module._orig_mod.{key}": v for key, v in state.items()},
    "Lightning with a loss that has weights": lambda state: {
        "state_dict": {"loss.weight": torch.ones(3)} | {f"model.{key}": value for key, value in state.items()},
        "pytorch-lightning_version": "2.5.0",
    },
    "a larger module under any name": lambda state: {f"net.backbone.{key}": value for key, value in state.items()},
    "no counts of batches, as older files": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("layout", WRAPPINGS)
def test_what_training_scripts_write_gives_the_trained_model(
    layout: str, trained: nn.Module, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(WRAPPINGS[layout](state), tmp_path / "my.pth")
    model = models.shufflenet_v2_x0_5(weights=None).eval()
    load_local(model, tmp_path / "my.pth", ["fc"])
    assert torch.equal(logits(model), logits(trained))


def test_safetensors_give_the_trained_model(trained: nn.Module, state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "my.safetensors")
    assert torch.equal(logits(built(tmp_path / "my.safetensors")), logits(trained))


def test_a_path_may_be_relative_or_begin_at_home(
    trained: nn.Module, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "my.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("./my.pt", "my.pt", "~/my.pt"):
        assert torch.equal(logits(build(lookup(f"{ARCHITECTURE}@{name}"))), logits(trained)), name


def test_a_model_of_timm_is_loaded_and_fed_like_its_default_checkpoint(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        trained = timm.create_model("test_vit", pretrained=False).eval()
    torch.save(trained.state_dict(), tmp_path / "my.bin")
    backbone = build(lookup(f"timm/test_vit@{tmp_path / 'my.bin'}"))
    batch = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(backbone(batch), trained(batch))
    assert backbone.preprocessing == build(lookup("timm/test_vit@random")).preprocessing


@pytest.mark.parametrize("num_classes", [7, None])
def test_a_classifier_of_other_classes_or_none_at_all_is_no_obstacle(
    num_classes: int | None, trained: nn.Module, state: dict[str, Tensor], tmp_path: Path
) -> None:
    del state["fc.weight"], state["fc.bias"]
    if num_classes is not None:
        state |= {"fc.weight": torch.ones(num_classes, 1024), "fc.bias": torch.ones(num_classes)}
    torch.save(state, tmp_path / "my.pth")
    backbone = built(tmp_path / "my.pth")
    assert logits(backbone).shape == (2, 1000)
    original = copy.deepcopy(trained)
    original.fc = nn.Identity()
    backbone.head = nn.Identity()
    assert torch.equal(logits(backbone), logits(original))


def test_auxiliary_classifiers_in_the_file_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "my.pth"
    torch.save(models.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict(), file)
    build(lookup(f"torchvision/googlenet@{file}"))


def test_another_architecture_is_refused_with_some_keys_of_each_kind(state: dict[str, Tensor], tmp_path: Path) -> None:
    state[STEM] = torch.zeros(24, 3, 5, 5)
    state["conv9.weight"] = state.pop("conv5.0.weight")
    torch.save(state, tmp_path / "my.pth")
    with pytest.raises(InvalidConfig, match="is no checkpoint of this ShuffleNetV2") as caught:
        built(tmp_path / "my.pth")
    message = str(caught.value)
    assert str(tmp_path / "my.pth") in message
    assert "1 missing (conv5.0.weight)" in message
    assert "1 unexpected (conv9.weight)" in message
    assert f"1 misshapen ({STEM} (24, 3, 5, 5) instead of (24, 3, 3, 3))" in message


def test_of_a_wholly_other_model_only_a_few_keys_are_named(tmp_path: Path) -> None:
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "my.pth")
    with pytest.raises(InvalidConfig, match=r"missing \(\S+, \S+, \S+, \.\.\.\); \d+ unexpected") as caught:
        built(tmp_path / "my.pth")
    assert len(str(caught.value)) < 600


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.write_text, (self.witness, "ran")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda content, path: Path(path).write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_refused_and_never_run(
    save: Callable[[Any, Path], None], state: dict[str, Tensor], tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    save({"state_dict": state, "callback": Payload(witness)}, tmp_path / "my.pth")
    with pytest.raises(InvalidConfig, match=r"could run code when it is read .*save its state dict alone"):
        built(tmp_path / "my.pth")
    assert not witness.exists()


def test_a_whole_pickled_model_is_refused(trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained, tmp_path / "my.pth")
    with pytest.raises(InvalidConfig, match=r"could run code when it is read .*ShuffleNetV2"):
        built(tmp_path / "my.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file_is_refused(suffix: str, share: float, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"my{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        WeightsUnavailable, match=rf"my\{suffix} cannot be read as a checkpoint .*copy or save it again"
    ):
        built(path)


def test_a_missing_file_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsUnavailable, match=f"there is no checkpoint file {tmp_path}/weights/my.pth"):
        build(lookup(f"{ARCHITECTURE}@weights/my.pth"))
    with pytest.raises(WeightsUnavailable, match="there is no checkpoint file"):
        load_checkpoint_file(tmp_path)


def test_a_web_page_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.pth").write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(WeightsUnavailable, match="cannot be read as a checkpoint"):
        load_checkpoint_file(tmp_path / "my.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {"epoch": 3}}])
def test_a_file_without_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "my.pth")
    with pytest.raises(InvalidConfig, match="holds no state dict"):
        load_checkpoint_file(tmp_path / "my.pth")
