"""MLflow servers for tests: a real one, one that only refuses, and a wire that can be cut or slowed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from orchestrator.tracking.server import server_command

__all__ = ["Server", "Wire", "answering", "free_port"]

_START_S = 240.0


class Server:
    """`mlflow server` as ``ui`` starts it, on a free port of 127.0.0.1 and in a process group of its
    own. Its name may come with any port, as tests reach it through a `Wire`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database = f"sqlite:///{folder / 'server.db'}"
        """Read directly where only the content counts, as that is ten times quicker."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers; at once where it does already."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._started()
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.2)
        raise RuntimeError(f"the MLflow server did not start; see {self._log.name}")

    def _started(self) -> subprocess.Popen[bytes]:
        folder = self._folder
        self._log = (folder / "server.log").open("ab")
        command = server_command(self.database, self.port, hosts=("127.0.0.1:*", "localhost:*"))
        return subprocess.Popen(
            [*command.arguments, "--artifacts-destination", str(folder / "artifacts")],
            cwd=folder,
            env={**os.environ, **command.settings},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def kill(self) -> None:
        """With all its processes; nothing where it was never started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)
        self._log.close()


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Wire:
    """A port that passes on to a server, until it is cut; it may take its time with each piece.

    Args:
        lost_every: of so many pieces of answers one is lost, and the connection with it; 0 loses none.
    """

    def __init__(self, port: int, delay_s: float = 0.0, lost_every: int = 0) -> None:
        self._to = port
        self._delay_s = delay_s
        self._lost_every = lost_every
        self.num_answers = 0
        self._open: list[socket.socket] = []
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target, target is near), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(0.0 if is_answer else self._delay_s)
                self.num_answers += is_answer
                if is_answer and self._lost_every and self.num_answers % self._lost_every == 0:
                    break
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def answering(status: int, body: str = "{}") -> Iterator[str]:
    """The URI of a server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
