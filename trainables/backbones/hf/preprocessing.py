"""What a transformers checkpoint is fed, from its own processor."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trainables.backbones.hf.checkpoint import Checkpoint
from trainables.errors import InvalidConfig
from trainables.preprocessing import AudioPreprocessing, ImagePreprocessing, TextPreprocessing

__all__ = [
    "HfExtractor",
    "HfTokenizer",
    "audio_preprocessing",
    "image_preprocessing",
    "load_extractor",
    "load_tokenizer",
    "text_preprocessing",
]

_DEFAULT_MAX_LENGTH: Final = 512
"""In tokens, for what has no limit of its own (T5): its pretraining's length."""

_INTERPOLATIONS: Final = {0: "bilinear", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""By PIL's number. Nearest (0) and Lanczos (1), which no supported family is published with, become the
kernel of the nearest width."""


def image_preprocessing(_: Checkpoint, config: Any, processor: Any) -> ImagePreprocessing:
    """Size, crop and normalisation.

    Raises:
        InvalidConfig: the checkpoint takes images that are not square, or does not say of what size.
    """
    resized = _side(processor.size) or getattr(config, "image_size", None)
    if not isinstance(resized, int):
        raise InvalidConfig(f"neither processor nor configuration says what size images have: {resized}")
    does_crop = bool(getattr(processor, "do_center_crop", False))
    crop = (_side(processor.crop_size) if does_crop else None) or resized
    fraction = crop / resized
    crop_pct = getattr(processor, "crop_pct", None)
    if crop_pct and not does_crop and resized < 384:
        # ConvNeXt's processor names the crop's side: it resizes to `crop_pct` more, and crops; from 384 up it
        # resizes and does not crop.
        fraction = crop_pct
    # Pixels are scaled to [0, 1] here; the processor may scale them otherwise, or not at all.
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    return ImagePreprocessing(
        input_size=crop,
        mean=_rgb(mean, scale),
        std=_rgb(std, scale),
        interpolation=_INTERPOLATIONS.get(int(processor.resample), "bicubic"),
        crop_frac=fraction,
    )


def _side(size: Any) -> int | None:
    sides = {side for side in (_entry(size, name) for name in ("shortest_edge", "height", "width")) if side}
    if len(sides) > 1:
        raise InvalidConfig(f"images enter as squares; this checkpoint takes {size}")
    return sides.pop() if sides else None


def _entry(size: Any, name: str) -> int | None:
    value = None if size is None else dict(size).get(name)
    return None if value is None else int(value)


def _rgb(values: Sequence[float], scale: float) -> tuple[float, float, float]:
    # 1/255 * 255 is not quite one, and the published numbers should come out as they are.
    red, green, blue = (value if abs(scale - 1) < 1e-9 else value / scale for value in values)
    return red, green, blue


@dataclass(frozen=True, slots=True)
class HfTokenizer:
    """A fast tokenizer of transformers. Equal, hashable and picklable by where its files are."""

    checkpoint: Checkpoint
    has_types: bool
    """Whether the model tells the texts of a pair apart by token types; elsewhere they are all 0."""

    @property
    def key(self) -> str:
        return f"{_tokenizer(self.checkpoint)[1]}{'-typed' if self.has_types else ''}"

    @property
    def pad_id(self) -> int:
        """The end of text where there is no padding token (GPT-2): the mask hides it all the same."""
        tokenizer = _tokenizer(self.checkpoint)[0]
        found = (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)
        return int(next(found))

    @property
    def mask_id(self) -> int | None:
        """Of the token that hides another one in pretraining; None where there was none (GPT-2, T5)."""
        found: int | None = _tokenizer(self.checkpoint)[0].mask_token_id
        return found

    def spelled(self, ids: Sequence[int]) -> list[str]:
        """Each token as text, for people."""
        tokenizer = _tokenizer(self.checkpoint)[0]
        return [str(tokenizer.decode([number])) for number in ids]

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> list[tuple[list[int], list[int]]]:
        """Tokens and types; of a pair the longer text is cut first. A text without any token becomes one
        padding token, so that no row of a batch is empty."""
        tokenizer = _tokenizer(self.checkpoint)[0]
        encoded = tokenizer(
            list(texts),
            None if pairs is None else list(pairs),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=True,
            verbose=False,
        )
        return [
            (ids, types if self.has_types else [0] * len(ids)) if ids else ([self.pad_id], [0])
            for ids, types in zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class HfExtractor:
    """A feature extractor of transformers for one sound. Equal, hashable and picklable by its files' place."""

    checkpoint: Checkpoint
    time_last: bool
    """Whether its features are (width, length): they are transposed then."""

    @property
    def key(self) -> str:
        return f"{_extractor(self.checkpoint)[1]}{'-transposed' if self.time_last else ''}"

    def __call__(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        extractor = _extractor(self.checkpoint)[0]
        # One sound at a time: only what pads to a fixed length of its own (AST, Whisper) pads.
        out = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="np")
        features = np.asarray(out[extractor.model_input_names[0]][0], dtype=np.float32)
        return np.ascontiguousarray(features.T) if self.time_last else features


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer, once per process.

    Raises:
        InvalidConfig: it is not a fast one.
    """
    return _tokenizer(checkpoint)[0]


def load_extractor(checkpoint: Checkpoint) -> Any:
    """The feature extractor, once per process."""
    return _extractor(checkpoint)[0]


def text_preprocessing(
    checkpoint: Checkpoint, config: Any, tokenizer: Any, *, positions: Callable[[Any], int | None]
) -> TextPreprocessing:
    """Tokenizer and length: the least of what the tokenizer, the positions and a sentence encoder allow."""
    sentence = checkpoint.read_json("sentence_bert_config.json") or {}
    limits = [positions(config), sentence.get("max_seq_length")]
    if tokenizer.model_max_length < 1e9:  # transformers writes 1e30 where nothing is known
        limits.append(int(tokenizer.model_max_length))
    return TextPreprocessing(
        tokenizer=HfTokenizer(checkpoint, has_types=getattr(config, "type_vocab_size", 0) >= 2),
        max_length=min((limit for limit in limits if limit), default=_DEFAULT_MAX_LENGTH),
    )


def audio_preprocessing(
    checkpoint: Checkpoint, _: Any, extractor: Any, *, time_last: bool, limit: Callable[[Any], float | None]
) -> AudioPreprocessing:
    """Sampling rate, extractor and longest sound."""
    return AudioPreprocessing(
        sampling_rate=int(extractor.sampling_rate),
        extractor=HfExtractor(checkpoint, time_last),
        max_duration_s=limit(extractor),
    )


@cache
def _tokenizer(checkpoint: Checkpoint) -> tuple[Any, str]:
    # The library warns, and turns it off, when a process forks after its threads have run.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = checkpoint.load(_load_filled_tokenizer)
    if not tokenizer.is_fast:
        raise InvalidConfig(f"{checkpoint.path} has no fast tokenizer (tokenizer.json)")
    # Before its first call, which writes truncation into its state.
    key = _digest(tokenizer.backend_tokenizer.to_str(), [])
    return tokenizer, key


def _load_filled_tokenizer(path: str, **options: Any) -> Any:
    """Load a tokenizer, and refuse the one without a vocabulary that transformers makes where its files are missing."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, **options)
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_tokens) + 4:
        raise OSError("no tokenizer with a vocabulary is there")
    return tokenizer


@cache
def _extractor(checkpoint: Checkpoint) -> tuple[Any, str]:
    import transformers
    from transformers.utils import is_speech_available

    extractor = checkpoint.load(transformers.AutoFeatureExtractor.from_pretrained)
    # Features are computed by transformers itself, and by torchaudio where that is installed.
    key = _digest(extractor.to_json_string(), [transformers.__version__, str(is_speech_available())])
    return extractor, key


def _digest(text: str, flags: list[str]) -> str:
    return hashlib.sha256(json.dumps([text, *flags]).encode()).hexdigest()
