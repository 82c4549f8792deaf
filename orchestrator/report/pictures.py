"""Pictures of explanations, made small enough to live in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.report.document import Block, Missing, Pictures, Shown
from orchestrator.report.evaluations import PictureFile
from orchestrator.report.studies import StudyRecords
from orchestrator.report.wording import plural

__all__ = ["embedded"]

_WIDEST: Final = 480
"""Pixels: what a column of the page shows."""

_TALLEST: Final = 960
_QUALITY: Final = 80
_MOST: Final = 8
"""Pictures of one backbone."""

_OVERHEAD: Final = 600
"""Bytes of markup around a picture, its caption twice apart."""


def embedded(studies: Sequence[StudyRecords], room: int) -> Mapping[str, Block]:
    """Anchor of a study -> its pictures, where it has any.

    Studies take turns, so that what is left out is left out of all alike.

    Args:
        studies: best first.
        room: bytes that all together may add to the page.
    """
    shown: dict[str, list[Shown]] = {study.anchor: [] for study in studies}
    broken: dict[str, int] = dict.fromkeys(shown, 0)
    for turn in range(_MOST):
        for study in studies:
            files = study.evaluated.pictures
            if turn >= len(files):
                continue
            data = _small(files[turn].path)
            if data is None:
                broken[study.anchor] += 1
                continue
            one = _shown(files[turn], data)
            size = len(one.address) + 2 * len(one.caption.encode()) + _OVERHEAD
            if size <= room:
                room -= size
                shown[study.anchor].append(one)
    return {
        study.anchor: _block(study, shown[study.anchor], broken[study.anchor])
        for study in studies
        if study.evaluated.pictures
    }


def _shown(file: PictureFile, data: bytes) -> Shown:
    address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return Shown(address=address, alt=file.caption, caption=f"{file.caption} (run #{file.number})")


def _block(study: StudyRecords, shown: Sequence[Shown], broken: int) -> Block:
    total = len(study.evaluated.pictures)
    unread = f"; {broken} could not be read" if broken else ""
    if not shown:
        how = f"{total} are in the folder pictures/{unread}"
        return Missing(what="Pictures", of=study.short, how=how, label="Not shown")
    rest = f", {len(shown)} of {total}; the others are in the folder pictures/" if len(shown) < total else ""
    return Pictures(
        items=tuple(shown),
        caption=f"What {study.short} looked at{rest}{unread}",
        basis=study.basis(
            num=f"{plural(len(shown), 'picture')} of one confirmation, a test sample each",
            unmeasured="whether other samples look alike; the measures of explanations are means over more",
        ),
    )


def _small(path: Path) -> bytes | None:
    """As JPEG on white; None for a file that is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((_WIDEST, _TALLEST))
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
