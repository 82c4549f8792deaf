"""The ways MLflow can fail, told apart in one place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from orchestrator.errors import one_line, redact

__all__ = ["ConflictError", "ForbiddenError", "RefusedError", "UnavailableError", "calling", "reason_of"]

_MAX_REASON: Final = 200
_TRANSIENT: Final = (408, 429)
_CONFLICT: Final = re.compile(r"\(\w+[\w.]*\.(IntegrityError|UniqueViolation)\)")
_CAUSE: Final = re.compile(r"\(Caused by \w+\((.*)\)\)$")


class UnavailableError(Exception):
    """MLflow does not answer, or answers with a fault of its own: worth another try."""


class ForbiddenError(Exception):
    """MLflow will not have us, or cannot be used at all: trying again changes nothing."""


class RefusedError(Exception):
    """MLflow takes other records but not this one."""


class ConflictError(RefusedError):
    """Somebody else inserted the same in the same moment. MLflow looks first, so a second try finds it there."""


def reason_of(error: Exception) -> str:
    """What an exception says, on one short line and without secrets; of a chain of causes, the first."""
    text = " ".join(str(error).split())
    if cause := _CAUSE.search(text):
        text = cause[1].rpartition(": ")[2].strip("'\" ")
    text = one_line(redact(text)) or type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 3]}..."


@contextmanager
def calling(stopped: Callable[[], bool]) -> Iterator[None]:
    """Around one call of mlflow: its exceptions become ours, and no call is made once time is up."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if stopped():
        raise UnavailableError("time was up")
    try:
        yield
    except MlflowException as error:
        status = error.get_http_status_code()
        if status in (401, 403):
            raise ForbiddenError(f"{reason_of(error)} (HTTP {status})") from error
        if status == 400 and _CONFLICT.search(str(error)):
            raise ConflictError(reason_of(error)) from error
        if 400 <= status < 500 and status not in _TRANSIENT:
            raise RefusedError(reason_of(error)) from error
        raise UnavailableError(reason_of(error)) from error
    except (OSError, SQLAlchemyError, json.JSONDecodeError) as error:  # no answer, no database, half an answer
        raise UnavailableError(reason_of(error)) from error
