"""The process of one worker, as the kernel vouches for it: who it is, and its end.

What the zygote says of it is taken where the kernel has told nothing yet. Killing goes through the
sandbox's own init, by the number inside; a handle of ours is the second way, for an init that does
not act.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from sandbox.process_tree import number_inside
from sandbox.tree import Tree

_KILL_GRACE_S = 0.5
_LINGER_S = 5.0  # how long a process may live on without its channel


class WorkerProcess:
    """`pid` is ours for it, 0 as long as it has not spoken; `inside` is the sandbox's own."""

    __slots__ = ("_handle", "_loop", "_tree", "inside", "pid")

    def __init__(self, tree: Tree) -> None:
        self.pid = 0
        self.inside = 0
        self._tree = tree
        self._handle = -1
        self._loop = asyncio.get_running_loop()

    def forked(self, inside: int) -> None:
        """Take the zygote's word for the number inside; the kernel's comes with HELLO."""
        self.inside = self.inside or inside

    def identify(self, peer_pid: int) -> None:
        """Take the kernel's word for who it is; nobody else's counts for a kill."""
        if self._handle < 0 and peer_pid:
            self.pid = peer_pid
            self.inside = number_inside(peer_pid) or self.inside or peer_pid
            with contextlib.suppress(OSError):
                self._handle = os.pidfd_open(peer_pid)

    def kill(self) -> bool:
        """End it and everything that it started, now; False if nobody knows who it is."""
        if not self.inside:
            return False
        self._tree.kill_under(self.inside)
        self._tree.tidy()
        self._loop.call_later(_KILL_GRACE_S, self._kill_by_handle)
        return True

    def abandon(self) -> None:
        """See to it that it does not live on for long: its channel is closed."""
        if self._handle >= 0:
            self._loop.call_later(_LINGER_S, self._put_down)
            self._tree.ended.add_done_callback(lambda _: self.forget())
        elif self.inside:
            self._tree.kill_under(self.inside)  # it never spoke: the kernel has told nothing of it

    def forget(self) -> None:
        """Drop the handle: it has ended."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _kill_by_handle(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def _put_down(self) -> None:
        """End a process that lives on without its channel: nobody would ever miss it."""
        if self._handle < 0:
            return
        with contextlib.suppress(OSError):  # it is gone, as it should be
            signal.pidfd_send_signal(self._handle, 0)
            self._tree.kill_under(self.inside)
        self.forget()
