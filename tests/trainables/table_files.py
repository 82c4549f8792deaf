"""Tables written for a test, and what opening them gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainables.config import TaskSpec
from trainables.data.source import Source, open_source
from trainables.errors import DataError

__all__ = ["opened", "png", "refused", "written"]


def opened(data: Path, **fields: Any) -> Source:
    return open_source(TaskSpec(name="t", data=str(data), **fields))


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def refused(data: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        opened(data, **fields)
    return str(caught.value)
