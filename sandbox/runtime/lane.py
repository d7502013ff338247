"""The lane on which the host lends large bodies: the requests' and room for those of replies.

Datagrams of one byte for the kind and 16 for the id of the call, with a descriptor; without one,
there is no room. It shares the socket of the log records, whose other direction it is.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Any

from . import wire

_ID_AT = 1
_DATAGRAM = 17
_FD_BYTES = array.array("i").itemsize
_PIECE = 1 << 30  # one read or write takes less than 2 GiB


class ClosedError(Exception):
    """The host has closed the lane: it wants nothing of this worker any more."""


class Lane:
    """The worker's end. Not for two threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._early: dict[tuple[int, bytes], int] = {}  # what came while another was waited for

    def body(self, call_id: bytes, size: int) -> bytes:
        """Return the body of a request, which is there when its frame is.

        Raises:
            MemoryError: it is more than this process may have.
            OSError: it cannot be read.
            ClosedError: the host is gone.
        """
        fd = self._wait(wire.BODY, call_id)
        try:
            return _read(fd, size)
        finally:
            os.close(fd)

    def drop(self, call_id: bytes, event: Any) -> None:
        """Give back the body, if it came here, of a request that has gone to another worker."""
        if type(event[-1]) is int:
            os.close(self._wait(wire.BODY, call_id))

    def room(self, call_id: bytes) -> int:
        """Wait for the room that was asked for; return its descriptor, -1 if there is none."""
        return self._wait(wire.ROOM, call_id)

    def arrived(self) -> list[tuple[bytes, int]]:
        """Return (call, descriptor) of the rooms that have come, without waiting."""
        try:
            while True:
                self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        rooms = [key for key in self._early if key[0] == wire.ROOM]
        return [(key[1], self._early.pop(key)) for key in rooms]

    def _wait(self, kind: int, call_id: bytes) -> int:
        while (kind, call_id) not in self._early:
            self._receive(0)
        return self._early.pop((kind, call_id))

    def _receive(self, flags: int) -> None:
        data, ancillary, _flags, _from = self.sock.recvmsg(
            _DATAGRAM, socket.CMSG_SPACE(_FD_BYTES), flags | socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            raise ClosedError
        self._early[data[0], data[_ID_AT:]] = _descriptor(ancillary)


def is_large(payload: Any) -> bool:
    """Tell whether a payload is an HTTP reply whose body goes beside its frame."""
    if type(payload) is not list or type(payload[2]) is not bytes:
        return False
    return wire.APART <= len(payload[2]) <= wire.MAX_ROOM


def fill(fd: int, payload: list[Any]) -> list[Any]:
    """Write a reply's body into its room and close that; return what goes into the frame.

    That is the whole reply when it could not be written: a sandbox may write short files only.
    """
    if fd < 0:
        return payload
    status, headers, body = payload
    try:
        left = memoryview(body)
        while left:
            left = left[os.write(fd, left[:_PIECE]) :]
    except OSError:
        return payload
    finally:
        os.close(fd)
    return [status, headers, len(body)]


def _read(fd: int, size: int) -> bytes:
    parts = [os.pread(fd, min(size - at, _PIECE), at) for at in range(0, size, _PIECE)]
    return b"".join(parts)  # of one, as nearly always, that is no copy


def _descriptor(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return array.array("i", payload[:_FD_BYTES])[0]
    return -1
