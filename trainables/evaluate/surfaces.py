"""Where an attack changes an input, and how far: the pixels, the embeddings of tokens, or the sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from trainables.evaluate.subject import Subject
from trainables.modality import Modality
from trainables.precision import autocast
from trainables.preprocessing import State, parts_of

__all__ = ["EPSILONS", "Surface", "surface_of"]

EPSILONS: Final[dict[Modality, dict[str, float]]] = {
    "image": {"1/255": 1 / 255, "4/255": 4 / 255},
    "text": {"0.01": 0.01, "0.1": 0.1},
    "audio": {"0.001": 0.001, "0.01": 0.01},
}
"""How far the attacks go, in units of `Surface.radius`, by the name that a condition has.

Images: shares of the range of pixels. Texts: shares of the length of each token's embedding. Sounds: shares of the
peak, so that 0.01 is 40 dB below it.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """A batch as an attack sees it."""

    values: Tensor
    """What is changed: float32 (batch, ...)."""

    radius: Tensor
    """How far each of the values may move at an ε of 1, >= 0 and 0 for padding; broadcasts over `values`."""

    low: float
    high: float
    """Values stay between these."""

    rest: tuple[Tensor, ...]
    """What enters with the values and is left as it is, each with a row per sample."""

    outputs: Callable[[State], Tensor]
    """Of θ' for ``(values, *rest)``, float32 (batch, num_outputs)."""


_Make: TypeAlias = Callable[[Subject, State], Surface | None]


def surface_of(subject: Subject, encoded: State) -> Surface | None:
    """Of a batch as `Subject.encoded` gives it; None where block 0 gives no vector for each token of a text."""
    make: dict[Modality, _Make] = {"image": _pixels, "text": _embeddings, "audio": _sounds}
    return make[subject.task.preprocessing.modality](subject, encoded)


def _pixels(subject: Subject, encoded: State) -> Surface:
    """Pixels before they are normalised, as real numbers in [0, 255]: what no image file could hold counts."""
    pixels = _first(encoded).float()
    return Surface(
        values=pixels,
        radius=pixels.new_full((1, 1, 1, 1), 255.0).expand(len(pixels), 1, 1, 1),
        low=0.0,
        high=255.0,
        rest=(),
        outputs=lambda state: subject.outputs(subject.prepared(_first(state))),
    )


def _embeddings(subject: Subject, encoded: State) -> Surface | None:
    """What leaves block 0: a vector for each token, special ones included. At an ε of 1 a change of every number by
    the radius is as long as the token's vector."""
    tuned, config = subject.tuned, subject.config
    prepared = subject.prepared(encoded)
    with torch.no_grad(), autocast(config.precision, subject.device):
        embedded = tuned.features(prepared, 0, 1)
    hidden, mask = _first(embedded).float(), parts_of(prepared)[1]
    if hidden.ndim != 3 or hidden.shape[:2] != mask.shape:
        return None

    def outputs(state: State) -> Tensor:
        entering = _first(state) if isinstance(embedded, Tensor) else state
        with autocast(config.precision, subject.device):
            logits: Tensor = tuned.head(tuned.features(entering, 1))
        return logits.float()

    root_mean_square = hidden.norm(dim=2, keepdim=True) / math.sqrt(hidden.shape[2])
    return Surface(
        values=hidden,
        radius=root_mean_square * mask.unsqueeze(2),
        low=-math.inf,
        high=math.inf,
        rest=parts_of(embedded)[1:],
        outputs=outputs,
    )


def _sounds(subject: Subject, encoded: State) -> Surface:
    """What the extractor makes of sounds: the waveform, or frames of a spectrogram. The peak is the largest absolute
    value of a sound's own numbers."""
    values, mask = parts_of(encoded)
    is_real = mask.reshape(*mask.shape, *(1 for _ in range(values.ndim - 2)))
    peak = (values.abs() * is_real).flatten(1).amax(dim=1).reshape(-1, *(1 for _ in range(values.ndim - 1)))
    return Surface(
        values=values,
        radius=peak * is_real,
        low=-math.inf,
        high=math.inf,
        rest=(mask,),
        outputs=lambda state: subject.outputs(subject.prepared(state)),
    )


def _first(state: State) -> Tensor:
    return parts_of(state)[0]
