"""The one place beside the platform's own thread: a processor that one worker may share with it.

Requests that come alone cost two wake-ups each, and waking a process on another processor costs
most of such a call. A worker that is held on the platform's processor is woken for less; the
platform itself stays free to move, so a worker that begins to compute costs it nothing. One worker
has the seat at a time, and none for long without asking again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_libc = ctypes.CDLL(None)


class Seat:
    """Who sits beside the platform. Moves are best efforts: without the right to, nobody does."""

    __slots__ = ("_pid", "_processor")

    def __init__(self) -> None:
        self._pid = 0
        self._processor = -1

    @property
    def taken(self) -> bool:
        """Tell whether somebody has it."""
        return self._pid != 0

    def take(self, pid: int) -> bool:
        """Hold a process where the platform runs now; False if it has threads, or may not be."""
        here = _libc.sched_getcpu()
        if self._pid == pid and self._processor == here:
            return True
        with contextlib.suppress(OSError):
            if len(os.listdir(f"/proc/{pid}/task")) == 1 and here >= 0:
                os.sched_setaffinity(pid, {here})
                self._pid, self._processor = pid, here
                return True
        self.leave(pid)
        return False

    def leave(self, pid: int) -> None:
        """Let a process run anywhere again, with the threads that it has started meanwhile."""
        if self._pid != pid:
            return
        self.free()
        everywhere = os.sched_getaffinity(0)
        with contextlib.suppress(OSError):  # it has gone
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), everywhere)

    def free(self) -> None:
        """Forget who sat: it has ended, and its number may be somebody else's."""
        self._pid, self._processor = 0, -1
