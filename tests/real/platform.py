"""A real platform in a process of its own, and the words that tests of it are written in.

It runs on free ports with a site and a home of its own, and is stopped by its own pid. Waiting is
for an event (the line that says ready, the end of the process) or for a state, always bounded.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
KEY = "test-master-key-0123456789abcdefghijklmnop"
READY_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names are in lower case, the last of repeated ones wins."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def wait_until(
    condition: Callable[[], Any], *, timeout_s: float = 15.0, what: str | Callable[[], str] = ""
) -> Any:
    """Return the condition's first true value; it is asked again every 20 ms, at most so long."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout_s:g} s: {told or condition}; last {value!r}")
        time.sleep(0.02)


def call(
    url: str,
    method: str,
    path: str,
    *,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Answer:
    """Make one HTTP call on a connection of its own."""
    base = urlsplit(url)
    connection = HTTPConnection(base.hostname or "", base.port, timeout=timeout_s)
    try:
        data = body.encode() if isinstance(body, str) else body
        connection.request(method, path, data, dict(headers or {}))
        reply = connection.getresponse()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, found, reply.read())
    finally:
        connection.close()


class Platform:
    """`taak run` on a site and a home; start it, use it, end it in any way, start it again."""

    def __init__(
        self,
        site: Path,
        home: Path,
        *,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.site = site
        self.home = home
        self.options = options
        self.env = dict(env or {})
        self.data_url = ""
        self.management_url = ""
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._reader: threading.Thread | None = None

    # -- life ----------------------------------------------------------------------------------

    def start(self, *, timeout_s: float = READY_S) -> Platform:
        """Start it and return when it has said that it is ready."""
        assert not self.running, "the platform runs already"
        self._ready.clear()
        self._process = subprocess.Popen(
            self._command(),
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A Ctrl-C for the tests is not one for the platform: the fixture stops it in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._ready.wait(timeout_s)
        if not self._ready.is_set() or not self.running:
            self.kill()
            raise AssertionError(f"the platform did not get ready in {timeout_s:g} s{self.told()}")
        facts = json.loads((self.home / "run.json").read_text("utf-8"))
        self.data_url, self.management_url = facts["data_url"], facts["management_url"]
        return self

    def stop(self, *, timeout_s: float = 40.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s=timeout_s)

    def kill(self) -> int:
        """End it at once (SIGKILL), as a crash would, and return its exit code."""
        self.signal(signal.SIGKILL)
        return self.wait(timeout_s=10)

    def restart(self, *, kill: bool = False) -> Platform:
        """End it and start it again on the same site and home."""
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start()

    def wait(self, *, timeout_s: float) -> int:
        """Return its exit code when it has ended by itself."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"it did not end in {timeout_s:g} s{self.told()}") from None
        assert self._reader is not None
        # A process that outlives the platform keeps its output open: bounded, and told by tests.
        self._reader.join(5)
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the platform's own process."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(number)

    @property
    def running(self) -> bool:
        """Tell whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process that was started last."""
        assert self._process is not None
        return self._process.pid

    # -- calls ---------------------------------------------------------------------------------

    def get(self, path: str, **headers: str) -> Answer:
        """GET of the data listener: `platform.get("/api/hello")`."""
        return call(self.data_url, "GET", path, headers=_spelled(headers))

    def post(self, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        """POST to the data listener."""
        return call(self.data_url, "POST", path, body=body, headers=_spelled(headers))

    def manage(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call the management listener with the master key."""
        sent = {"x-functions-key": KEY, **(headers or {})}
        return call(self.management_url, method, path, body=body, headers=sent)

    def v1(self, path: str, body: object = None, *, method: str = "") -> Any:
        """Return the JSON of a `/v1` call; a body makes it a POST. A refusal fails the test."""
        verb = method or ("GET" if body is None else "POST")
        data = None if body is None else json.dumps(body)
        answer = self.manage(verb, f"/v1{path}", data, {"content-type": "application/json"})
        assert answer.status < 300, f"{verb} /v1{path}: {answer.status} {answer.text}"
        return answer.json() if answer.body else None

    def kudu(self, method: str, path: str, body: bytes | str | None = None) -> Answer:
        """Call the Kudu API: `platform.kudu("GET", "/api/triggeredwebjobs")`."""
        return self.manage(method, path, body)

    # -- words ---------------------------------------------------------------------------------

    def wait_until(
        self, condition: Callable[[], Any], *, timeout_s: float = 15.0, what: str = ""
    ) -> Any:
        """Like `wait_until`, with the platform's output in the failure."""
        return wait_until(condition, timeout_s=timeout_s, what=lambda: what + self.told())

    def function(self, name: str) -> dict[str, Any] | None:
        """Return a function as `/v1` lists it, None when it is not deployed."""
        return _named(self.v1("/functions")["items"], name)

    def job(self, name: str) -> dict[str, Any] | None:
        """Return a job as `/v1` lists it, None when it is not deployed."""
        return _named(self.v1("/jobs")["items"], name)

    def wait_for_run(self, run_id: int, *, timeout_s: float = 20.0) -> dict[str, Any]:
        """Return the run when it has ended."""
        open_states = {"queued", "initializing", "running"}

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = self.v1(f"/runs/{run_id}")
            return None if run["state"] in open_states else run

        found: dict[str, Any] = self.wait_until(ended, timeout_s=timeout_s, what=f"run {run_id}")
        return found

    def told(self) -> str:
        """Return the last of its output, for a failure's message."""
        return "\n--- the platform's output ---\n" + "".join(self.lines[-80:])

    # -- inside --------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        ports = ["--port", "0", "--management-port", "0"]
        place = [str(self.site), "--home", str(self.home)]
        return [sys.executable, "-m", "gateway", "run", *place, *ports, *self.options]

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TAAK_")}
        return {**inherited, "TAAK_MASTER_KEY": KEY, "PYTHONUNBUFFERED": "1", **self.env}

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            # Other lines may hold the word "ready" too; the start screen's last one means it.
            if "taak is ready" in line:
                self._ready.set()
        with suppress(subprocess.TimeoutExpired):
            process.wait(READY_S)  # its output ends a moment before itself
        self._ready.set()  # start() looks at the process next


def _spelled(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((item for item in items if item["name"].casefold() == name.casefold()), None)
