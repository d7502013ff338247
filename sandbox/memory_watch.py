"""The memory limit where no memory cgroup is writable: one watch that looks at all sandboxes.

It tells the owner that a sandbox is over its limit; the owner kills it and records that fact. A
look is made each period, so a sandbox may pass its limit for that long: RLIMIT_AS and the size
of its tmpfs bound how far. Swapped-out memory is not seen.

What is counted is PSS: memory shared by a zygote and its workers counts once. Reading it takes
the kernel as long as the process is large, so it is read only when the sum of RSS, which is never
less and costs next to nothing, is over the limit. Where many sandboxes are over by RSS alone, the
looks grow long: the rest between two grows with them, so that they never take more than a fifth
of a processor. Where PSS is closed to us RSS counts, and shared memory then counts once for each
process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.process_tree import PROC, processes, read_proc

OnOver = Callable[[str, int, int], None]

_REST = 4  # times as long as a look took
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system says
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _no_tmp() -> int:
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    name: str
    init: int
    limit_bytes: int
    tmp_bytes: Callable[[], int]


class MemoryWatch:
    """Sandboxes with a limit, looked at together by one task: whoever runs `run`.

    `on_over(name, used_bytes, limit_bytes)` is called on the loop, once for each `watch`.
    """

    def __init__(
        self,
        on_over: OnOver,
        *,
        period_s: float = 0.2,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        proc: Path = PROC,
    ) -> None:
        self._on_over = on_over
        self._period_s = period_s
        self._sleep = sleep
        self._clock = clock
        self._proc = proc
        self._watched: dict[str, _Watched] = {}
        self._some = asyncio.Event()

    def watch(
        self, name: str, init: int, limit_bytes: int, tmp_bytes: Callable[[], int] = _no_tmp
    ) -> None:
        """Look from now on at the process `init` and everything below it.

        `tmp_bytes` returns what the sandbox's tmpfs holds; it is called in a thread, and an
        OSError from it counts as nothing. A second call under the same name takes its place.
        """
        self._watched[name] = _Watched(name, init, limit_bytes, tmp_bytes)
        self._some.set()

    def forget(self, name: str) -> None:
        """Look no more; call it when the init has ended, before its pid can be another's."""
        self._watched.pop(name, None)
        if not self._watched:
            self._some.clear()

    async def run(self) -> None:
        """Look about once each period while something is watched, until cancelled."""
        rest_s = self._period_s
        while True:
            await self._some.wait()
            await self._sleep(rest_s)
            if seen := list(self._watched.values()):
                began = self._clock()
                await self._look(seen)
                rest_s = max(self._period_s, _REST * (self._clock() - began))

    async def _look(self, seen: list[_Watched]) -> None:
        # /proc makes a reader wait for the process's own memory lock: not on the loop.
        for one, used in await asyncio.to_thread(self._over, seen):
            if self._watched.get(one.name) is one:  # else forgotten while we looked
                self.forget(one.name)
                self._on_over(one.name, used, one.limit_bytes)

    def _over(self, seen: list[_Watched]) -> list[tuple[_Watched, int]]:
        measured = ((one, self._used(one)) for one in seen)
        return [(one, used) for one, used in measured if used > one.limit_bytes]

    def _used(self, one: _Watched) -> int:
        """Return what is used; at least as much as is used, as long as that is within limits."""
        resident = {pid: self._rss(pid) for pid in processes(one.init, proc=self._proc)}
        used = sum(resident.values()) + _tmp(one) + self._nameless(resident)
        for pid, rss in sorted(resident.items(), key=lambda item: -item[1]):
            if used <= one.limit_bytes:
                break  # each PSS makes it smaller, and the largest come first
            used -= rss - self._pss(pid)
        return used

    def _rss(self, pid: int) -> int:
        fields = read_proc(f"{self._proc}/{pid}/statm").split()
        return int(fields[1]) * _PAGE_BYTES if fields else 0

    def _nameless(self, pids: Iterable[int]) -> int:
        """Return what files without a name (memfd) take: not mapped, they are in nobody's RSS."""
        sizes: dict[tuple[int, int], int] = {}
        for pid in pids:
            folder = f"{self._proc}/{pid}/fd"
            with suppress(OSError):  # closed to us, or ended since
                for name in os.listdir(folder):
                    with suppress(OSError):
                        if os.readlink(f"{folder}/{name}").startswith("/memfd:"):
                            about = os.stat(f"{folder}/{name}")
                            sizes[about.st_dev, about.st_ino] = about.st_blocks * _BLOCK_BYTES
        return sum(sizes.values())

    def _pss(self, pid: int) -> int:
        for line in read_proc(f"{self._proc}/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
        return self._rss(pid)  # closed to us, or ended since: then it uses nothing any more


def _tmp(one: _Watched) -> int:
    try:
        return one.tmp_bytes()
    except OSError:
        return 0
