"""The kinds of input there are. Imports nothing, so that names can be looked up without torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["Modality"]

Modality = Literal["image", "text", "audio"]
