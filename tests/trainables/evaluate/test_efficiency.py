"""Costs against hand-computed arithmetic of small nets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trainables.backbones import Backbone
from trainables.evaluate import EVALUATORS, Evaluation, Subject, efficiency
from trainables.evaluate.efficiency import MAX_PASSES, METERED_S
from trainables.evaluate.energy import energy_meter
from trainables.flops import counted_flops, flops_along
from trainables.freezing import module_digest


def values(subject: Subject) -> dict[str, float]:
    return {m.name: m.value for m in efficiency(subject, Evaluation()).measures}


class TestFlops:
    def test_convolutions_and_matrices(self) -> None:
        parts = [nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 5))]
        flops = [flops for flops, _ in flops_along(parts, torch.rand(2, 3, 16, 16))]
        assert flops == [2 * (3 * 3 * 3) * 8 * 16 * 16 * 2, 2 * (8 * 16 * 16) * 5 * 2]

    @pytest.mark.parametrize(
        ("layer", "forward"),
        [
            (nn.Conv2d(8, 6, 3, padding=1), 8 * 6 * 9 * 100),
            (nn.Conv2d(8, 8, 3, padding=1, groups=8), 8 * 9 * 100),
            (nn.Conv2d(8, 4, 2, stride=2, groups=4), 2 * 4 * 4 * 25),
            (nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2), 8 * 3 * 4 * 100),
            (nn.Conv1d(8, 6, 1), 8 * 6 * 10),
        ],
        ids=["plain", "depthwise", "grouped and strided", "transposed", "one dimension"],
    )
    def test_each_gradient_of_a_convolution_is_as_much_as_itself(self, layer: nn.Module, forward: int) -> None:
        """Of two samples; the input's gradient is taken where it is asked for."""
        shape = (2, 8, 10) if isinstance(layer, nn.Conv1d) else (2, 8, 10, 10)
        for wants_input in (False, True):
            x = torch.rand(shape, requires_grad=wants_input)
            with counted_flops() as counter:
                layer(x).sum().backward()
            assert counter.get_total_flops() == 2 * 2 * forward * (3 if wants_input else 2)

    def test_attention_is_counted_on_the_cpu(self) -> None:
        """Queries by keys, then weights by values: 2 heads, 7 positions, width 4."""
        q = torch.rand(1, 2, 7, 4)
        with counted_flops() as counter:
            scaled_dot_product_attention(q, q, q)
        assert counter.get_total_flops() == 2 * (2 * 2 * 7 * 7 * 4)


class Pixels(nn.Module):
    """The first four values of an image, by a layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images.flatten(1)[:, :4])
        return found


@pytest.fixture(scope="module")
def layers(small: Backbone) -> Backbone:
    """Linear layers 4 -> 6 -> 7 -> 10 (the head): 48, 84 and 140 FLOPs."""
    torch.manual_seed(0)
    blocks = [Pixels(6), nn.Linear(6, 7)]
    return Backbone(small.spec, blocks, nn.Linear(7, 10), small.preprocessing).eval()


class TestSubject:
    @pytest.mark.parametrize(
        ("depth", "prefix", "step"),
        [
            # Each tuned layer once more for its weights' gradients, and all but the first for its input's.
            (0, 0, 2 * 48 + 3 * 84 + 3 * 140),
            (1, 48, 2 * 84 + 3 * 140),
            (2, 48 + 84, 2 * 140),
        ],
    )
    def test_arithmetic_of_a_step_depends_on_the_boundary(
        self, layers: Backbone, subject_of: Callable[..., Subject], depth: int, prefix: int, step: int
    ) -> None:
        subject = subject_of(layers, freeze_depth=depth)
        found = values(subject)
        assert found["flops_forward"] == 48 + 84 + 140
        assert found["flops_prefix"] == prefix
        assert found["flops_train_step"] == step
        assert found["flops_train"] == len(subject.task.train) * (prefix + step * 1)

    def test_blocks_behind_a_window_hand_gradients_on(
        self, layers: Backbone, subject_of: Callable[..., Subject]
    ) -> None:
        found = values(subject_of(layers, tune_window=(0, 1)))
        assert found["flops_train_step"] == 2 * 48 + 2 * 84 + 3 * 140

    def test_recurrent_layers_are_counted_without_cudnn_and_timed_with_it(
        self, small: Backbone, subject_of: Callable[..., Subject]
    ) -> None:
        """Its recurrent layers have no gradients in eval mode."""

        class Recurrent(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm = nn.LSTM(96, 5, batch_first=True)

            def forward(self, images: Tensor) -> Tensor:
                last: Tensor = self.lstm(images.flatten(1).unflatten(1, (32, 96)))[0][:, -1]
                return last

        subject = subject_of(Backbone(small.spec, [Recurrent()], nn.Linear(5, 10), small.preprocessing))
        seen: set[tuple[bool, bool]] = set()
        handle = subject.tuned.blocks[0].register_forward_hook(
            lambda *_: seen.add((torch.is_grad_enabled(), torch.backends.cudnn.enabled))
        )
        assert values(subject)["flops_forward"] > 0
        handle.remove()
        assert seen == {(True, False), (False, False), (False, True)}

    def test_parameters_and_bytes_of_what_is_tuned(self, layers: Backbone, subject_of: Callable[..., Subject]) -> None:
        found = values(subject_of(layers, freeze_depth=1))
        head, last = 7 * 10 + 10, 6 * 7 + 7
        assert found["num_params"] == head + last + 4 * 6 + 6
        assert found["num_params_trainable"] == head + last
        assert found["num_params_head"] == head
        assert found["checkpoint_bytes"] == 4 * (head + last)

    def test_times_of_a_small_net(self, tuned: Subject) -> None:
        found = values(tuned)
        assert 0 < found["latency_s"] < 1
        assert found["throughput"] > 1
        assert "energy_j" not in found

    def test_a_pass_is_repeated_no_more_often_than_stated(
        self, tuned: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a clock that moves a millisecond or a second at each look."""
        sizes: list[int] = []
        handle = tuned.tuned.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        for tick, passes in ((1e-9, MAX_PASSES + 2), (1.0, 2)):
            clock = iter(range(10**6))
            monkeypatch.setattr("time.perf_counter", lambda clock=clock, tick=tick: next(clock) * tick)
            sizes.clear()
            values(tuned)
            assert sizes == [1] * passes + [8] * passes
        handle.remove()


