"""Takes secrets out of everything that is shown, logged or written.

Four nets, as no one of them holds alone: what stands before ``@`` in a URI; values of names that sound secret; what
environment variables with such names hold; and passwords that were seen in a URI, wherever they turn up again, as in
``Port could not be cast to integer value as 'hunter2'``.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

__all__ = ["hide", "redact", "unrevealing"]

_NAME: Final = r"(?:password|passwd|pwd|secret|token|credential|(?:api|access|private|account)_?key)"
_USERINFO: Final = re.compile(r"(://)\S*@")
_VALUE: Final = re.compile(rf"(?i)\b([\w-]*{_NAME}|sas|sig)=([^&\s'\"]+)")
_QUOTED: Final = re.compile(rf"(?i)(['\"][\w-]*{_NAME}['\"]\s*[:=]\s*['\"])([^'\"]+)")
_HEADER: Final = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)?\s*)([^\s'\"]+)")
_BEARER: Final = re.compile(r"(?i)(\bbearer\s+)([\w.~+/=-]{16,})")

_SECRET_VARIABLE: Final = re.compile(
    r"(?i)(?:password|passwd|secret|token(?!izer)|credential|(?:api|access|private|account)_?key)"
    r"(?!.*_(?:path|file|dir|name|id)$)"
)
_PASSWORD: Final = re.compile(r"://[^\s:]*:(\S+)@")
_SHORTEST: Final = 6
"""A shorter word would be hidden in words of everyday."""

_SHORTEST_VARIABLE: Final = 8
"""The same for what is a secret by the name of its variable alone."""

_hidden: set[str] = set()


def redact(text: str) -> str:
    """`text` with ``***`` in place of every secret that is known or looks like one.

    The match in a URI runs to the last ``@`` of the word, as a password may hold an ``@`` of its own: hiding
    too much of a host is a nuisance, showing the end of a password is a leak.
    """
    if len(text) < _SHORTEST:
        return text
    for secret in sorted({*_hidden, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _VALUE.sub(r"\1=***", _USERINFO.sub(r"\1***@", text))
    for pattern in (_QUOTED, _HEADER, _BEARER):
        text = pattern.sub(r"\1***", text)
    return text


def hide(uri: str) -> None:
    """Remember the password in `uri`, as it stands there and as it is meant, for every text to come."""
    _hidden.update(_passwords(uri))


def unrevealing(error: Exception) -> Exception:
    """`error` itself; where it or one of its causes names a secret, another one that says the same without it."""
    told = "".join(traceback.format_exception(error))
    return error if redact(told) == told else RuntimeError(redact(f"{type(error).__name__}: {error}"))


def _passwords(text: str) -> Iterator[str]:
    """As written and as meant, whole and as far as a reader of URIs would get that takes ``/`` or ``?`` for an end."""
    for match in _PASSWORD.finditer(text):
        words = {match[1], unquote(match[1]), *re.split("[/?#@]", match[1])}
        yield from (word for word in words if len(word) >= _SHORTEST)


def _of_environment() -> Iterator[str]:
    for name, value in os.environb.items():
        yield from _of_variable(name, value)


@lru_cache(maxsize=4096)
def _of_variable(name: bytes, value: bytes) -> tuple[str, ...]:
    """Remembered, as it is asked of all variables for every text."""
    text = os.fsdecode(value)
    if _SECRET_VARIABLE.search(os.fsdecode(name)):
        return (text,) if len(text) >= _SHORTEST_VARIABLE else ()
    return tuple(_passwords(text)) if "@" in text else ()
