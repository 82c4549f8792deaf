"""Images and sounds enter a transformers checkpoint as its own processor makes them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_checkpoints import IMAGES, SOUNDS, save_wave_extractor

from trainables.backbones import build
from trainables.backbones.hf import HfExtractor
from trainables.backbones.hf.checkpoint import Checkpoint
from trainables.catalog import lookup
from trainables.errors import InvalidConfig
from trainables.preprocessing import AudioPreprocessing


def image_preprocessing(folder: Path, family: str = "vit", **entries: Any) -> Any:
    IMAGES[family].save(folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
    return build(lookup(f"hf/{folder}")).preprocessing


@pytest.mark.parametrize(
    ("entries", "input_size", "crop_frac"),
    [
        ({"size": {"height": 32, "width": 32}}, 32, 1.0),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, 32, 0.8),
        ({"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32}, 32, 0.8),
        ({"size": 32, "do_center_crop": False, "crop_size": 16}, 32, 1.0),
    ],
)
def test_size_and_crop_of_an_image(tmp_path: Path, entries: Any, input_size: int, crop_frac: float) -> None:
    preprocessing = image_preprocessing(tmp_path, **entries)
    assert preprocessing.input_size == input_size
    assert preprocessing.crop_frac == pytest.approx(crop_frac)
    assert preprocessing.mean == (0.1, 0.2, 0.3)
    assert preprocessing.std == (0.4, 0.5, 0.6)


@pytest.mark.parametrize(("side", "crop_frac"), [(224, 0.875), (384, 1.0)])
def test_convnext_crops_below_384_pixels_only(tmp_path: Path, side: int, crop_frac: float) -> None:
    entries = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": side}, "crop_pct": 0.875}
    preprocessing = image_preprocessing(tmp_path, "convnext", **entries)
    assert (preprocessing.input_size, preprocessing.crop_frac) == (side, crop_frac)


def test_an_image_that_is_no_square_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="squares"):
        image_preprocessing(tmp_path, size={"height": 32, "width": 64})


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5},
    ],
    ids=lambda entries: ",".join(entries),
)
def test_pixels_are_scaled_and_normalised_as_the_processor_does(tmp_path: Path, entries: Any) -> None:
    from transformers import AutoImageProcessor

    preprocessing = image_preprocessing(tmp_path, **entries)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = AutoImageProcessor.from_pretrained(tmp_path)(list(pixels), return_tensors="pt").pixel_values
    torch.testing.assert_close(preprocessing.on_device()(pixels), expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("resample", "expected"), [(2, "bilinear"), (3, "bicubic")])
def test_interpolation_is_the_processors(tmp_path: Path, resample: int, expected: str) -> None:
    assert image_preprocessing(tmp_path, resample=resample).interpolation == expected


def audio_preprocessing(folder: Path, family: str) -> AudioPreprocessing:
    SOUNDS[family].save(folder)
    preprocessing = build(lookup(f"hf/{folder}")).preprocessing
    assert isinstance(preprocessing, AudioPreprocessing)
    return preprocessing


@pytest.mark.parametrize(
    ("family", "shape", "max_duration_s"),
    [("wav2vec2", (3000,), None), ("whisper", (100, 16), 1.0), ("ast", (64, 16), None)],
)
def test_sounds_become_what_the_checkpoints_extractor_makes(
    tmp_path: Path, family: str, shape: tuple[int, ...], max_duration_s: float | None
) -> None:
    from transformers import AutoFeatureExtractor

    preprocessing = audio_preprocessing(tmp_path, family)
    wave = np.sin(np.arange(3000, dtype=np.float32) / 20)
    features = preprocessing.extractor(wave)
    assert features.dtype == np.float32
    assert features.shape == shape
    expected = AutoFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=16000, return_tensors="np")
    expected = next(iter(expected.values()))[0]
    assert np.array_equal(features, expected.T if family == "whisper" else expected)
    assert preprocessing.sampling_rate == 16000
    assert preprocessing.max_duration_s == max_duration_s
    again = pickle.loads(pickle.dumps(preprocessing.extractor))
    assert again == preprocessing.extractor
    assert again.key == preprocessing.extractor.key


def test_the_extractors_key_changes_with_its_settings(tmp_path: Path) -> None:
    save_wave_extractor(tmp_path / "a")
    save_wave_extractor(tmp_path / "b", return_attention_mask=True)
    keys = {HfExtractor(Checkpoint(str(tmp_path / name)), False).key for name in ("a", "b")}
    assert len(keys) == 2


def test_a_sound_shorter_than_a_frame_has_a_mean(tmp_path: Path) -> None:
    SOUNDS["wav2vec2-layer-norm"].save(tmp_path)
    mask = torch.tensor([[1] * 400, [1] * 3 + [0] * 397])
    with torch.inference_mode():
        assert build(lookup(f"hf/{tmp_path}"))((torch.randn(2, 400) * mask, mask)).isfinite().all()
