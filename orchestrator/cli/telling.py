"""What a command that runs a sweep says on stderr, to people or to programs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.options import stderr
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.events import EventWriter
from orchestrator.terminal import Progress, is_live
from trainables.errors import TrainableError

if TYPE_CHECKING:
    from orchestrator.display import Board
    from orchestrator.planning.plan import Plan

__all__ = ["Teller"]

_LABEL: Final = 10
"""Characters of a label and the spaces behind it."""


class Teller:
    """Sentences and events of one command.

    Args:
        quiet: ``-q``, the same as ``--progress none``.

    Raises:
        UsageError: `progress` contradicts `quiet`, or needs a terminal that is not there.
    """

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._console = stderr()
        if quiet and progress not in ("auto", "none"):
            raise UsageError(f"-q is --progress none: give one of the two, got --progress {progress} beside it")
        if progress == "live" and not is_live(self._console):
            raise UsageError(
                "--progress live must have a terminal on stderr that can redraw itself, and finds none; "
                "use --progress lines, or leave it to auto"
            )
        self._progress: Progress = "none" if quiet else progress
        self._events = EventWriter(self._console.file) if progress == "jsonl" else None

    def say(self, sentence: str) -> None:
        """Tell what should be known even by those who asked for no progress."""
        if self._events is not None:
            self._events.write("said", message=sentence)
        else:
            self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def mention(self, sentence: str) -> None:
        """Tell what may be left out."""
        if self._progress != "none":
            self.say(sentence)

    def announce(self, lines: Sequence[tuple[str, str]]) -> None:
        """Labels with their texts, folded where a terminal is too narrow for them; programs have events for it."""
        if self._progress in ("none", "jsonl"):
            return
        for label, text in lines:
            indent = " " * _LABEL if label else "  "
            first = f"{label:<{_LABEL}}" if label else ""
            width = self._console.width if self._console.is_terminal else 10_000
            folded = textwrap.fill(
                text,
                width,
                initial_indent=first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            self._console.print(folded, highlight=False, markup=False, soft_wrap=True)

    def event(self, event: str, /, **values: Any) -> None:
        """For programs alone."""
        if self._events is not None:
            self._events.write(event, **values)

    def board(self, plan: Plan) -> Board:
        """What shows the progress of `plan`."""
        from orchestrator.display import make_board

        return make_board(plan, self._console, self._progress)

    def ending(self, act: Callable[[], int], *, verbose: bool) -> int:
        """Do it, and tell programs how it ended. Returns the exit code.

        Raises:
            Exception: what `act` raised, for people to read; to programs it has been told, and only with
                `verbose` comes its traceback.
        """
        if self._events is None:
            return act()
        try:
            code, told = act(), None
        except (Exception, KeyboardInterrupt) as error:
            code, told = _exit_code(error), str(error) or type(error).__name__
            if verbose:
                self.event("ended", exit_code=code, error=told)
                raise
        self.event("ended", exit_code=code, error=told)
        return code


def _exit_code(error: BaseException) -> int:
    """As `orchestrator.cli.main` has it."""
    if isinstance(error, KeyboardInterrupt):
        return int(getattr(error, "exit_code", 130))
    if isinstance(error, OrchestratorError | TrainableError):
        return int(getattr(error, "exit_code", 2))
    return 1
