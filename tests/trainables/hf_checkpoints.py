"""Folders as transformers saves them, one tiny model with random weights per family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIDE = 32
WORDS = [f"word{i}" for i in range(40)]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]"}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """One family, made small. `model` is the class of transformers that classifies."""

    model: str
    config: str
    sizes: dict[str, Any] = field(default_factory=dict)
    save_processor: Callable[[Path], None]

    @property
    def name(self) -> str:
        return self.config.removesuffix("Config")

    def make_config(self, **overrides: Any) -> Any:
        import transformers

        return getattr(transformers, self.config)(**{"num_labels": 7, **self.sizes, **overrides})

    def save(self, folder: Path, **overrides: Any) -> Any:
        """Write model and processor; return the model in eval mode."""
        import transformers

        torch.manual_seed(1)  # not the seed that controls are built under
        model = shaken(getattr(transformers, self.model)(self.make_config(**overrides)))
        model.save_pretrained(folder)
        self.save_processor(folder)
        return model.eval()


def shaken(model: Any) -> Any:
    """Move every parameter: zeros, ones and layer scales of 1e-6 would hide a part that is left out."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.rand(parameter.shape, generator=generator) - 0.5
            parameter.add_((0.2 if parameter.ndim <= 1 or "lambda" in name else 0.1) * noise)
    return model


def save_image_processor(folder: Path) -> None:
    import transformers

    transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    ).save_pretrained(folder)


