"""Words of tests about debuggers: `taak debug` in a process, a client that speaks DAP."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from real.platform import KEY, ROOT, Platform

WAIT_S = 30.0


class Debug:
    """`taak debug NAME`, from its first word to its end."""

    def __init__(self, platform: Platform, name: str, *options: str) -> None:
        command = [sys.executable, "-m", "gateway", "debug", name, "--json", *options]
        env = {**os.environ, "TAAK_KEY": KEY, "TAAK_HOST": platform.management_url}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        watchdog = threading.Timer(WAIT_S, self.process.kill)
        watchdog.start()
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        watchdog.cancel()
        if not lines:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        self.told = json.loads("".join(lines))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=WAIT_S)
        finally:
            self.process.kill()

    @property
    def port(self) -> int:
        """Return the local port."""
        return int(self.told["port"])


class Dap:
    """A client of the Debug Adapter Protocol."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), WAIT_S)
        self._file = self._sock.makefile("rb")
        self._numbers = itertools.count(1)
        self._kept: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._sock.close()

    def attach(self, script: str, local: str, remote: str, *lines: int) -> None:
        """Attach with breakpoints at these lines of a script."""
        self.ask("initialize", clientID="test", adapterID="debugpy", pathFormat="path")
        mappings = [{"localRoot": local, "remoteRoot": remote}]
        attached = self.send("attach", justMyCode=False, pathMappings=mappings)
        self.event("initialized")
        places = [{"line": line} for line in lines]
        set_there = self.ask(
            "setBreakpoints", source={"path": f"{local}/{script}"}, breakpoints=places
        )
        assert all(place["verified"] for place in set_there["breakpoints"]), set_there
        self.ask("configurationDone")
        self.answer(attached)

    def stop_at(self) -> tuple[int, dict[str, Any]]:
        """Wait for a stop; return its thread and innermost frame."""
        thread = self.event("stopped")["threadId"]
        return thread, self.ask("stackTrace", threadId=thread)["stackFrames"][0]

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return the body of the answer to a request."""
        return self.answer(self.send(command, **arguments))

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request and return its number."""
        number = next(self._numbers)
        request = {"seq": number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self._sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return number

    def answer(self, number: int) -> Any:
        """Return the body of the answer to a request that was sent."""
        found = self._until(lambda m: m["type"] == "response" and m["request_seq"] == number)
        assert found["success"], found
        return found.get("body")

    def event(self, name: str) -> Any:
        """Return the body of the next event of this name."""
        return self._until(lambda m: m["type"] == "event" and m["event"] == name)["body"] or {}

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for message in self._kept:
            if wanted(message):
                self._kept.remove(message)
                return message
        while True:
            message = self._read()
            if wanted(message):
                return {"body": None, **message}
            self._kept.append(message)

    def _read(self) -> dict[str, Any]:
        size = 0
        while line := self._file.readline().strip():
            size = int(line.partition(b":")[2])
        if not size:
            raise EOFError("the debugger has closed the connection")
        message: dict[str, Any] = json.loads(self._file.read(size))
        return message
