"""supervisord: starting a program by XML-RPC, and starting it again after its end."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy, Transport

from findings import Findings

from peers.environment import UnavailableError, venv

TITLE = "supervisord: XML-RPC start, autorestart"
_CONFIG = """
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
silent=true
"""
_PROGRAM = """
[program:{name}]
command=/bin/sh {script}
environment=WEBJOBS_DATA_PATH="{data}"
autostart=false
autorestart={again}
startsecs=0
"""
_START_S = 10.0
_ALIVE = frozenset({"STARTING", "RUNNING"})


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class _UnixTransport(Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._kept: _UnixConnection | None = None

    def make_connection(self, host: object) -> HTTPConnection:
        """Return the one connection, which is kept: the start is measured, not the handshake."""
        del host
        self._kept = self._kept or _UnixConnection(self._path)
        return self._kept


class Supervisor:
    """A running supervisord."""

    def __init__(self, socket_file: Path) -> None:
        self._call = ServerProxy("http://localhost/RPC2", transport=_UnixTransport(socket_file))

    def start(self, name: str) -> None:
        """Start a program without waiting for anything."""
        self._call.supervisor.startProcess(name, False)

    def wait(self, name: str) -> None:
        """Wait until it has noticed that a program ended; before, it would not start it again."""
        deadline = time.monotonic() + _START_S
        while self._state(name) in _ALIVE:
            assert time.monotonic() < deadline, f"supervisord holds {name} for running"
            time.sleep(0.02)

    def _state(self, name: str) -> str:
        info: Any = self._call.supervisor.getProcessInfo(name)
        return str(info["statename"])

    def stop(self, name: str) -> None:
        """Stop a program, if it runs."""
        with suppress(Exception):
            self._call.supervisor.stopProcess(name)


@dataclass(frozen=True)
class Supervised:
    """A program under supervisord; `again`: it is started again whenever it ends."""

    script: Path
    data: Path
    again: bool


@contextmanager
def supervisor(
    findings: Findings, folder: Path, programs: Mapping[str, Supervised]
) -> Iterator[Supervisor | None]:
    """Start it with these programs; None if it cannot be had."""
    try:
        bin_folder, versions = venv("supervisord", ("supervisor",))
    except UnavailableError as reason:
        findings.miss("supervisord", TITLE, str(reason))
        yield None
        return
    findings.meet("supervisord", TITLE, versions)
    config = folder / "supervisord.conf"
    parts = [
        _PROGRAM.format(name=name, script=p.script, data=p.data, again=str(p.again).lower())
        for name, p in programs.items()
    ]
    config.write_text(_CONFIG.format(folder=folder) + "".join(parts))
    command = [str(bin_folder / "supervisord"), "--configuration", str(config)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            _wait(folder / "s.sock", process)
            yield Supervisor(folder / "s.sock")
        finally:
            process.terminate()  # it ends its programs before itself


def _wait(socket_file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(socket_file))
            return
        time.sleep(0.02)
    raise AssertionError("supervisord does not answer")