class NVMLError(Exception):
    pass


class TestEnergy:
    @pytest.fixture
    def device(self, monkeypatch: pytest.MonkeyPatch) -> torch.device:
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
        return torch.device("cuda")

    def nvml(self, **changes: Any) -> SimpleNamespace:
        """Of one GPU, which takes 5 J, told in mJ, between any two looks."""
        looks = iter(range(0, 10**6, 5000))
        return SimpleNamespace(
            **{
                "nvmlInit": lambda: None,
                "nvmlDeviceGetHandleByUUID": {"GPU-abc": looks}.__getitem__,
                "nvmlDeviceGetTotalEnergyConsumption": next,
                "NVMLError": NVMLError,
                **changes,
            }
        )

    def test_it_is_read_in_joules(self, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", self.nvml())
        meter = energy_meter(device)
        assert meter is not None
        assert -meter() + meter() == 5

    @pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"])
    def test_a_gpu_without_a_meter_has_none(
        self, device: torch.device, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        def fail(*_: object) -> None:
            raise NVMLError("Not Supported")

        monkeypatch.setitem(sys.modules, "pynvml", self.nvml(**{broken: fail}))
        assert energy_meter(device) is None

    def test_without_the_module_or_a_gpu_there_is_none(
        self, device: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert energy_meter(device) is None
        assert energy_meter(torch.device("cpu")) is None

    def test_it_is_stated_per_sample(self, tuned: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        """A meter that counts 16 J for every pass of 8 samples."""
        passes: list[None] = []
        handle = tuned.tuned.register_forward_hook(lambda *_: passes.append(None))
        module = sys.modules["trainables.evaluate.efficiency"]  # whose name in its package is the function's
        monkeypatch.setattr(module, "METERED_S", METERED_S / 20)
        monkeypatch.setattr(module, "energy_meter", lambda _: lambda: 16.0 * len(passes))
        assert values(tuned)["energy_j"] == pytest.approx(2)
        handle.remove()


def test_no_evaluator_changes_the_network_or_draws_random_numbers(tuned: Subject) -> None:
    tuned.probe  # noqa: B018  # fitting it is the subject's
    networks = [tuned.tuned, tuned.pretrained, tuned.probe]
    tuned.tuned.zero_grad(set_to_none=True)
    before, state = [module_digest(network) for network in networks], torch.get_rng_state()
    for evaluator in EVALUATORS:
        evaluator(tuned, Evaluation(num_perturbed=5, num_attacked=2))
    assert [module_digest(network) for network in networks] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for network in networks for p in network.parameters())
