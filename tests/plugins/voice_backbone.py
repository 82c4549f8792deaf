"""A plug-in: the speaker encoder of Resemblyzer (GE2E, arXiv 1710.10467) as a backbone for sounds.

``resemblyzer/voice_encoder`` is pretrained, with the weights in the PyPI package ``resemblyzer`` 0.1.4
(Apache-2.0); ``resemblyzer/voice_encoder@random`` is its untrained control.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.backbones import Backbone
from trainables.catalog import RANDOM, BackboneSpec
from trainables.errors import MissingExtra, WeightsUnavailable
from trainables.preprocessing import AudioPreprocessing

SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
RATE, WINDOW, HOP, CHANNELS, WIDTH = 16_000, 400, 160, 40, 256


@dataclass(frozen=True)
class MelFrames:
    """Power mel spectrogram, (frames, 40), of a waveform brought to -30 dBFS if it is quieter."""

    key: str = "resemblyzer-mel-1"

    def __call__(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        from transformers.audio_utils import spectrogram, window_function

        loudness = 10 * np.log10(max(float(np.mean(waveform**2)), 1e-10))
        louder = waveform * 10 ** (max(-30 - loudness, 0) / 20)
        # Reflection needs more samples than half a window.
        padded = np.pad(louder, (0, max(0, WINDOW - len(louder))))
        window = window_function(WINDOW, "hann")
        mel = spectrogram(padded, window, WINDOW, HOP, power=2.0, mel_filters=_filters(), mel_floor=0.0)
        return np.ascontiguousarray(mel.T, dtype=np.float32)


@cache
def _filters() -> npt.NDArray[np.float64]:
    from transformers.audio_utils import mel_filter_bank

    bins = WINDOW // 2 + 1
    filters: npt.NDArray[np.float64] = mel_filter_bank(
        bins, CHANNELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney"
    )
    return filters


class Recurrence(nn.Module):
    """One LSTM layer; frames are padded on the right, so that padding never reaches a real one."""

    def __init__(self, width_in: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width_in, WIDTH, batch_first=True)

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        frames, mask = state
        return self.lstm(frames)[0], mask


class Embedding(nn.Module):
    """The state at the last real frame, projected to the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, state: tuple[Tensor, Tensor]) -> Tensor:
        frames, mask = state
        last = frames[torch.arange(len(frames)), mask.sum(dim=1) - 1]
        embedding: Tensor = self.linear(last).relu()
        return embedding / embedding.norm(dim=1, keepdim=True).clamp(min=1e-6)


def build(spec: BackboneSpec) -> Backbone:
    blocks = [Recurrence(CHANNELS), Recurrence(WIDTH), Recurrence(WIDTH), Embedding()]
    if spec.weights != RANDOM:
        state = _published()
        for layer, block in enumerate(blocks[:3]):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            block.load_state_dict({f"lstm.{name}_l0": state[f"lstm.{name}_l{layer}"] for name in names})
        blocks[3].load_state_dict({f"linear.{name}": state[f"linear.{name}"] for name in ("weight", "bias")})
    preprocessing = AudioPreprocessing(sampling_rate=RATE, extractor=MelFrames())
    return Backbone(spec, list(blocks), nn.Linear(WIDTH, 2), preprocessing)


def _published() -> dict[str, Tensor]:
    package = importlib.util.find_spec("resemblyzer")
    if package is None or package.origin is None:
        raise MissingExtra("the weights come with a package: pip install --no-deps resemblyzer==0.1.4")
    path = Path(package.origin).with_name("pretrained.pt")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise WeightsUnavailable(f"{path} is not the published file; install the package again")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    return state
