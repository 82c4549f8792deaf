"""MLflow's SQLite database: made whole or not at all, by one process, and missed when it is gone.

MLflow makes one step by step over several seconds. A process that is killed meanwhile would leave a database
that no MLflow opens again, and one that looks at it meanwhile takes it for that of an older version. So it is
made under another name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from orchestrator.tracking.failure import UnavailableError

__all__ = ["Database", "dispose", "make_database"]

_NEW: Final = ".new-"


def make_database(path: Path, connect: Callable[[str], Any]) -> None:
    """Make the database at `path`, unless it is there; who comes second waits for the first.

    Args:
        connect: makes a client of the database at a URI, which migrates it.

    Raises:
        OSError: the folder cannot be written.
    """
    if _has_content(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")) as is_alone:
        if _has_content(path):
            return
        if is_alone:
            for left in path.parent.glob(f".{path.name}{_NEW}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            path.unlink(missing_ok=True)  # it is empty
        with tempfile.TemporaryDirectory(prefix=f".{path.name}{_NEW}", dir=path.parent) as folder:
            made = Path(folder) / path.name
            dispose(connect(f"sqlite:///{made}"))
            try:
                os.link(made, path)  # unlike a renaming it replaces nothing, where there are no locks
            except FileExistsError:
                return
            except OSError:  # a file system without hard links
                os.replace(made, path)


class Database:
    """The file a client has open. SQLite goes on reading a file that was deleted or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = self._look()

    def check(self, client: Any) -> None:
        """Have `client` open what lies at the path by now.

        Raises:
            UnavailableError: nothing does.
        """
        now = self._look()
        if now != self._identity:
            dispose(client)
            self._identity = now

    def _look(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise UnavailableError(f"the database {self._path} is gone") from error
        return found.st_dev, found.st_ino


def dispose(client: Any) -> None:
    """Close what a client has open. It opens it again when it is used."""
    with contextlib.suppress(AttributeError):  # MLflow's own, and not promised
        client._tracking_client.store.engine.dispose()


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@contextmanager
def _locked(file: Path) -> Iterator[bool]:
    """Yields whether there is nobody else inside; a file system without locks cannot tell."""
    with file.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
