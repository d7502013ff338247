"""The lane beside a worker's channel on which large bodies are lent to it (sandbox/body.py).

It is the other direction of the socket of log records, so no worker needs a socket more for it, and
the channel itself is read without a thought of descriptors. One datagram a body: its kind, the id
of its call, and the descriptor. A request's is there before its frame is; room for a reply comes
when the worker has asked for it. Nothing is ever read here.
"""

from __future__ import annotations

import array
import contextlib
import socket

from sandbox.body import Body

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Lane:
    """The host's end."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def hand(self, kind: int, call_id: bytes, body: Body | None) -> None:
        """Lend a body; None says that there is none to be had.

        Raises:
            BlockingIOError: the worker does not take what it gets.
            OSError: it is gone.
        """
        fds = array.array("i", [body.fileno()] if body is not None else [])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else []
        self._sock.sendmsg([bytes([kind]) + call_id], rights, _FLAGS)

    def close(self) -> None:
        """Wake a worker that waits here: nothing will come any more. Also twice."""
        if self._sock.fileno() >= 0:
            with contextlib.suppress(OSError):  # the worker has gone first
                self._sock.shutdown(socket.SHUT_WR)  # who reads the records holds it, too
            self._sock.close()
