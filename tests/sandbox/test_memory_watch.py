"""The memory watch says once who is over, by PSS, and reads it only when RSS is over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from proc_fakes import FakeProc

from sandbox import memory_watch, process_tree
from sandbox.memory_watch import MemoryWatch

MIB = 1 << 20


class Looks:
    """A sleep that returns when the test says so, and a list of who was over."""

    def __init__(self, proc: FakeProc) -> None:
        self.over: list[tuple[str, int, int]] = []
        self.slept: list[float] = []
        self.now = 0.0
        self._asleep = asyncio.Event()
        self._wake = asyncio.Event()
        self.watch = MemoryWatch(
            lambda *over: self.over.append(over),
            period_s=0.25,
            sleep=self._sleep,
            clock=lambda: self.now,
            proc=proc.path,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asleep.set()
        await self._wake.wait()
        self._wake.clear()

    async def asleep(self) -> None:
        """Wait until the next look is due."""
        await self._asleep.wait()

    async def look(self) -> None:
        """Let one look happen, to its end if something is still watched after it."""
        await self.asleep()
        self._asleep.clear()
        self._wake.set()
        waiting = self.watch._some.is_set
        while waiting() and not self._asleep.is_set():
            await asyncio.sleep(0)


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """One sandbox: an init of 10 with a worker of 11."""
    proc = FakeProc(tmp_path)
    proc.process(10, rss=10 * MIB, pss=5 * MIB)
    proc.process(11, 10, rss=10 * MIB, pss=5 * MIB)
    return proc


@pytest.fixture
async def looks(proc: FakeProc) -> AsyncIterator[Looks]:
    looks = Looks(proc)
    running = asyncio.ensure_future(looks.watch.run())
    yield looks
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def pss_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return which expensive files were read."""
    read, seen = process_tree.read_proc, []

    def counted(path: str) -> bytes:
        if path.endswith("smaps_rollup"):
            seen.append(path)
        return read(path)

    monkeypatch.setattr(memory_watch, "read_proc", counted)
    return seen


async def test_over_is_told_once(looks: Looks, proc: FakeProc) -> None:
    """The owner hears the name, what is used and the limit, and then no more."""
    looks.watch.watch("a", 10, 50 * MIB)
    looks.watch.watch("other", 99, 1)
    await looks.look()
    assert looks.over == []
    proc.memory(11, rss=60 * MIB, pss=55 * MIB)
    await looks.look()
    await looks.look()
    assert looks.over == [("a", 60 * MIB, 50 * MIB)]
    assert set(looks.slept) == {0.25}


async def test_below_by_rss_costs_nothing(looks: Looks, pss_reads: list[str]) -> None:
    """While RSS is within the limit, PSS is not read."""
    looks.watch.watch("a", 10, 20 * MIB)
    await looks.look()
    assert (looks.over, pss_reads) == ([], [])


async def test_shared_memory_counts_once(looks: Looks, pss_reads: list[str]) -> None:
    """Over by RSS and below by PSS is below; reading stops when that is certain."""
    looks.watch.watch("a", 10, 15 * MIB)
    await looks.look()
    assert looks.over == []
    assert len(pss_reads) == 1
    looks.watch.watch("a", 10, 12 * MIB)
    await looks.look()
    assert looks.over == []
    assert len(pss_reads) == 3


async def test_the_largest_is_read_first(
    looks: Looks, proc: FakeProc, pss_reads: list[str]
) -> None:
    """Where one process has most of it, its PSS is enough to know."""
    proc.memory(11, rss=30 * MIB, pss=15 * MIB)
    looks.watch.watch("a", 10, 30 * MIB)
    await looks.look()
    assert looks.over == []
    assert [path.split("/")[-2] for path in pss_reads] == ["11"]


async def test_tmp_counts(looks: Looks) -> None:
    """What lies in the sandbox's tmpfs is memory too."""
    looks.watch.watch("a", 10, 50 * MIB, lambda: 41 * MIB)
    looks.watch.watch("other", 99, 1)
    await looks.look()
    assert looks.over == [("a", 51 * MIB, 50 * MIB)]


async def test_tmp_that_is_gone(looks: Looks) -> None:
    """A sandbox that ends while we look is no error."""

    def gone() -> int:
        raise FileNotFoundError

    looks.watch.watch("a", 10, 50 * MIB, gone)
    await looks.look()
    assert looks.over == []


async def test_pss_closed_to_us(looks: Looks, proc: FakeProc) -> None:
    """Where PSS cannot be read RSS counts."""
    proc.memory(10, rss=30 * MIB)
    looks.watch.watch("a", 10, 25 * MIB)
    looks.watch.watch("other", 99, 1)
    await looks.look()
    assert looks.over == [("a", 35 * MIB, 25 * MIB)]


async def test_who_ended_uses_nothing(
    looks: Looks, proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends between the two readings is not counted: it would be a false verdict."""
    read = process_tree.read_proc

    def ending(path: str) -> bytes:
        if path.endswith("11/smaps_rollup"):
            proc.end(11)
        return read(path)

    monkeypatch.setattr(memory_watch, "read_proc", ending)
    proc.memory(11, rss=60 * MIB)
    looks.watch.watch("a", 10, 50 * MIB)
    await looks.look()
    assert looks.over == []


async def test_long_looks_are_rarer(looks: Looks) -> None:
    """After a look that took long the rest is longer, after a short one it is the period again."""
    took = [0.5, 0.01]

    def tmp() -> int:
        looks.now += took.pop(0)
        return 0

    looks.watch.watch("a", 10, 50 * MIB, tmp)
    await looks.look()
    await looks.look()
    assert looks.slept == [0.25, 2.0, 0.25]


async def test_forgotten_while_we_look(looks: Looks) -> None:
    """A verdict on a sandbox that was forgotten or replaced meanwhile is dropped."""
    change: list[Callable[[], None]] = [lambda: None]

    def tmp() -> int:
        change[0]()
        return 100 * MIB

    looks.watch.watch("a", 10, 50 * MIB, tmp)
    looks.watch.watch("b", 10, 50 * MIB, tmp)
    looks.watch.watch("other", 99, 1)

    def forget() -> None:
        looks.watch._watched.pop("a", None)
        looks.watch.watch("b", 10, 500 * MIB)

    change[0] = forget
    await looks.look()
    assert looks.over == []


async def test_nothing_watched_is_no_work(looks: Looks) -> None:
    """With nobody to look at, the task does not even wake."""
    looks.watch.watch("a", 10, 50 * MIB)
    await looks.asleep()
    looks.watch.forget("a")
    looks.watch.forget("a")
    await looks.look()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(looks.slept) == 1
    looks.watch.watch("a", 10, 5 * MIB)
    looks.watch.watch("other", 99, 1)
    await looks.look()
    assert len(looks.over) == 1
