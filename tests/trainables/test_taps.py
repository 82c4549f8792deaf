"""Convolutions without the taps that see nothing but padding: the same numbers for less arithmetic."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.backbones import build
from trainables.backbones.taps import TrimmedConv2d, seen, trim_convolutions
from trainables.catalog import lookup
from trainables.flops import counted_flops

Pair = tuple[int, int]
"""Of height and width."""


def trimmed(conv: nn.Conv2d) -> nn.Conv2d:
    twin = copy.deepcopy(conv)
    trim_convolutions(twin)
    assert type(twin) is TrimmedConv2d
    return twin


def outcome(conv: nn.Conv2d, images: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and the gradients of images, filter and bias for a loss that weighs every output differently."""
    images = images.clone().requires_grad_()
    outputs = conv(images)
    weights = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
    (outputs * weights).sum().backward()
    assert conv.bias is not None
    grads = [tensor.grad for tensor in (images, conv.weight, conv.bias)]
    assert all(grad is not None for grad in grads)
    return outputs.detach(), *(grad for grad in grads if grad is not None)


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    depthwise=st.booleans(),
)
def test_outputs_and_gradients_are_those_of_the_whole_filter(
    size: Pair, kernel: Pair, padding: Pair, stride: Pair, dilation: Pair, depthwise: bool
) -> None:
    reach = [size[d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) for d in (0, 1)]
    assume(min(reach) >= 1)
    torch.manual_seed(0)
    whole = nn.Conv2d(4, 4, kernel, stride, padding, dilation, groups=4 if depthwise else 1)
    images = torch.randn(3, 4, *size)
    for found, expected in zip(outcome(trimmed(whole), images), outcome(whole, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "stride", "dilation"),
    [
        ((3, 1), (5, 1), (5, 4), (1, 3), (2, 3)),
        ((4, 1), (2, 5), (5, 5), (2, 2), (3, 2)),
        ((6, 1), (6, 3), (5, 5), (2, 3), (1, 3)),
    ],
)
def test_padding_wider_than_the_filter_is_left_to_pytorch(
    size: Pair, kernel: Pair, padding: Pair, stride: Pair, dilation: Pair
) -> None:
    """PyTorch 2.14 dies of some of these where filters lie in memory as channels_last."""
    whole = nn.Conv2d(4, 4, kernel, stride, padding, dilation)
    images = torch.randn(3, 4, *size)
    for found, expected in zip(outcome(trimmed(whole), images), outcome(whole, images), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("size", "num_taps", "padding", "stride", "taps", "remaining"),
    [
        (1, 3, 1, 1, slice(1, 2), 0),
        (1, 3, 1, 2, slice(1, 2), 0),
        (2, 5, 2, 1, slice(1, 4), 1),
        (2, 3, 1, 2, slice(1, 3), 0),
        (2, 3, 1, 1, slice(0, 3), 1),
        (7, 7, 3, 1, slice(0, 7), 3),
        (56, 3, 1, 1, slice(0, 3), 1),
    ],
)
def test_taps_that_no_output_has_inside_are_left_out(
    size: int, num_taps: int, padding: int, stride: int, taps: slice, remaining: int
) -> None:
    found = seen(size, num_taps, padding, stride, 1)
    assert (found.taps, found.padding) == (taps, remaining)
    assert found.is_all == (taps == slice(0, num_taps))


def test_a_3x3_filter_on_one_pixel_takes_a_ninth_of_the_products() -> None:
    conv, pixel = nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 8, 1, 1)
    flops = []
    for layer in (conv, trimmed(conv)):
        with counted_flops() as counter:
            layer(pixel).sum().backward()
        flops.append(counter.get_total_flops())
    assert flops[0] == 9 * flops[1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_lies_in_memory_as_the_filter_does(layout: torch.memory_format) -> None:
    conv = trimmed(nn.Conv2d(8, 8, 3, padding=1)).to(memory_format=layout)
    conv(torch.randn(2, 8, 1, 1)).sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.stride() == conv.weight.stride()


@pytest.mark.filterwarnings("error")
def test_it_is_one_graph_for_the_compiler() -> None:
    conv, pixel = trimmed(nn.Conv2d(8, 8, 3, padding=1)), torch.randn(2, 8, 1, 1)
    whole_graph = torch.compile(conv, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole_graph(pixel), conv(pixel))


def test_other_convolutions_stay_as_they_are() -> None:
    class Own(nn.Conv2d):
        pass

    others = nn.Sequential(
        Own(1, 1, 3, padding=1),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(1, 1, 3, padding=1),
    )
    kinds = [type(layer) for layer in others]
    trim_convolutions(others)
    assert [type(layer) for layer in others] == kinds


@pytest.mark.parametrize(
    ("name", "most_flops"), [("torchvision/resnet18@random", 0.82), ("torchvision/mobilenet_v3_small@random", 0.98)]
)
def test_a_backbone_on_small_images_is_the_same_network(name: str, most_flops: float) -> None:
    backbone = build(lookup(name))
    plain = copy.deepcopy(backbone)
    for module in plain.modules():
        if type(module) is TrimmedConv2d:
            setattr(module, "__class__", nn.Conv2d)  # noqa: B010 - a type checker knows the narrower class
    assert list(plain.state_dict()) == list(backbone.state_dict())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    flops = []
    with torch.no_grad():
        for network in (backbone, plain):
            with counted_flops() as counter:
                outputs = network.head(network.features(images, 0))
            flops.append(counter.get_total_flops())
            if network is backbone:
                found = outputs
    torch.testing.assert_close(found, outputs, rtol=1e-4, atol=1e-4)
    assert flops[0] < most_flops * flops[1]
