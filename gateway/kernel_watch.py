"""One set of the kernel's watches over folders as they are now, and over the way to them.

`folder_watch.py` decides what to do about changes, and when a new set is needed. Everything but
`dispatch` blocks: call it in a thread.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable

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

_Identity = tuple[str, int, int]


class _Observer(InotifyObserver):
    """Watchdog's threads, with the question whether they still live."""

    def hears(self) -> bool:
        """Tell whether the thread that reads the kernel's queue goes on."""
        return self.is_alive() and self._inotify_fd.is_alive()

    def end(self) -> None:
        """Stop the threads and wait for them."""
        self.stop()
        self.join()


class KernelWatch(FileSystemEventHandler):
    """One set of kernel watches: for the roots as they are now, and for the folders above them.

    It never follows a root that is removed, renamed or created: `is_stale` tells, and the owner
    makes a new one.
    """

    def __init__(
        self, roots: list[str], ignored: list[str], changed: Callable[[str], None]
    ) -> None:
        self._roots = roots
        self._real = [os.path.realpath(root) for root in roots]
        self._ignored = ignored
        self._changed = changed
        self._identities = self._identify()
        self._observer: _Observer | None = None
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
        if self._observer is None:
            worn = time.monotonic() >= self._retry_at
        else:
            worn = not self._observer.hears()
        return worn or self._identify() != self._identities

    def stop(self) -> None:
        """End the threads."""
        if self._observer is not None:
            self._observer.end()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event, in watchdog's thread."""
        for path in (event.src_path, event.dest_path):
            text = os.fsdecode(path)
            if text and (told := self._told(text)):
                self._changed(told)
                return

    def _observing(self) -> _Observer:
        # A folder that appears while its parent is walked is registered twice, which is harmless,
        # and of which watchdog warns.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = _Observer()
        observer.start()
        try:
            for root in self._outermost():
                observer.schedule(self, root, recursive=True, event_filter=_EVENTS)
            # Last, because watchdog passes over a sub-folder in silence when the kernel has no
            # watch left for it: then these fail as well, and that is an error.
            for folder in sorted({_nearest(root) for root in self._roots}):
                observer.schedule(self, folder, recursive=False, event_filter=_EVENTS)
        except OSError:
            observer.end()
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
