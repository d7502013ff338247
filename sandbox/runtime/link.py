"""A blocking socket with frames and descriptors on it: what launcher, init and zygote read from."""

from __future__ import annotations

import array
import contextlib
import socket
from typing import Any

from . import wire

_MAX_FDS = 8
_FD_BYTES = array.array("i").itemsize


class Link:
    """One stream socket to the host. Descriptors arrive with the frame that they belong to."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(fileno=fd)
        self.sock.setblocking(True)
        self.sock.set_inheritable(False)

    def fileno(self) -> int:
        """Return the descriptor, for poll()."""
        return self.sock.fileno()

    def receive(self) -> tuple[list[Any], list[int]] | None:
        """Wait for the next message; None when the host has closed its end."""
        head, fds = self._first(4)
        if not head:
            return None
        head += self._rest(4 - len(head))
        body = self._rest(int.from_bytes(head, "big"))
        message = wire.unpack(body)
        return message, fds

    def send(self, *message: Any) -> None:
        """Send one message; a host that is gone is noticed by `receive`."""
        with contextlib.suppress(OSError):
            self.sock.sendall(wire.encode(message))

    def send_with_fds(self, message: list[Any], fds: list[int]) -> None:
        """Send one message with descriptors.

        Raises:
            OSError: the other end is gone.
        """
        frame = wire.encode(message)
        sent = socket.send_fds(self.sock, [frame], fds)
        if sent < len(frame):  # even an empty send would fail: the receiver may be content and gone
            self.sock.sendall(frame[sent:])

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def _first(self, size: int) -> tuple[bytes, list[int]]:
        try:
            data, ancillary, _flags, _address = self.sock.recvmsg(
                size, socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return b"", []
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
        return data, list(fds)

    def _rest(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self.sock.recv(min(size, 1 << 20))
            if not part:
                raise EOFError("the host closed the channel in the middle of a frame")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
