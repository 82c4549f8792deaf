"""Text models whose layers all read one table of relative positions.

The table belongs to the first block that uses it and the others borrow it (see `Part`), so that what
travels between blocks stays hidden states and mask.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.backbones.hf.part import Layout, Step, first_of
from trainables.backbones.hf.pooling import average_tokens
from trainables.backbones.hf.tokens import (
    Inputs,
    Tokens,
    attention_mask,
    call,
    call_on_token,
    chain,
    embed_untyped,
    norm,
    take_first,
)

__all__ = ["cut_deberta", "cut_mpnet", "cut_t5"]


def cut_deberta(model: Any, _: Any) -> Layout:
    """Cut DeBERTa of version 1, 2 or 3 (which is a DeBERTa-v2).

    The relative embeddings, and the norm over them, belong to the embeddings' block; a convolution beside
    the first layer to that layer's. No checkpoint has a pretrained pooler, so it is part of the head.
    """
    encoder = model.deberta.encoder
    shared = tuple(f"deberta.encoder.{name}" for name in ("rel_embeddings", "LayerNorm") if hasattr(encoder, name))
    run = partial(_deberta_layer, config=model.config)
    blocks = [[Step(run, (f"deberta.encoder.layer.{i}",), shared)] for i in range(len(encoder.layer))]
    if getattr(encoder, "conv", None) is not None:
        paths = ("deberta.encoder.layer.0", "deberta.encoder.conv")
        blocks[0] = [Step(partial(_deberta_layer_and_conv, config=model.config), paths, shared)]
    return chain(
        Step(_deberta_embed, ("deberta.embeddings", *shared)),
        blocks,
        [Step(take_first)],
        [Step(_deberta_head, ("pooler", "dropout", "classifier"))],
    )


def _deberta_embed(inputs: Inputs, embeddings: nn.Module, *_: nn.Module) -> Tokens:
    ids, mask, types = inputs
    return embeddings(input_ids=ids, token_type_ids=types, mask=mask), mask


def _deberta_layer(state: Tokens, layer: nn.Module, *shared: Any, config: Any) -> Tokens:
    hidden, mask = state
    pairs = mask.unsqueeze(1).unsqueeze(2)
    options = {} if not shared else _deberta_positions(hidden, *shared, config=config)
    return first_of(layer(hidden, pairs * pairs.squeeze(-2).unsqueeze(-1), **options)), mask


def _deberta_layer_and_conv(state: Tokens, layer: nn.Module, conv: nn.Module, *shared: Any, config: Any) -> Tokens:
    hidden, mask = state
    return conv(hidden, _deberta_layer(state, layer, *shared, config=config)[0], mask), mask


def _deberta_positions(
    hidden: Tensor, table: nn.Embedding, table_norm: nn.Module | None = None, *, config: Any
) -> dict[str, Tensor]:
    from transformers.models.deberta import modeling_deberta
    from transformers.models.deberta_v2 import modeling_deberta_v2

    weight = table.weight if table_norm is None else table_norm(table.weight)
    if config.model_type == "deberta":
        return {"relative_pos": modeling_deberta.build_relative_position(hidden, hidden), "rel_embeddings": weight}
    reach = config.max_relative_positions
    positions = modeling_deberta_v2.build_relative_position(
        hidden,
        hidden,
        bucket_size=getattr(config, "position_buckets", -1),
        max_position=reach if reach >= 1 else config.max_position_embeddings,
    )
    return {"relative_pos": positions, "rel_embeddings": weight}


def _deberta_head(features: Tensor, pooler: nn.Module, dropout: nn.Module, classifier: nn.Module) -> Tensor:
    return call(call_on_token(features, pooler), dropout, classifier)


def cut_mpnet(model: Any, _: Any) -> Layout:
    table = "mpnet.encoder.relative_attention_bias"
    return chain(
        Step(embed_untyped, ("mpnet.embeddings", table)),
        [
            [Step(partial(_mpnet_layer, config=model.config), (f"mpnet.encoder.layer.{i}",), (table,))]
            for i in range(model.config.num_hidden_layers)
        ],
        [Step(take_first)],
        [Step(call_on_token, ("classifier",))],
    )


def _mpnet_layer(state: Tokens, layer: nn.Module, table: nn.Module, *, config: Any) -> Tokens:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    hidden, mask = state
    numbers = torch.arange(hidden.shape[1], device=hidden.device)
    # transformers computes 32 buckets whatever the table's size is.
    buckets = MPNetEncoder.relative_position_bucket(numbers[None, :] - numbers[:, None], num_buckets=32)
    bias = table(buckets).permute([2, 0, 1]).unsqueeze(0).expand((len(hidden), -1, -1, -1)).contiguous()
    return first_of(layer(hidden, attention_mask(config, hidden, mask), bias)), mask


def cut_t5(model: Any, _: Any) -> Layout:
    # The bias of relative positions is a table in layer 0. The encoder has no classifier of its own (that of
    # T5ForSequenceClassification reads the decoder), so the head is dropout and a linear layer on the mean.
    config, owner = model.config, "encoder.block.0.layer.0.SelfAttention"
    model.dropout, model.classifier = nn.Dropout(config.dropout_rate), nn.Linear(config.d_model, config.num_labels)
    # transformers calls one dropout at both ends; here either end must be able to be frozen alone.
    model.final_dropout = nn.Dropout(config.dropout_rate)
    return chain(
        Step(_t5_embed, ("encoder.embed_tokens", "encoder.dropout")),
        [
            [Step(partial(_t5_layer, config=config), (f"encoder.block.{i}",), (owner,))]
            for i in range(config.num_layers)
        ],
        [Step(average_tokens)],
        [Step(call, ("dropout", "classifier"))],
        after=(Step(norm, ("encoder.final_layer_norm",)), Step(norm, ("final_dropout",))),
    )


def _t5_embed(inputs: Inputs, words: nn.Module, dropout: nn.Module) -> Tokens:
    return dropout(words(inputs[0])), inputs[1]


def _t5_layer(state: Tokens, layer: nn.Module, owner: Any, *, config: Any) -> Tokens:
    hidden, mask = state
    length = hidden.shape[1]
    bias = owner.compute_bias(length, length, device=hidden.device)
    return layer(hidden, attention_mask(config, hidden, mask), bias)[0], mask
