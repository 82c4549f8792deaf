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
    """Of single records, with the reason of each. What is taken later, or turns out to be there, is taken out."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._for_good: dict[str, str] = {}

    @property
    def complaint(self) -> str | None:
        """One sentence on what MLflow would not take; None when it took all."""
        reasons = {**self._for_good, **self._reasons}
        if not reasons:
            return None
        what, why = next(iter(reasons.items()))
        return f"{len(reasons)} records were refused, the first: {what}: {why}"

    def holds(self, what: str) -> bool:
        """Whether MLflow did not take this."""
        return what in self._reasons

    def give_up(self, what: str) -> None:
        """This will not be tried again: no later success takes it out."""
        if what in self._reasons:
            self._for_good[what] = self._reasons[what]

    @contextmanager
    def one(self, what: str, *, file: bool = False, is_cause: bool = False) -> Iterator[None]:
        """Keep what goes wrong with one record from stopping the others.

        Args:
            file: it goes to a store of its own, which may fail alone; if all of MLflow does, the next call tells.
            is_cause: without it others are refused as well, so it is the one to name.
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
            if is_cause:
                self._reasons = {what: self._reasons[what]} | self._reasons
        else:
            self._reasons.pop(what, None)
