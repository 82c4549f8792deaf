"""How sentence-transformers' checkpoints make one vector of a text's tokens.

Such a checkpoint is a plain encoder; ``modules.json`` lists what follows it and the pooling has a
configuration of its own. It has no classifier, and the pooler of its architecture was not trained with it,
so neither is used: the last block ends with its pooling, and the head is dropout and a linear layer. The
normalisation to unit length that many of them end with is left out, since it is made for comparing vectors
by their angle; so is every other module behind the pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.backbones.hf.checkpoint import Checkpoint
from trainables.backbones.hf.part import Layout, Step
from trainables.errors import InvalidConfig

__all__ = ["average_tokens", "cut_with_pooling", "sentence_pooling"]

Pool = Callable[[tuple[Tensor, Tensor]], Tensor]


def average_tokens(state: tuple[Tensor, Tensor]) -> Tensor:
    """Mean over the tokens that are no padding."""
    hidden, mask = state
    weights = mask.unsqueeze(-1).expand(hidden.size()).to(hidden.dtype)
    return torch.sum(hidden * weights, 1) / torch.clamp(weights.sum(1), min=1e-9)


def _take_first(state: tuple[Tensor, Tensor]) -> Tensor:
    return state[0][:, 0]


def _largest(state: tuple[Tensor, Tensor]) -> Tensor:
    hidden, mask = state
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, -1e9).max(dim=1).values


_POOLINGS: Final[dict[str, Pool]] = {"cls": _take_first, "mean": average_tokens, "max": _largest}

_FLAGS: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def sentence_pooling(checkpoint: Checkpoint) -> Pool | None:
    """The pooling of a sentence-transformers checkpoint, None for every other.

    Raises:
        InvalidConfig: it pools in a way that is not supported.
    """
    modules = checkpoint.read_json("modules.json") or []
    paths = [module["path"] for module in modules if module["type"].rpartition(".")[2] == "Pooling"]
    if not paths:
        return None
    config = checkpoint.read_json(f"{paths[0]}/config.json") or {}
    modes = [mode for flag, mode in _FLAGS.items() if config.get(flag)] or [config.get("pooling_mode", "mean")]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InvalidConfig(
            f"pooling of a sentence encoder must be one of {', '.join(_POOLINGS)}; {checkpoint.path} has {modes}"
        )
    return _POOLINGS[modes[0]]


_DROPOUTS: Final = ("classifier_dropout", "hidden_dropout_prob", "dropout_rate", "dropout")


def cut_with_pooling(model: Any, layout: Layout, pool: Pool) -> Layout:
    """Put `pool` in the place of what follows the last layer, and a linear classifier behind it."""
    config = model.config
    dropout = next((p for p in (getattr(config, n, None) for n in _DROPOUTS) if p is not None), 0.0)
    model.dropout, model.classifier = nn.Dropout(dropout), nn.Linear(config.hidden_size, config.num_labels)
    return replace(layout, pool=[Step(pool)], head=[Step(_classify, ("dropout", "classifier"))])


def _classify(features: Tensor, dropout: nn.Module, classifier: nn.Module) -> Tensor:
    logits: Tensor = classifier(dropout(features))
    return logits
