"""The memory watch against real processes: what it says is what they use."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sandbox.memory_watch import MemoryWatch
from sandbox.process_tree import cpu_seconds, processes

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

MIB = 1 << 20
WAIT_S = 20

#: Forks a child that holds so many bytes, and shares so many with it; both end with stdin.
HOLD = """
import os, sys
shared = b"x" * int(sys.argv[2])
reads, writes = os.pipe()
if os.fork() == 0:
    kept = b"x" * int(sys.argv[1])
    os.write(writes, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(reads, 1)
print("ready", flush=True)
sys.stdin.read()
"""
BURN = """
import os, time
def burn():
    until = time.process_time() + 0.1
    while time.process_time() < until: pass
if os.fork() == 0:
    burn()
    os._exit(0)
os.wait()
burn()
print("ready", flush=True)
input()
"""
Start = Callable[..., Awaitable[int]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start Python code; its pid is returned once it says that it is ready."""
    async with AsyncExitStack() as stack:

        async def one(code: str, *arguments: object) -> int:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", code, *map(str, arguments)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )

            async def end() -> None:
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()

            stack.push_async_callback(end)
            assert process.stdout is not None
            async with asyncio.timeout(WAIT_S):
                assert await process.stdout.readline() == b"ready\n"
            return process.pid

        yield one


class Watching:
    """A watch that runs, and the first one that it found over its limit."""

    def __init__(self) -> None:
        self.over: dict[str, int] = {}
        self.first = asyncio.Event()
        self.watch = MemoryWatch(self._on_over, period_s=0.1)

    def _on_over(self, name: str, used: int, _limit: int) -> None:
        self.over[name] = used
        self.first.set()


@pytest.fixture
async def watching() -> AsyncIterator[Watching]:
    watching = Watching()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watching.watch.run())
        yield watching
        running.cancel()


async def test_more_than_the_limit_is_told(watching: Watching, start: Start) -> None:
    """A grandchild with 100 MiB is over 50 MiB; with 10 MiB, looked at before it, it is not."""
    small, large = await start(HOLD, 10 * MIB, 0), await start(HOLD, 100 * MIB, 0)
    watching.watch.watch("small", small, 50 * MIB)
    watching.watch.watch("large", large, 50 * MIB)
    async with asyncio.timeout(WAIT_S):
        await watching.first.wait()
    assert watching.over.keys() == {"large"}
    assert 100 * MIB < watching.over["large"] < 150 * MIB


async def test_shared_memory_is_no_reason(watching: Watching, start: Start) -> None:
    """Two processes that share 40 MiB are within 60 MiB, though each of them has 40 resident."""
    shared, large = await start(HOLD, 0, 40 * MIB), await start(HOLD, 100 * MIB, 0)
    watching.watch.watch("shared", shared, 60 * MIB)
    watching.watch.watch("large", large, 60 * MIB)
    async with asyncio.timeout(WAIT_S):
        await watching.first.wait()
    assert watching.over.keys() == {"large"}


async def test_tmpfs_counts(watching: Watching, start: Start) -> None:
    """A file in memory that nobody has mapped is memory all the same."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs a tmpfs to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = Path(folder) / "file"
        file.write_bytes(bytes(60 * MIB))
        pid = await start(HOLD, 0, 0)
        watching.watch.watch("a", pid, 50 * MIB, lambda: file.stat().st_blocks * 512)
        async with asyncio.timeout(WAIT_S):
            await watching.first.wait()
    assert 60 * MIB <= watching.over["a"] < 110 * MIB


async def test_processor_time_of_a_tree(start: Start) -> None:
    """Time of a child that has ended and been reaped stays with its parent."""
    pid = await start(BURN)
    assert processes(pid) == [pid]
    assert cpu_seconds([pid]) >= 0.18  # two times 0.1, in ticks of 10 ms
