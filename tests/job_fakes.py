"""Fakes for tests of jobs: a clock that a test moves, a launcher whose processes a test ends."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.output import OutputSink, Stream
from sandbox.spec import Exit, SandboxSpec
from scheduler.functions import Bundle, BundleKind, Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_program import JobPrograms

START = datetime(2026, 1, 5, 10, 0, 0, tzinfo=UTC)


class FakeClock:
    """Time that stands still until a test lets it pass."""

    def __init__(self) -> None:
        self._time = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        """Return the wall clock."""
        return START + timedelta(seconds=self._time)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._time

    async def sleep(self, seconds: float) -> None:
        """Wait until a test has let so much time pass."""
        if seconds <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._time + seconds, next(self._numbers), future))
        await future

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass, waking every sleeper at its moment."""
        end = self._time + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._time = max(self._time, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self._time = end


async def settle() -> None:
    """Let every task go as far as it can without time passing."""
    for _ in range(25):
        await asyncio.sleep(0)


class FakeProcess:
    """A process that ends when the test says so."""

    def __init__(self, pid: int, spec: SandboxSpec, sink: OutputSink) -> None:
        self.pid = pid
        self.spec = spec
        self.terminated = False
        self.killed = False
        self.on_terminate: Callable[[], None] = lambda: None
        self._sink = sink
        self._exit: Exit | None = None
        self._ended = asyncio.Event()

    def print(self, text: str, stream: Stream = Stream.STDOUT) -> None:
        """Write something."""
        self._sink.write(stream, text.encode())

    def end(self, code: int | None = 0, signal: int | None = None, *, oom_kills: int = 0) -> None:
        """End by itself, or by a signal."""
        if self._exit is None:
            self._exit = Exit(code, signal, oom_kills=oom_kills)
            self._sink.close()
            self._ended.set()

    async def wait(self) -> Exit:
        """Wait for the end."""
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    def terminate(self) -> None:
        """Receive SIGTERM."""
        self.terminated = True
        self.on_terminate()

    async def dial(self, port: int) -> Any:
        """Say what was dialled."""
        return f"a connection to {port}"

    async def kill(self) -> Exit:
        """Receive SIGKILL."""
        self.killed = self._exit is None
        self.end(None, 9)
        return await self.wait()

    @property
    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._exit is None


class FakeLauncher:
    """Starts fake processes and keeps them all."""

    def __init__(self) -> None:
        self.started: list[FakeProcess] = []
        self.refusal: Exception | None = None

    async def run(self, spec: SandboxSpec, sink: OutputSink) -> FakeProcess:
        """Start a process, or refuse."""
        if self.refusal is not None:
            raise self.refusal
        process = FakeProcess(1000 + len(self.started), spec, sink)
        self.started.append(process)
        return process

    @property
    def last(self) -> FakeProcess:
        """Return the process that was started last."""
        return self.started[-1]

    @property
    def alive(self) -> list[FakeProcess]:
        """Return the processes that have not ended."""
        return [process for process in self.started if process.is_alive]


async def inline(work: Callable[[], Any]) -> Any:
    """Do file work at once: tests on virtual time must not wait for threads."""
    return work()


def programs(folders: JobFolders, instance: str = "a1b2c3d4") -> JobPrograms:
    """Return job programs that meet a fixed PATH."""
    return JobPrograms(folders, instance, {}, inline, {"PATH": "/usr/bin:/bin", "LANG": "C"})


def make_job(
    base: Path,
    kind: JobKind = JobKind.TRIGGERED,
    name: str = "report",
    *,
    script: str = "run.sh",
    text: str = "echo hello\n",
    **fields: Any,
) -> Job:
    """Return a job whose release and live folder hold one script."""
    directory = f"App_Data/jobs/{kind.value}/{name}"
    fields.setdefault("bundle", Bundle(name, BundleKind.JOB, "digest-1", base / "release"))
    job = Job(
        name=name,
        kind=kind,
        directory=directory,
        live_folder=base / "site" / directory,
        script=script,
        **fields,
    )
    for folder in (job.folder, job.live_folder):
        path = folder / (script or "readme.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return job


def lines(path: Path) -> list[str]:
    """Return a log's lines without their time stamps: "SYS INFO] text"."""
    if not path.exists():
        return []
    text = path.read_bytes().decode()
    assert text.endswith("\r\n")
    return [line.partition(": ")[2] for line in text.removesuffix("\r\n").split("\r\n")]
