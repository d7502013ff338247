"""A peer that answers HTTP: how it is started on a free port, and how it is ended by its pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from peers.environment import Versions

_START_S = 30.0
_STOP_S = 5.0


@dataclass(frozen=True)
class Program:
    """What starts a server: its command for a given port, where and with what it runs."""

    command: Callable[[int], Sequence[str]]
    versions: Versions = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Peer:
    """A server beside which Taak is measured.

    `program` installs it if need be and says how it is started; it raises UnavailableError. It
    answers GET and POST of `path` with five bytes.
    """

    name: str
    title: str
    program: Callable[[], Program]
    path: str = "/"


@dataclass(frozen=True)
class Serving:
    """A running server. `spawn_s` is the time from its start to its first answer 200."""

    name: str
    url: str
    pid: int
    spawn_s: float


class StartError(Exception):
    """A server did not answer; the text holds the end of its output."""


@contextmanager
def serving(
    name: str, program: Program, path: str = "/", headers: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """Start the program on a free port, wait for its first 200, and end it afterwards.

    Raises:
        StartError: no answer 200 within 30 s, or the program ended.
    """
    port = free_port()
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            program.command(port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=program.folder,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
        try:
            if not _answers(process, port, path, headers or {}):
                output.seek(0)
                said = output.read()[-2000:].decode("utf-8", "replace")
                raise StartError(f"{name} did not answer 200 on {path}:\n{said}")
            spent = time.perf_counter() - start
            yield Serving(name, f"http://127.0.0.1:{port}{path}", process.pid, spent)
        finally:
            _end(process)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(
    process: subprocess.Popen[bytes], port: int, path: str, headers: Mapping[str, str]
) -> bool:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{lines}\r\n".encode()
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(request)
            if client.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
                return True
        time.sleep(0.001)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then end what is left of the group that was started for it."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
