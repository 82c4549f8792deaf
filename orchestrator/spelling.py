"""Text for terminals and logs that know no Unicode: Windows code pages, ``LC_ALL=C``, old CI runners."""

from __future__ import annotations

import codecs
import io
import unicodedata
from types import MappingProxyType
from typing import Final, TextIO

__all__ = ["is_unicode", "spelled", "survive"]

# Each sign with how one would type it.
_SPELLINGS: Final = MappingProxyType(
    {
        **dict.fromkeys("\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{MIDDLE DOT}\N{HYPHEN}", "-"),
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        "\N{MULTIPLICATION SIGN}": "x",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "≠": "!=",
        "≈": "~",
        "→": "->",
        "µ": "u",
    }
)
_HANDLER: Final = "orchestrator.spelled"


def is_unicode(stream: TextIO) -> bool:
    """Whether `stream` takes every character. One that names no encoding, such as a string in memory, does."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def spelled(text: str) -> str:
    """`text` in ASCII: known signs as one would type them, letters without their accents, ``?`` for all else."""
    return text if text.isascii() else "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character.isascii():
        return character
    known = _SPELLINGS.get(character)
    if known is not None:
        return known
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii") or "?"


def survive(stream: TextIO) -> None:
    """Let `stream` spell what its encoding lacks, where printing it would raise an error or leave ``?``."""
    if isinstance(stream, io.TextIOWrapper) and not is_unicode(stream):
        stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


codecs.register_error(_HANDLER, _replaced)
