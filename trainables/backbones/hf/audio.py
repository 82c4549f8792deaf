"""transformers' audio classifiers: where their parts are.

Models of waveforms have the convolutional feature encoder as block 0, its projection with the positional
convolution as block 1, and then one block per layer; ``(hidden, mask)`` travels between them, float32
(batch, frames, width) and the int64 mask of real frames. Models of spectrograms (AST, Whisper) have one
length for all sounds and no mask: block 0 is their embeddings, and hidden states alone travel.

Two things that the original encoders do between their layers in training, and only there, are left out:
SpecAugment, which blanks random frames, and layerdrop, which skips random layers. A block is then the same
function whichever of its neighbours are frozen.

transformers projects every frame and averages the projections. Here the frames are averaged first and the
mean is projected, which is the same up to rounding, since both are linear: so the features are the
pretrained model's own and the new projection is part of the head.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from trainables.backbones.hf.family import Family
from trainables.backbones.hf.part import Layout, Step, first_of
from trainables.backbones.hf.preprocessing import audio_preprocessing
from trainables.errors import InvalidConfig

__all__ = ["AUDIO"]

Frames: TypeAlias = tuple[Tensor, Tensor]


def _call(x: Tensor, *modules: nn.Module) -> Tensor:
    for module in modules:
        x = first_of(module(x))
    return x


def _waveforms(model: Any, extractor: Any, *, base: str, run: Any = None, table: str = "") -> Layout:
    """Cut wav2vec2 and what is built like it."""
    config = model.config
    _require_last_layer(config)
    # Models whose extractor gives no mask (wav2vec2-base: its first convolution is normalised over time) were
    # trained on zero-padded sounds without one, and see the padding as silence. So what they make of a sound
    # depends, a little, on the longest one of its batch.
    masked = bool(extractor.return_attention_mask)
    # It asks for gradients of the waveform in training, which only gradient checkpointing would need.
    model.get_submodule(f"{base}.feature_extractor")._requires_grad = False
    stable = getattr(config, "do_stable_layer_norm", False)
    norm = f"{base}.encoder.layer_norm"
    shared = (f"{base}.{table}",) if table else ()
    run = partial(run or _layer, config=config, masked=masked)
    lengths = partial(_encode, kernels=tuple(config.conv_kernel), strides=tuple(config.conv_stride), masked=masked)
    project = [
        Step(partial(_project, masked=masked), (f"{base}.feature_projection", f"{base}.encoder.pos_conv_embed")),
        Step(_on_hidden, (*(() if stable else (norm,)), f"{base}.encoder.dropout")),
    ]
    layers = [[Step(run, (f"{base}.encoder.layers.{i}",), shared)] for i in range(config.num_hidden_layers)]
    if stable:
        layers[-1].append(Step(_on_hidden, (norm,)))
    return Layout(
        [[Step(lengths, (f"{base}.feature_extractor",))], project, *layers],
        [Step(partial(_average, masked=masked))],
        [Step(_call, ("projector", "classifier"))],
    )


def _require_last_layer(config: Any) -> None:
    if config.use_weighted_layer_sum:
        raise InvalidConfig(
            "a chain of blocks ends with the last layer; this checkpoint classifies a weighted sum of all its "
            "layers (use_weighted_layer_sum)"
        )


def _encode(
    state: Frames, encoder: nn.Module, *, kernels: tuple[int, ...], strides: tuple[int, ...], masked: bool
) -> Frames:
    waveforms, mask = state
    hidden = encoder(waveforms).transpose(1, 2)
    lengths = mask.sum(dim=-1)
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    numbers = torch.arange(hidden.shape[1], device=hidden.device)
    # A sound shorter than the receptive field has one frame, so that its mean is defined.
    real = numbers < lengths.clamp(min=1).unsqueeze(1) if masked else torch.ones_like(hidden[..., 0])
    return hidden, real.to(torch.int64)


def _project(state: Frames, projection: nn.Module, positions: nn.Module, *, masked: bool) -> Frames:
    hidden, mask = first_of(projection(state[0])), state[1]
    if masked:
        hidden = hidden.masked_fill(mask.unsqueeze(-1) == 0, 0)
    return hidden + positions(hidden), mask


def _on_hidden(state: Frames, *modules: nn.Module) -> Frames:
    return _call(state[0], *modules), state[1]


def _layer(state: Frames, layer: nn.Module, *, config: Any, masked: bool) -> Frames:
    from transformers.masking_utils import create_bidirectional_mask

    hidden, mask = state
    attention_mask = create_bidirectional_mask(
        config=config, inputs_embeds=hidden, attention_mask=mask.bool() if masked else None
    )
    return first_of(layer(hidden, attention_mask=attention_mask)), mask


def _wavlm_layer(state: Frames, layer: nn.Module, owner: Any, *, config: Any, masked: bool) -> Frames:
    """Run a layer of WavLM; the table of relative positions is in layer 0, its owner."""
    hidden, mask = state
    batch, length, _ = hidden.shape
    bias = owner.compute_bias(length, length).unsqueeze(0).repeat(batch, 1, 1, 1)
    bias = bias.view(batch * config.num_attention_heads, length, length)
    return first_of(layer(hidden, attention_mask=mask.bool() if masked else None, position_bias=bias)), mask


def _average(state: Frames, *, masked: bool) -> Tensor:
    hidden, mask = state
    if not masked:
        return hidden.mean(dim=1)
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, 0.0).sum(dim=1) / mask.sum(dim=1).view(-1, 1)


def _ast(model: Any, _: Any) -> Layout:
    base = "audio_spectrogram_transformer"
    return Layout(
        [
            [Step(_ast_embed, (f"{base}.embeddings",))],
            *([Step(_call, (f"{base}.layers.{i}",))] for i in range(model.config.num_hidden_layers)),
        ],
        [Step(_call, (f"{base}.layernorm",)), Step(_average_first_two)],
        [Step(_call, ("classifier",))],
    )


def _ast_embed(state: Frames, embeddings: nn.Module) -> Tensor:
    hidden: Tensor = embeddings(state[0])
    return hidden


def _average_first_two(hidden: Tensor) -> Tensor:
    """Of the class token and the distillation token."""
    return (hidden[:, 0] + hidden[:, 1]) / 2


def _whisper(model: Any, _: Any) -> Layout:
    _require_last_layer(model.config)
    # Sinusoids, which transformers keeps from training, but forgets to where it loads a checkpoint.
    model.encoder.embed_positions.requires_grad_(False)
    embed = partial(_whisper_embed, dropout=model.config.dropout)
    return Layout(
        [
            [Step(embed, ("encoder.conv1", "encoder.conv2", "encoder.embed_positions"))],
            *([Step(_whisper_layer, (f"encoder.layers.{i}",))] for i in range(model.config.encoder_layers)),
        ],
        [Step(_call, ("encoder.layer_norm",)), Step(_average_frames)],
        [Step(_call, ("projector", "classifier"))],
    )


def _whisper_embed(state: Frames, conv1: nn.Module, conv2: nn.Module, positions: Any, *, dropout: float) -> Tensor:
    spectrograms = state[0].transpose(1, 2).contiguous()  # frames come first here, and last in Whisper
    hidden = nn.functional.gelu(conv2(nn.functional.gelu(conv1(spectrograms)))).permute(0, 2, 1)
    hidden = hidden + positions(torch.arange(positions.num_embeddings, device=hidden.device))
    return nn.functional.dropout(hidden, p=dropout, training=conv1.training)


def _whisper_layer(hidden: Tensor, layer: nn.Module) -> Tensor:
    return first_of(layer(hidden, None))  # type: ignore[no-any-return]


def _average_frames(hidden: Tensor) -> Tensor:
    return hidden.mean(dim=1)


def _no_limit(_: Any) -> None:
    return None


def _whisper_limit(extractor: Any) -> float:
    return float(extractor.chunk_length)


def _family(model: str, cut: Any, *, time_last: bool = False, limit: Any = _no_limit) -> Family:
    preprocess = partial(audio_preprocessing, time_last=time_last, limit=limit)
    return Family(modality="audio", model=model, cut=cut, preprocess=preprocess)


AUDIO: Final = {
    "audio-spectrogram-transformer": _family("ASTForAudioClassification", _ast),
    "data2vec-audio": _family("Data2VecAudioForSequenceClassification", partial(_waveforms, base="data2vec_audio")),
    "hubert": _family("HubertForSequenceClassification", partial(_waveforms, base="hubert")),
    "wav2vec2": _family("Wav2Vec2ForSequenceClassification", partial(_waveforms, base="wav2vec2")),
    "wavlm": _family(
        "WavLMForSequenceClassification",
        partial(_waveforms, base="wavlm", run=_wavlm_layer, table="encoder.layers.0.attention"),
    ),
    "whisper": _family("WhisperForAudioClassification", _whisper, time_last=True, limit=_whisper_limit),
}
