"""Models of Hugging Face transformers, of images, text and sound, as chains of blocks."""

from __future__ import annotations

from trainables.backbones.hf.build import build_hf
from trainables.backbones.hf.checkpoint import TRUST_VARIABLE
from trainables.backbones.hf.packaged import PACKAGED_FOLDERS
from trainables.backbones.hf.preprocessing import HfExtractor, HfTokenizer

__all__ = ["PACKAGED_FOLDERS", "TRUST_VARIABLE", "HfExtractor", "HfTokenizer", "build_hf"]
