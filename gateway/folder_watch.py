"""Notices that somebody changed the site's files, and says so once they are quiet.

The kernel's events come in watchdog's threads; there they are only counted, and one wake-up is
handed to the loop, however many there are. Events are hints: what changed is found out by a scan,
and a rescan every few seconds finds what no event told (a lost queue, a network file system).
Knows nothing of what the files mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from gateway import kernel_watch
from gateway.kernel_watch import KernelWatch
from scheduler.deployment import WATCHED

_log = logging.getLogger("taak.watch")

_RESCAN = f"{WATCHED}rescan"
#: A stream of events that never pauses is acted upon after so many times the settle time.
_LONGEST_WAIT = 10
#: A rescan that finds nothing may take this share of the time: of a large site they are rarer. The
#: kernel's events are what tells of changes, a rescan what tells that one was lost.
_RESCAN_SHARE = 0.003
_RESCAN_AT_LATEST_S = 300.0


class FolderWatch:
    """Watches the site and further roots. `run` goes on until it is cancelled."""

    def __init__(
        self,
        site: Path,
        roots: Sequence[Path],
        on_settled: Callable[[str], Awaitable[object]],
        settle_s: float = 0.2,
        rescan_s: float = 10.0,
        *,
        ignored: Sequence[Path] = (),
    ) -> None:
        """Take the folders; what changes below one of `ignored` inside of them wakes nobody.

        `rescan_s` is at least how long lies between two comparisons without an event.
        """
        self._roots = [os.path.abspath(root) for root in (site, *roots)]
        self._ignored = [os.path.realpath(folder) for folder in ignored]
        self._on_settled = on_settled
        self._settle_s = settle_s
        self._rescan_s = rescan_s
        self._rescan_took_s = 0.0

    async def run(self) -> None:
        """Call `on_settled` after every change, and every few seconds in any case."""
        changes = _Changes(asyncio.get_running_loop())
        watch: KernelWatch | None = None
        with _overflows(changes):
            try:
                while True:
                    if watch is None or watch.is_stale():
                        watch = await asyncio.to_thread(self._renewed, watch, changes)
                        # What changed before the watch stood was told by nobody.
                        changes.look("the watch began")
                    await self._tell(await self._next(watch, changes))
            finally:
                if watch is not None:
                    await asyncio.to_thread(watch.stop)

    def _renewed(self, watch: KernelWatch | None, changes: _Changes) -> KernelWatch:
        if watch is not None:
            watch.stop()
        return KernelWatch(self._roots, self._ignored, changes.add)

    async def _next(self, watch: KernelWatch, changes: _Changes) -> str:
        """Return why to look: a change that has settled, or that it is time."""
        pause_s = self._pause_s() if watch.hears else min(kernel_watch.POLL_S, self._rescan_s)
        try:
            async with asyncio.timeout(pause_s):
                await changes.wait()
        except TimeoutError:
            return _RESCAN
        return await self._settled(changes)

    def _pause_s(self) -> float:
        """Return how long to wait for changes before the files are compared without any."""
        rare = min(self._rescan_took_s / _RESCAN_SHARE, _RESCAN_AT_LATEST_S)
        return max(self._rescan_s, rare)

    async def _settled(self, changes: _Changes) -> str:
        names: dict[str, None] = {}
        occasions: dict[str, None] = {}
        for turn in range(_LONGEST_WAIT + 1):
            if turn:
                await asyncio.sleep(self._settle_s)
            heard, noticed = changes.take()
            if turn and not heard and not noticed:
                break
            names |= heard
            occasions |= noticed
        return WATCHED + _told(list(names), list(occasions))

    async def _tell(self, reason: str) -> None:
        began = time.monotonic()
        try:
            await self._on_settled(reason)
        except Exception:  # noqa: BLE001 - the boundary of a deployment
            # A mistake in one deployment must not end the watch, and with it the platform: the
            # next change, or the rescan, tries again.
            _log.exception("the change could not be acted upon (%s)", reason)
        if reason == _RESCAN:
            self._rescan_took_s = time.monotonic() - began


def _told(names: list[str], occasions: list[str]) -> str:
    """Return what changed; without a name, why the files are looked at."""
    if not names:
        return ", ".join(occasions)
    return names[0] if len(names) == 1 else f"{len(names)} changes, first {names[0]}"


class _Changes:
    """Gathers changes from any thread; wakes the loop once for all of them.

    A file that is written with six events is one change. What is no change of a named file (the
    watch is new, events were lost) is an occasion to look.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._woken = asyncio.Event()
        self._names: dict[str, None] = {}  # in their order
        self._occasions: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Note that a file changed."""
        self._note(self._names, name)

    def look(self, occasion: str) -> None:
        """Note that the files are to be looked at, though no name is known."""
        self._note(self._occasions, occasion)

    def _note(self, kind: dict[str, None], what: str) -> None:
        with self._lock:
            idle = not self._names and not self._occasions
            kind[what] = None
        if idle:  # else the loop is on its way
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                self._loop.call_soon_threadsafe(self._woken.set)

    async def wait(self) -> None:
        """Return when there are changes; a wake-up for some that were taken already is skipped."""
        while not self._names and not self._occasions:
            await self._woken.wait()
            self._woken.clear()

    def take(self) -> tuple[dict[str, None], dict[str, None]]:
        """Return the names and occasions since the last time."""
        with self._lock:
            taken = (self._names, self._occasions)
            self._names, self._occasions = {}, {}
        return taken


class _OverflowHandler(logging.Handler):
    """Hears watchdog's only sign that events were lost."""

    def __init__(self, changes: _Changes) -> None:
        super().__init__(logging.WARNING)
        self._changes = changes

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().casefold():
            self._changes.look("the kernel's queue overflowed")


@contextlib.contextmanager
def _overflows(changes: _Changes) -> Iterator[None]:
    logger, handler = logging.getLogger("watchdog"), _OverflowHandler(changes)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
