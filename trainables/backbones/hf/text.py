"""transformers' text classifiers: where their parts are.

Block 0 is the embeddings, with what projects them to the layers' width. Then comes one block per layer,
and the last ends with the final norm, the pretrained pooler and the choice of the token that is classified.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.backbones.hf.family import Family
from trainables.backbones.hf.part import Layout, Step
from trainables.backbones.hf.preprocessing import text_preprocessing
from trainables.backbones.hf.relative import cut_deberta, cut_mpnet, cut_t5
from trainables.backbones.hf.tokens import (
    Inputs,
    Tokens,
    attend,
    call,
    call_on_token,
    chain,
    embed_typed,
    embed_untyped,
    layers,
    norm,
    take_first,
)

__all__ = ["TEXT"]


def _bert(model: Any, _: Any) -> Layout:
    return chain(
        Step(embed_typed, ("bert.embeddings",)),
        layers(model, "bert.encoder.layer"),
        [Step(_call_pooler, ("bert.pooler",))],
        [Step(call, ("dropout", "classifier"))],
    )


def _call_pooler(state: Tokens, pooler: nn.Module) -> Tensor:
    pooled: Tensor = pooler(state[0])
    return pooled


def _roberta(model: Any, _: Any, *, base: str = "roberta") -> Layout:
    # ELECTRA has these parts too; where its embeddings are narrower than its layers they are projected.
    projection = (f"{base}.embeddings_project",) if hasattr(model.get_submodule(base), "embeddings_project") else ()
    return chain(
        Step(embed_typed, (f"{base}.embeddings", *projection)),
        layers(model, f"{base}.encoder.layer"),
        [Step(take_first)],
        [Step(call_on_token, ("classifier",))],
    )


def _distilbert(model: Any, _: Any) -> Layout:
    if model.config.sinusoidal_pos_embds:  # constants, though transformers forgets it where it loads a checkpoint
        model.distilbert.embeddings.position_embeddings.requires_grad_(False)
    return chain(
        Step(embed_untyped, ("distilbert.embeddings",)),
        layers(model, "distilbert.transformer.layer"),
        [Step(take_first)],
        [Step(_distilbert_head, ("pre_classifier", "dropout", "classifier"))],
    )


def _distilbert_head(features: Tensor, dense: nn.Module, dropout: nn.Module, classifier: nn.Module) -> Tensor:
    logits: Tensor = classifier(dropout(torch.relu(dense(features))))
    return logits


def _albert(model: Any, _: Any) -> Layout:
    # The layers of a group have the same weights, so all repetitions of a group are one block: most
    # checkpoints have a single group, hence two blocks.
    config = model.config
    repeats = [0] * config.num_hidden_groups
    for layer in range(config.num_hidden_layers):
        repeats[int(layer / (config.num_hidden_layers / config.num_hidden_groups))] += 1
    return chain(
        Step(embed_typed, ("albert.embeddings", "albert.encoder.embedding_hidden_mapping_in")),
        [
            [Step(partial(_albert_group, config=config, repeats=count), (f"albert.encoder.albert_layer_groups.{i}",))]
            for i, count in enumerate(repeats)
        ],
        [Step(_albert_pooler, ("albert.pooler", "albert.pooler_activation"))],
        [Step(call, ("dropout", "classifier"))],
    )


def _albert_group(state: Tokens, group: nn.Module, *, config: Any, repeats: int) -> Tokens:
    for _ in range(repeats):
        state = attend(state, group, config=config)
    return state


def _albert_pooler(state: Tokens, dense: nn.Module, activation: nn.Module) -> Tensor:
    return call(state[0][:, 0], dense, activation)


def _gpt2(model: Any, _: Any) -> Layout:
    # transformers classifies every token and then picks one, which is the same logits as picking first.
    return chain(
        Step(_gpt2_embed, ("transformer.wte", "transformer.wpe", "transformer.drop")),
        layers(model, "transformer.h"),
        [Step(_take_last)],
        [Step(call, ("score",))],
        after=(Step(norm, ("transformer.ln_f",)),),
    )


def _gpt2_embed(inputs: Inputs, words: nn.Module, positions: nn.Module, dropout: nn.Module) -> Tokens:
    ids, mask, _ = inputs
    numbers = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    return dropout(words(ids) + positions(numbers)), mask


def _take_last(state: Tokens) -> Tensor:
    """The last token that is no padding, the only one a causal model has shown the whole text."""
    hidden, mask = state
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]


def _modernbert(model: Any, _: Any) -> Layout:
    # Rotary frequencies are constants without parameters: every block has them.
    pool = {"cls": take_first, "mean": _average_unclamped}[model.config.classifier_pooling]
    return chain(
        Step(embed_untyped, ("model.embeddings",)),
        [
            [Step(partial(_modernbert_layer, config=model.config), (f"model.layers.{i}", "model.rotary_emb"))]
            for i in range(model.config.num_hidden_layers)
        ],
        [Step(pool)],
        [Step(call, ("head", "drop", "classifier"))],
        after=(Step(norm, ("model.final_norm",)),),
    )


def _modernbert_layer(state: Tokens, layer: Any, rotary: nn.Module, *, config: Any) -> Tokens:
    from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

    hidden, mask = state
    kind = layer.attention_type
    make = create_bidirectional_mask if kind == "full_attention" else create_bidirectional_sliding_window_mask
    attention_mask = make(config=config, inputs_embeds=hidden, attention_mask=mask)
    numbers = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
    return layer(hidden, attention_mask=attention_mask, position_embeddings=rotary(hidden, numbers, kind)), mask


def _average_unclamped(state: Tokens) -> Tensor:
    hidden, mask = state
    return (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _positions(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def _positions_after_padding(config: Any) -> int | None:
    """Positions are numbered from the padding token's number upwards, and that one is not used."""
    padding = 1 if config.model_type == "mpnet" else config.pad_token_id
    return int(config.max_position_embeddings) - padding - 1


def _unlimited(_: Any) -> None:
    return None


def _family(model: str, cut: Any, positions: Any = _positions) -> Family:
    return Family(modality="text", model=model, cut=cut, preprocess=partial(text_preprocessing, positions=positions))


TEXT: Final = {
    "albert": _family("AlbertForSequenceClassification", _albert),
    "bert": _family("BertForSequenceClassification", _bert),
    "camembert": _family("CamembertForSequenceClassification", _roberta, _positions_after_padding),
    "deberta": _family("DebertaForSequenceClassification", cut_deberta),
    "deberta-v2": _family("DebertaV2ForSequenceClassification", cut_deberta),
    "distilbert": _family("DistilBertForSequenceClassification", _distilbert),
    "electra": _family("ElectraForSequenceClassification", partial(_roberta, base="electra")),
    "gpt2": _family("GPT2ForSequenceClassification", _gpt2),
    "modernbert": _family("ModernBertForSequenceClassification", _modernbert),
    "mpnet": _family("MPNetForSequenceClassification", cut_mpnet, _positions_after_padding),
    "roberta": _family("RobertaForSequenceClassification", _roberta, _positions_after_padding),
    "t5": _family("T5EncoderModel", cut_t5, _unlimited),
    "xlm-roberta": _family("XLMRobertaForSequenceClassification", _roberta, _positions_after_padding),
}
