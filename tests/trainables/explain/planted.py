"""Networks that answer by one thing alone, so that the right explanation is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.catalog import BackboneSpec
from trainables.explain import Answer, Network, Question, pieces_of
from trainables.objective import make_objective
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, State, TextPreprocessing

CPU = torch.device("cpu")
SPEC = BackboneSpec(source="planted", architecture="planted", weights=None)
SIDE = 28
"""Four pixels a cell."""

PIXELS = ImagePreprocessing(
    input_size=SIDE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bilinear", crop_frac=1.0
)
PAD, START, END, MASK, KEYWORD = 0, 1, 2, 3, 7
CLASSES = make_objective("classification", 2, torch.tensor([0, 1]), torch.tensor([0, 1]))


@dataclass(frozen=True)
class Numbers:
    """A tokenizer of texts that are numbers already."""

    key: str = "numbers"
    pad_id: int = PAD
    mask_id: int | None = MASK

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> list[tuple[list[int], list[int]]]:
        ids = [[START, *map(int, text.split()), END][:max_length] for text in texts]
        return [(row, [0] * len(row)) for row in ids]

    def spelled(self, ids: Sequence[int]) -> list[str]:
        return [f"w{number}" for number in ids]


@dataclass(frozen=True)
class Raw:
    """An extractor that leaves waveforms as they are, but for an offset: silence is not 0."""

    key: str = "raw"

    def __call__(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return waveform - 1


TEXT = TextPreprocessing(tokenizer=Numbers(), max_length=64)
SOUND = AudioPreprocessing(sampling_rate=100, extractor=Raw())


class Grid(nn.Module):
    """Mean of each cell of the three colours together."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.mix.weight, 1 / 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.mix(pixels), SIDE // 7)


class ReadsTheCorner(nn.Module):
    """The top-left cell of the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(49))
        with torch.no_grad():
            self.weights[0] = 1

    def forward(self, grid: Tensor) -> Tensor:
        return grid.flatten(1) @ self.weights.unsqueeze(1)


class Colours(nn.Module):
    """How red, green and blue each place is."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_((1.5 * torch.eye(3) - 0.5).view(3, 3, 1, 1))
            self.mix.bias.fill_(-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(torch.relu(self.mix(pixels)), SIDE // 7)


class Average(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


class Embeds(nn.Module):
    """The first of four numbers of a token says whether it is the keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        with torch.no_grad():
            self.table.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
            self.table.weight[:, 0] = 0
            self.table.weight[KEYWORD, 0] = 1

    def forward(self, state: tuple[Tensor, ...]) -> State:
        ids, mask, _ = state
        return self.table(ids), mask


class AddsUp(nn.Module):
    """Sum over the tokens that are no padding."""

    def forward(self, state: tuple[Tensor, ...]) -> Tensor:
        hidden, mask = state
        return (hidden * mask.unsqueeze(-1)).sum(dim=1)


class ReadsAStretch(nn.Module):
    """Loudness of one of 16 stretches, relative to silence."""

    def __init__(self, stretch: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(nn.functional.one_hot(torch.tensor(stretch), 16).float())

    def forward(self, state: tuple[Tensor, ...]) -> Tensor:
        loudness = nn.functional.adaptive_avg_pool1d((state[0] + 1).square().unsqueeze(1), 16)
        return loudness.flatten(1) @ self.weights.unsqueeze(1)


def backbone(blocks: list[nn.Module], weights: Any, bias: Any, preprocessing: Any) -> Backbone:
    """Of two classes; `weights` of the second, those of the first are their negative."""
    weights, bias = torch.tensor(weights), torch.tensor(bias)
    head = nn.Linear(len(weights), 2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([-weights, weights]))
        head.bias.copy_(torch.stack([-bias, bias]))
    return Backbone(SPEC, blocks, head, preprocessing).eval()


def network(blocks: list[nn.Module], weights: Any, bias: Any, preprocessing: Any) -> Network:
    return Network(backbone(blocks, weights, bias, preprocessing), "fp32", CPU)


def corner_network() -> Network:
    return network([Grid(), ReadsTheCorner()], [4.0], -5.5, PIXELS)


def red_network() -> Network:
    return network([Colours(), Average()], [60.0, 0.0, 0.0], -2.0, PIXELS)


def keyword_network() -> Network:
    return network([Embeds(), AddsUp()], [4.0, 0.0, 0.0, 0.0], -2.0, TEXT)


def loud_network(stretch: int) -> Network:
    return network([ReadsAStretch(stretch)], [4.0], -1.0, SOUND)


def question(network: Network, sample: State, objective: Any = CLASSES) -> Question:
    with torch.no_grad():
        outputs = network.outputs(sample)[0]
    pieces = pieces_of(network.backbone.preprocessing, sample)
    return Question(network=network, pieces=pieces, answer=Answer(objective=objective, outputs=outputs), seed=3)


def corner_image(seed: int = 0) -> Tensor:
    """Noise with a bright corner cell, which the corner network says yes to."""
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) - 0.5
    pixels[:, :, :4, :4] = 2
    return pixels


def red_image(cell: tuple[int, int] = (2, 4)) -> Tensor:
    """Grey noise with a red cell and a green one."""
    pixels = 0.2 * torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).repeat(1, 3, 1, 1)
    for channel, (row, column) in ((0, cell), (1, (5, 1))):
        pixels[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = -1
        pixels[:, channel, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 2
    return pixels


def text(*ids: int, padding: int = 2) -> tuple[Tensor, ...]:
    row = torch.tensor([[START, *ids, END, *[PAD] * padding]])
    mask = (torch.arange(row.shape[1]) < row.shape[1] - padding).long().unsqueeze(0)
    return row, mask, torch.zeros_like(row)


def sound(stretch: int, length: int = 160) -> tuple[Tensor, ...]:
    """Quiet noise, loud in one of 16 stretches, as `Raw` gives it."""
    waveform = 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(0))
    size = length // 16
    waveform[:, stretch * size : (stretch + 1) * size] *= 12
    return waveform - 1, torch.ones(1, length, dtype=torch.int64)
