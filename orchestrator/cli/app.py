"""The application: commands, and how errors become exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from orchestrator.cli import (
    describe_commands,
    doctor_command,
    export_command,
    init_command,
    result_commands,
    resume_command,
    show_command,
    sweep_command,
    ui_command,
)
from orchestrator.errors import OrchestratorError, redact
from orchestrator.redaction import hide
from orchestrator.spelling import survive
from trainables.errors import TrainableError

__all__ = ["app", "main", "run"]

INTERRUPTED = 130

app = typer.Typer(
    name="orchestrator",
    help=("Find which pretrained backbone adapts best to your data, how deep to freeze it and at which learning rate."),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("sweep")(sweep_command.sweep)
app.command("resume")(resume_command.resume)
app.command("report")(result_commands.report)
app.command("rank")(result_commands.rank)
app.command("compare")(result_commands.compare)
app.command("ls")(result_commands.ls)
app.command("show")(show_command.show)
app.command("ui")(ui_command.ui)
app.command("export")(export_command.export)
app.command("init")(init_command.init)
app.command("backbones")(describe_commands.backbones)
app.command("validate")(describe_commands.validate)
app.command("schema")(describe_commands.schema)
app.command("doctor")(doctor_command.doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a traceback is shown with ``-v`` only."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        survive(stream)
    for argument in arguments:
        hide(argument)
    try:
        code = app(args=arguments, standalone_mode=False)
        return int(code or 0)
    except TyperException as error:
        prefix = "error: " if arguments else ""  # of a bare call the message is the help
        print(redact(f"{prefix}{error.format_message()}"), file=sys.stderr)
        return 2
    except (OrchestratorError, TrainableError) as error:
        _tell(error, verbose=_verbose(arguments))
        return getattr(error, "exit_code", 2)
    except (KeyboardInterrupt, typer.Abort) as error:
        print("interrupted", file=sys.stderr)
        return getattr(error, "exit_code", INTERRUPTED)
    except Exception as error:
        _tell(error, "internal error, please report it; -v shows the traceback: ", verbose=_verbose(arguments))
        return 1


def run() -> NoReturn:
    """`main` as a process of its own, which ends at once.

    All is closed and written by then; unloading torch, Ray and MLflow piece by piece would take seconds.
    """
    threading.excepthook = _tell_of_thread
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _tell_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        print(redact("".join(traceback.format_exception(ended.exc_value))), end="", file=sys.stderr)


def _verbose(arguments: Sequence[str]) -> bool:
    return "-v" in arguments or "--verbose" in arguments


def _tell(error: Exception, prefix: str = "error: ", *, verbose: bool = False) -> None:
    if verbose:
        print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        return
    text = str(error)
    separator = "\n" if "\n" in text else ""
    name = f"{type(error).__name__}: " if prefix.startswith("internal") else ""
    print(redact(f"{prefix}{name}{separator}{text}"), file=sys.stderr)