def save_tokenizer(folder: Path, **options: Any) -> None:
    """Words to numbers, ``[CLS] a [SEP] b [SEP]``; the padding is number 1, as in RoBERTa."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[UNK]", "[PAD]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{**SPECIAL, **options}).save_pretrained(folder)


def save_wave_extractor(folder: Path, *, return_attention_mask: bool = False) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(return_attention_mask=return_attention_mask).save_pretrained(folder)


def save_masked_wave_extractor(folder: Path) -> None:
    save_wave_extractor(folder, return_attention_mask=True)


def save_ast_extractor(folder: Path) -> None:
    from transformers import ASTFeatureExtractor

    ASTFeatureExtractor(num_mel_bins=16, max_length=64).save_pretrained(folder)


def save_whisper_extractor(folder: Path) -> None:
    from transformers import WhisperFeatureExtractor

    WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)


_LAYERS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
_PATCHES = {**_LAYERS, "image_size": SIDE, "patch_size": 8}
_STAGES = {
    "image_size": SIDE,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [1, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_CONVS = {"num_stages": 2, "hidden_sizes": [16, 32], "depths": [1, 2], "image_size": SIDE}
_WORDS = {**_LAYERS, "vocab_size": 44, "max_position_embeddings": 40, "pad_token_id": 1}
_WAVES = {
    **_LAYERS,
    "conv_dim": [16, 16],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
}


def _image(name: str, **sizes: Any) -> Tiny:
    return Tiny(
        model=f"{name}ForImageClassification", config=f"{name}Config", sizes=sizes, save_processor=save_image_processor
    )


def _text(name: str, model: str | None = None, **sizes: Any) -> Tiny:
    model = model or f"{name}ForSequenceClassification"
    return Tiny(model=model, config=f"{name}Config", sizes=sizes, save_processor=save_tokenizer)


def _wave(name: str, save: Callable[[Path], None] = save_wave_extractor, **sizes: Any) -> Tiny:
    model = f"{name}ForSequenceClassification"
    return Tiny(model=model, config=f"{name}Config", sizes={**_WAVES, **sizes}, save_processor=save)


IMAGES = {
    "vit": _image("ViT", **_PATCHES),
    "beit": _image("Beit", **_PATCHES, use_relative_position_bias=True, layer_scale_init_value=0.1),
    "beit-shared-bias": _image("Beit", **_PATCHES, use_shared_relative_position_bias=True, use_mean_pooling=False),
    "convnext": _image("ConvNext", **_CONVS),
    "convnextv2": _image("ConvNextV2", **_CONVS),
    "deit": _image("DeiT", **_PATCHES),
    "dinov2": _image("Dinov2", **_PATCHES),
    "dinov2_with_registers": _image("Dinov2WithRegisters", **_PATCHES),
    "resnet": _image("ResNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 2], layer_type="basic"),
    "swin": _image("Swin", **_STAGES),
    "swinv2": _image("Swinv2", **_STAGES),
}

TEXTS = {
    "bert": _text("Bert", **_WORDS),
    "albert": _text("Albert", **_WORDS, embedding_size=16, num_hidden_groups=2),
    "albert-one-group": _text("Albert", **_WORDS, embedding_size=16),
    "camembert": _text("Camembert", **_WORDS),
    "deberta": _text("Deberta", **_WORDS, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": _text(
        "DebertaV2", **_WORDS, relative_attention=True, pos_att_type=["c2p", "p2c"], conv_kernel_size=3
    ),
    "deberta-v3": _text(
        "DebertaV2",
        **_WORDS,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_buckets=8,
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "distilbert": _text("DistilBert", **_WORDS, dim=32, n_layers=3, n_heads=2, hidden_dim=64),
    "electra": _text("Electra", **_WORDS, embedding_size=16),
    "gpt2": _text("GPT2", vocab_size=44, n_positions=40, n_embd=32, n_layer=3, n_head=2, pad_token_id=1),
    "modernbert": _text("ModernBert", **_WORDS, local_attention=8, global_attn_every_n_layers=2),
    "modernbert-mean": _text("ModernBert", **_WORDS, local_attention=8, classifier_pooling="mean"),
    "mpnet": _text("MPNet", **_WORDS),
    "roberta": _text("Roberta", **_WORDS),
    "t5": _text(
        "T5", "T5EncoderModel", vocab_size=44, d_model=32, d_kv=16, d_ff=64, num_layers=3, num_heads=2, pad_token_id=1
    ),
    "xlm-roberta": _text("XLMRoberta", **_WORDS),
}

SOUNDS = {
    "wav2vec2": _wave("Wav2Vec2"),
    "wav2vec2-layer-norm": _wave(
        "Wav2Vec2", save_masked_wave_extractor, feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "data2vec-audio": _wave(
        "Data2VecAudio", save_masked_wave_extractor, conv_pos_kernel_size=3, num_conv_pos_embeddings=2
    ),
    "hubert": _wave("Hubert"),
    "hubert-layer-norm": _wave(
        "Hubert", save_masked_wave_extractor, feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "wavlm": _wave("WavLM", save_masked_wave_extractor),
    "wavlm-stable": _wave("WavLM", feat_extract_norm="layer", do_stable_layer_norm=True),
    "ast": Tiny(
        model="ASTForAudioClassification",
        config="ASTConfig",
        sizes={**_LAYERS, "num_mel_bins": 16, "max_length": 64, "patch_size": 8},
        save_processor=save_ast_extractor,
    ),
    "whisper": Tiny(
        model="WhisperForAudioClassification",
        config="WhisperConfig",
        sizes={
            "vocab_size": 44,
            "num_mel_bins": 16,
            "d_model": 32,
            "encoder_layers": 3,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "max_source_positions": 50,
            "classifier_proj_size": 12,
            "pad_token_id": 1,
        },
        save_processor=save_whisper_extractor,
    ),
}


class EncoderWithMean(nn.Module):
    """T5's encoder, the mean of its tokens and a linear layer."""

    def __init__(self, model: Any, classifier: nn.Module) -> None:
        super().__init__()
        self.encoder, self.classifier = model.encoder, classifier

    def forward(self, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ids, mask, _ = inputs
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).float()
        logits: Tensor = self.classifier((hidden * weights).sum(1) / weights.sum(1))
        return logits


class MeanThenProjection(nn.Module):
    """An audio classifier that averages frames before it projects them and not after."""

    def __init__(self, model: Any, base: str) -> None:
        super().__init__()
        self.add_module(base, getattr(model, base))
        self.projector, self.classifier = model.projector, model.classifier
        self.base, self.frame_mask = base, getattr(model, "_get_feature_vector_attention_mask", None)

    def forward(self, **inputs: Tensor) -> Any:
        from types import SimpleNamespace

        hidden = self.get_submodule(self.base)(**inputs).last_hidden_state
        if "attention_mask" in inputs:
            assert self.frame_mask is not None
            mask = self.frame_mask(hidden.shape[1], inputs["attention_mask"])
            hidden = hidden.masked_fill(~mask.unsqueeze(-1), 0)
            features = hidden.sum(1) / mask.sum(1, keepdim=True)
        else:
            features = hidden.mean(1)
        return SimpleNamespace(logits=self.classifier(self.projector(features)))
