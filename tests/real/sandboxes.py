"""Words for tests of real sandboxes: a running launcher, a sink, a bound zygote, calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from future_call import FutureCall

from sandbox.call import Call, encode_call
from sandbox.drain import Drain
from sandbox.launchers import Launchers
from sandbox.output import Stream
from sandbox.spec import Mount, SandboxSpec
from sandbox.worker import Worker
from sandbox.zygote import Bound, Zygote

WAIT_S = 20


class Lines:
    """A sink that keeps what it got."""

    def __init__(self) -> None:
        self.data = dict.fromkeys(Stream, b"")
        self.closed = threading.Event()

    def write(self, stream: Stream, chunk: bytes) -> None:
        self.data[stream] += chunk

    def close(self) -> None:
        self.closed.set()

    @property
    def out(self) -> str:
        return self.data[Stream.STDOUT].decode()

    @property
    def err(self) -> str:
        return self.data[Stream.STDERR].decode()


@contextlib.asynccontextmanager
async def launchers() -> AsyncIterator[Launchers]:
    """Run both launchers for the length of a test."""
    drain = Drain()
    drain.start()
    both = Launchers(drain)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(both.serve())
        try:
            async with asyncio.timeout(WAIT_S):
                await both.ready()
            yield both
        finally:
            serving.cancel()
    drain.stop()


def shell(script: str, **env: str) -> SandboxSpec:
    """Return the description of a shell script's sandbox."""
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin", **env}
    return SandboxSpec(name="test", cwd="/tmp", argv=("/bin/sh", "-c", script), env=path)


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


def inside(pid: int) -> int:
    """Return the number that a process, named by the host's number, has in its own sandbox."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        return int(next(line for line in status if line.startswith("NSpid:")).split()[-1])


def room_of(pid: int) -> int:
    """Return what tells the sandbox of a process, named by the host's number, from all others."""
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def inhabitants(room: int) -> dict[int, int]:
    """Return the living processes of a sandbox: their numbers inside -> the host's numbers."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, StopIteration):
            if room_of(int(entry)) == room and alive(int(entry)):
                found[inside(int(entry))] = int(entry)
    return found


async def until(condition: Any, what: str = "the condition") -> None:
    """Wait until something outside our processes' messages has become true, in bounds."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {WAIT_S} s") from None


class Watcher:
    """The events of one worker."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.is_ready: asyncio.Future[Worker] = loop.create_future()
        self.is_gone: asyncio.Future[list[Call]] = loop.create_future()
        self.returns: list[list[Call]] = []
        self.records: list[list[Any]] = []
        self.raw = b""
        self.lines_over = 0

    def ready(self, worker: Worker) -> None:
        worker.take()
        self.is_ready.set_result(worker)

    def replied(self, worker: Worker, call: Call, exec_us: int) -> None:
        pass

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        self.returns.append(calls)

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        self.is_gone.set_result(not_begun)

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        self.raw += data

    def output_over(self, worker: Worker, stream: Stream) -> None:
        self.lines_over += 1

    def record(self, worker: Worker, record: list[Any]) -> None:
        self.records.append(record)


def described(name: str, directory: str) -> dict[str, Any]:
    """Return an HTTP function as the guest's loader reads it."""
    return {
        "name": name,
        "directory": directory,
        "script_file": f"{directory}/__init__.py",
        "entry_point": "main",
        "trigger_type": "httptrigger",
        "trigger_name": "req",
        "function_directory": directory,
        "bindings": [
            {"name": "req", "type": "httpTrigger", "direction": "in", "data_type": ""},
            {"name": "$return", "type": "http", "direction": "out", "data_type": ""},
        ],
    }


async def bound_zygote(
    both: Launchers, app: Path, code: str, *, import_here: bool = True, preload: bool = True
) -> tuple[Zygote, Bound]:
    """Write one function `f` and return a zygote that has imported it."""
    (app / "f").mkdir(exist_ok=True)
    (app / "f" / "__init__.py").write_text(code)
    app.chmod(0o777)  # the sandbox's user writes its marks there
    mounts = (Mount.at(app, writable=True),)
    spec = SandboxSpec(name="f", cwd=str(app), env={"PATH": "/usr/bin:/bin"}, mounts=mounts)
    zygote = await both.zygote(spec, Lines(), preload=preload)
    bind = {
        "root": str(app),
        "package_paths": [],
        "settings": {},
        "functions": [described("f", "f")],
        "preloaded": preload,
    }
    async with asyncio.timeout(WAIT_S):
        return zygote, await zygote.bind(bind, import_here=import_here)


async def ready_worker(zygote: Zygote) -> tuple[Worker, Watcher]:
    """Fork a worker and wait until it serves."""
    watcher = Watcher()
    zygote.fork("f", watcher)
    async with asyncio.timeout(WAIT_S):
        return await watcher.is_ready, watcher


def call(worker: Worker, **query: str) -> FutureCall:
    """Send one GET with these query values."""
    loop = asyncio.get_running_loop()
    call_id = os.urandom(16)
    event = (
        "GET",
        "http://localhost/api/f",
        (("Host", "localhost"),),
        tuple(query.items()),
        (),
        b"",
    )
    made = FutureCall(call_id, encode_call(call_id, event, None), loop.time())
    worker.send(made, loop.time())
    return made


async def answer(made: FutureCall) -> Any:
    """Return the body of a call's reply as text."""
    async with asyncio.timeout(WAIT_S):
        status, _exec_us, payload = await made.future
    assert status == 0, payload
    return payload[2].decode()
