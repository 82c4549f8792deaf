"""What MLflow would not take, kept from stopping the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from orchestrator.tracking.failure import ForbiddenError, UnavailableError, reason_of

__all__ = ["Refusals"]

_LOG: Final = logging.getLogger(__name__)


class Refusals:
    """Of single records, with the reason of each. A file that is taken later is taken out."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @property
    def complaint(self) -> str | None:
        """One sentence on what MLflow would not take; None when it took all."""
        if not self._reasons:
            return None
        what, why = next(iter(self._reasons.items()))
        return f"{len(self._reasons)} records were refused, the first: {what}: {why}"

    @contextmanager
    def one(self, what: str, *, file: bool = False) -> Iterator[None]:
        """Keep what goes wrong with one record from stopping the others.

        Files go to a store of their own, which may fail alone; if all of MLflow does, the next call tells.
        """
        try:
            yield
        except ForbiddenError:
            raise
        except Exception as error:
            if isinstance(error, UnavailableError) and not file:
                raise
            _LOG.debug("MLflow lacks %s", what, exc_info=True)
            self._reasons[what] = reason_of(error)
        else:
            if file:
                self._reasons.pop(what, None)
