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

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from scheduler.deployment import WATCHED
from scheduler.file_scan import is_part

_log = logging.getLogger("taak.watch")

#: Reads, opens and attribute changes wake nobody; a file counts when its writer closes it.
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
#: Without the kernel's help the files are looked at so often.
POLL_S = 1.0
#: After so long without its help it is asked again.
RETRY_S = 60.0
#: A stream of events that never pauses is acted upon after so many times the settle time.
_LONGEST_WAIT = 10

_Identity = tuple[str, int, int]


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
        """Take the folders; what changes below one of `ignored` inside of them wakes nobody."""
        self._roots = [os.path.abspath(root) for root in (site, *roots)]
        self._ignored = [os.path.realpath(folder) for folder in ignored]
        self._on_settled = on_settled
        self._settle_s = settle_s
        self._rescan_s = rescan_s

    async def run(self) -> None:
        """Call `on_settled` after every change, and every few seconds in any case."""
        changes = _Changes(asyncio.get_running_loop())
        watch: _Watch | None = None
        with _overflows(changes):
            try:
                while True:
                    if watch is None or watch.is_stale():
                        watch = await asyncio.to_thread(self._renewed, watch, changes)
                        # What changed before the watch stood was told by nobody.
                        changes.add("the watch began")
                    await self._tell(await self._next(watch, changes))
            finally:
                if watch is not None:
                    await asyncio.to_thread(watch.stop)

    def _renewed(self, watch: _Watch | None, changes: _Changes) -> _Watch:
        if watch is not None:
            watch.stop()
        return _Watch(self._roots, self._ignored, changes)

    async def _next(self, watch: _Watch, changes: _Changes) -> str:
        """Return why to look: a change that has settled, or that it is time."""
        pause_s = self._rescan_s if watch.hears else min(POLL_S, self._rescan_s)
        try:
            async with asyncio.timeout(pause_s):
                await changes.wait()
        except TimeoutError:
            return f"{WATCHED}rescan"
        return await self._settled(changes)

    async def _settled(self, changes: _Changes) -> str:
        count, first = changes.take()
        for _ in range(_LONGEST_WAIT):
            await asyncio.sleep(self._settle_s)
            more, _first = changes.take()
            if not more:
                break
            count += more
        return f"{WATCHED}{first}" if count == 1 else f"{WATCHED}{count} changes, first {first}"

    async def _tell(self, reason: str) -> None:
        try:
            await self._on_settled(reason)
        except Exception:  # noqa: BLE001 - the boundary of a deployment
            # A mistake in one deployment must not end the watch, and with it the platform: the
            # next change, or the rescan, tries again.
            _log.exception("the change could not be acted upon (%s)", reason)


class _Changes:
    """Counts changes from any thread; wakes the loop once for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._woken = asyncio.Event()
        self._count = 0
        self._first = ""

    def add(self, what: str) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return  # the loop is on its way
            self._first = what
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            self._loop.call_soon_threadsafe(self._woken.set)

    async def wait(self) -> None:
        """Return when there are changes; a wake-up for some that were taken already is skipped."""
        while not self._count:
            await self._woken.wait()
            self._woken.clear()

    def take(self) -> tuple[int, str]:
        """Return how many changes there were since the last time, and the first one."""
        with self._lock:
            taken = (self._count, self._first)
            self._count, self._first = 0, ""
        return taken


class _Watch(FileSystemEventHandler):
    """One set of kernel watches: for the roots as they are now, and for the folders above them.

    It never follows a root that is removed, renamed or created: `is_stale` tells, and the owner
    makes a new one.
    """

    def __init__(self, roots: list[str], ignored: list[str], changes: _Changes) -> None:
        self._roots = roots
        self._real = [os.path.realpath(root) for root in roots]
        self._ignored = ignored
        self._changes = changes
        self._identities = self._identify()
        self._observer: InotifyObserver | None = None
        self._retry_at = 0.0
        try:
            self._observer = self._observing()
        except OSError as error:
            self._retry_at = time.monotonic() + RETRY_S
            _log.warning(
                "the kernel cannot watch the folders (%s); they are looked at every %g s instead. "
                "To change that: sysctl fs.inotify.max_user_watches=524288 "
                "fs.inotify.max_user_instances=512",
                error,
                POLL_S,
            )

    @property
    def hears(self) -> bool:
        """Tell whether the kernel reports changes."""
        return self._observer is not None

    def is_stale(self) -> bool:
        """Tell whether a root is not the folder any more that it was, or a new try is due."""
        if self._observer is None and time.monotonic() >= self._retry_at:
            return True
        return self._identify() != self._identities

    def stop(self) -> None:
        """End the threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event, in watchdog's thread."""
        for path in (event.src_path, event.dest_path):
            text = os.fsdecode(path)
            if text and (told := self._told(text)):
                self._changes.add(told)
                return

    def _observing(self) -> InotifyObserver:
        observer = InotifyObserver()
        observer.start()
        try:
            for root in self._outermost():
                observer.schedule(self, root, recursive=True, event_filter=_EVENTS)
            # Last, because watchdog passes over a sub-folder in silence when the kernel has no
            # watch left for it: then these fail as well, and that is an error.
            for folder in sorted({_nearest(root) for root in self._roots}):
                observer.schedule(self, folder, recursive=False, event_filter=_EVENTS)
        except OSError:
            observer.stop()
            observer.join()
            raise
        return observer

    def _outermost(self) -> list[str]:
        """Return the roots that exist, without those inside of others."""
        there = sorted({root for root in self._real if os.path.isdir(root)})
        return [r for r in there if not any(_inside(r, other) for other in there if other != r)]

    def _told(self, path: str) -> str:
        """Return how to name a changed path; empty if it wakes nobody."""
        for root in self._real:
            if _inside(path, root):
                below = [folder for folder in self._ignored if _inside(folder, root)]
                relative = os.path.relpath(path, root)
                matters = is_part(relative) and not any(_inside(path, folder) for folder in below)
                return relative if matters else ""
        # From a folder above: only the way to a root counts.
        return path if any(_inside(root, path) for root in (*self._roots, *self._real)) else ""

    def _identify(self) -> list[_Identity]:
        return [_identity(root) for root in self._roots]


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _nearest(root: str) -> str:
    """Return the nearest folder above that exists."""
    above = os.path.dirname(root)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return above


def _identity(root: str) -> _Identity:
    """Return which folder a path leads to now: its nearest existing folder, by inode."""
    there = root if os.path.isdir(root) else _nearest(root)
    try:
        facts = os.stat(there)
    except OSError:
        return (there, 0, 0)
    return (there, facts.st_dev, facts.st_ino)


class _OverflowHandler(logging.Handler):
    """Hears watchdog's only sign that events were lost."""

    def __init__(self, changes: _Changes) -> None:
        super().__init__(logging.WARNING)
        self._changes = changes

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().casefold():
            self._changes.add("the kernel's queue overflowed")


@contextlib.contextmanager
def _overflows(changes: _Changes) -> Iterator[None]:
    logger, handler = logging.getLogger("watchdog"), _OverflowHandler(changes)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
