"""Steps that text models of several families take.

What travels between blocks is ``(hidden, mask)``: float32 (batch, length, width) and the int64 mask of
real tokens (batch, length). Each layer makes the mask that its attention takes anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from trainables.backbones.hf.part import Layout, Step, first_of

__all__ = [
    "Inputs",
    "Tokens",
    "attend",
    "attention_mask",
    "call",
    "call_on_token",
    "chain",
    "embed_typed",
    "embed_untyped",
    "layers",
    "norm",
    "take_first",
]

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""``(input_ids, attention_mask, token_type_ids)``, each int64 (batch, length), padded on the right."""

Tokens: TypeAlias = tuple[Tensor, Tensor]
"""Hidden states and mask."""


def chain(
    embed: Step, layers: list[list[Step]], pool: list[Step], head: list[Step], after: tuple[Step, ...] = ()
) -> Layout:
    """Embeddings and one block per layer; `after` and then `pool` follow the last of them."""
    *others, last = layers
    return Layout([[embed], *others, [*last, *after]], pool, head)


def layers(model: Any, path: str) -> list[list[Step]]:
    """A block for each layer of the list at `path`."""
    run = partial(attend, config=model.config)
    return [[Step(run, (f"{path}.{i}",))] for i in range(len(model.get_submodule(path)))]


def embed_typed(inputs: Inputs, embeddings: nn.Module, *projections: nn.Module) -> Tokens:
    ids, mask, types = inputs
    hidden = embeddings(input_ids=ids, token_type_ids=types)
    for projection in projections:
        hidden = projection(hidden)
    return hidden, mask


def embed_untyped(inputs: Inputs, embeddings: nn.Module, *_: nn.Module) -> Tokens:
    """Embed for a family that has no token types; modules that only belong to this block are let be."""
    ids, mask, _types = inputs
    return embeddings(ids), mask


def attend(state: Tokens, layer: nn.Module, *, config: Any) -> Tokens:
    """Run a layer that takes hidden states and an attention mask."""
    hidden, mask = state
    return first_of(layer(hidden, attention_mask=attention_mask(config, hidden, mask))), mask


def attention_mask(config: Any, hidden: Tensor, mask: Tensor) -> Tensor | None:
    """What the attention of `config` takes: transformers' own, None where nothing has to be masked."""
    from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

    if config.model_type == "gpt2" or getattr(config, "is_decoder", False):
        made = create_causal_mask(config=config, inputs_embeds=hidden, attention_mask=mask, past_key_values=None)
    else:
        made = create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=mask)
    return made  # type: ignore[no-any-return]


def norm(state: Tokens, module: nn.Module) -> Tokens:
    return module(state[0]), state[1]


def take_first(state: Tokens) -> Tensor:
    return state[0][:, 0]


def call(features: Tensor, *modules: nn.Module) -> Tensor:
    for module in modules:
        features = module(features)
    return features


def call_on_token(features: Tensor, head: nn.Module) -> Tensor:
    """Call a head that itself takes the first token out of a sequence."""
    logits: Tensor = head(features.unsqueeze(1))
    return logits
