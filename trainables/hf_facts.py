"""Facts of the transformers checkpoints people ask for most, from their published configurations.

Nothing is fetched: where a checkpoint's ``config.json`` differs from the defaults of its configuration class
(which are those of the family's reference checkpoint), the difference is written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import Tensor

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.modality import Modality
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, State

__all__ = ["HF_CHECKPOINTS", "NUM_TOKENS", "Published", "build_published", "example"]

NUM_TOKENS: Final = 128
"""Length of the text that FLOPs and activations are stated for."""

SIDE: Final = 224
"""Side in pixels that every checkpoint of images in the table crops to."""

_LARGE: Final = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_BASE: Final = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_ROBERTA: Final = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_DEBERTA_V3: Final = {
    "vocab_size": 128100,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": -1,
}


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint's architecture."""

    modality: Modality
    config: str
    """Configuration class of transformers."""

    changes: dict[str, Any] = field(default_factory=dict)
    """What differs from its defaults."""


HF_CHECKPOINTS: Final = {
    "answerdotai/ModernBERT-base": Published("text", "ModernBertConfig"),
    "albert/albert-base-v2": Published(
        "text", "AlbertConfig", {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    ),
    "distilbert/distilbert-base-uncased": Published("text", "DistilBertConfig"),
    "FacebookAI/roberta-base": Published("text", "RobertaConfig", {**_BASE, **_ROBERTA}),
    "FacebookAI/roberta-large": Published("text", "RobertaConfig", {**_LARGE, **_ROBERTA}),
    "FacebookAI/xlm-roberta-base": Published("text", "XLMRobertaConfig", {**_BASE, **_ROBERTA, "vocab_size": 250002}),
    "google-bert/bert-base-uncased": Published("text", "BertConfig"),
    "google-bert/bert-large-uncased": Published("text", "BertConfig", _LARGE),
    "google-t5/t5-base": Published(
        "text", "T5Config", {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    ),
    "google-t5/t5-small": Published("text", "T5Config"),
    "google/electra-base-discriminator": Published("text", "ElectraConfig", {**_BASE, "embedding_size": 768}),
    "google/electra-small-discriminator": Published("text", "ElectraConfig"),
    "microsoft/deberta-v3-base": Published("text", "DebertaV2Config", {**_BASE, **_DEBERTA_V3}),
    "microsoft/deberta-v3-small": Published(
        "text", "DebertaV2Config", {**_BASE, **_DEBERTA_V3, "num_hidden_layers": 6}
    ),
    "microsoft/mpnet-base": Published("text", "MPNetConfig"),
    "openai-community/gpt2": Published("text", "GPT2Config"),
    "sentence-transformers/all-MiniLM-L6-v2": Published(
        "text",
        "BertConfig",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "facebook/hubert-base-ls960": Published("audio", "HubertConfig"),
    "facebook/wav2vec2-base": Published("audio", "Wav2Vec2Config"),
    "microsoft/wavlm-base": Published("audio", "WavLMConfig"),
    "MIT/ast-finetuned-audioset-10-10-0.4593": Published("audio", "ASTConfig", {"max_length": 1024}),
    "openai/whisper-tiny": Published("audio", "WhisperConfig"),
    "openai/whisper-base": Published(
        "audio", "WhisperConfig", {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
    ),
    "openai/whisper-small": Published(
        "audio",
        "WhisperConfig",
        {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072},
    ),
    "facebook/convnext-tiny-224": Published("image", "ConvNextConfig"),
    "facebook/dinov2-base": Published("image", "Dinov2Config", {"image_size": 518, "patch_size": 14}),
    "facebook/dinov2-small": Published(
        "image", "Dinov2Config", {"image_size": 518, "patch_size": 14, "hidden_size": 384, "num_attention_heads": 6}
    ),
    "google/vit-base-patch16-224": Published("image", "ViTConfig"),
    "microsoft/beit-base-patch16-224": Published(
        "image", "BeitConfig", {"use_relative_position_bias": True, "use_mean_pooling": True}
    ),
    "microsoft/swin-tiny-patch4-window7-224": Published("image", "SwinConfig"),
}
"""By hub id."""


def build_published(hub_id: str) -> Backbone:
    """The architecture of a checkpoint of the table, untrained, on torch's current device."""
    import transformers

    published = HF_CHECKPOINTS[hub_id]
    config = getattr(transformers, published.config)(**published.changes)
    with TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        _save_processor(config, Path(folder))
        return build(lookup(f"hf/{folder}@random"))


def example(backbone: Backbone) -> tuple[State, int]:
    """One sample as the backbone takes it, and its size: side, tokens, or samples of one second."""
    fed = backbone.preprocessing
    if isinstance(fed, ImagePreprocessing):
        return torch.empty(1, 3, fed.input_size, fed.input_size), fed.input_size
    if isinstance(fed, AudioPreprocessing):
        import numpy as np

        frames = torch.empty(fed.extractor(np.zeros(fed.sampling_rate, dtype=np.float32)).shape)
        return (frames[None], _ones(len(frames))), fed.sampling_rate
    mask = _ones(NUM_TOKENS)
    return (mask, mask, torch.zeros_like(mask)), NUM_TOKENS


def _ones(length: int) -> Tensor:
    return torch.ones(1, length, dtype=torch.int64)


def _save_processor(config: Any, folder: Path) -> None:
    """What a folder needs besides the configuration; no figure depends on what it says."""
    import transformers

    match config.model_type:
        case "audio-spectrogram-transformer":
            transformers.ASTFeatureExtractor(max_length=config.max_length).save_pretrained(folder)
        case "whisper":
            transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
        case "wav2vec2" | "hubert" | "wavlm":
            transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
        case _ if hasattr(config, "vocab_size") and not hasattr(config, "image_size"):
            _save_tokenizer(folder)
        case _:
            transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = {word: number for number, word in enumerate([*special, *(f"word{i}" for i in range(20))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
