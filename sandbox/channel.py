"""A non-blocking socket in the host's loop: frames in, frames out, EOF as the death notice.

All frames of one loop tick leave in one write (performance.md: joined writes). What the kernel
does not take stays in a remainder buffer until the socket is writable. Per message: no await, one
callback.

The peer is taken for hostile. What is kept of a frame that is not complete is bounded by the limit
of frames, what waits for a peer that does not read by MAX_QUEUED.
"""

from __future__ import annotations

import array
import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.runtime import wire

_READ = 1 << 16  # below what the C library maps and unmaps at each turn
_READ_ON = 1 << 18  # of a frame that has begun
#: Bytes that may wait for one peer. Beyond it the channel is closed; owners stop long before.
MAX_QUEUED = wire.MAX_HOST_FRAME + (16 << 20)
_LAST_WORDS_S = 1.0  # to read what was said by a peer that does not listen any more
_CREDENTIALS = struct.Struct("3i")
_SO_PASSCRED = 16
_SCM_CREDENTIALS = 2


class Channel:
    """One end of a socket pair whose other end is in a guest process.

    `on_message` gets each decoded message; `on_closed` is called once, with the reason ("" for a
    plain EOF), also when the peer broke the rules of the wire. `on_part` is called when a read has
    completed no frame, `on_room` when all that had to wait has left. After `close()` nothing is
    called any more.
    """

    __slots__ = (
        "_closed",
        "_decoder",
        "_flushing",
        "_loop",
        "_on_closed",
        "_on_message",
        "_on_part",
        "_on_room",
        "_out",
        "_remainder",
        "_sock",
        "peer_pid",
        "queued",
    )

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[list[Any]], None],
        on_closed: Callable[[str], None],
        *,
        on_part: Callable[[], None] | None = None,
        on_room: Callable[[], None] | None = None,
        max_frame: int = wire.MAX_CONTROL_FRAME,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_part = on_part
        self._on_room = on_room
        self._decoder = wire.Decoder(max_frame, hostile=True)
        self._out: list[bytes] = []
        self._remainder = bytearray()  # is cut at the front without a copy
        self._flushing = False
        self._closed = False
        #: bytes that wait to be read by the peer, except what the kernel has taken.
        self.queued = 0
        #: pid of the process that sent the first bytes, as the kernel vouches for it.
        self.peer_pid = 0
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        self._loop.add_reader(sock, self._first_read)

    def allow(self, max_frame: int) -> None:
        """Take frames of up to so many bytes from now on."""
        self._decoder.allow(max_frame)

    def send(self, frame: bytes) -> None:
        """Queue one frame; it leaves with the others of this loop tick."""
        self.queued += len(frame)
        if self.queued > MAX_QUEUED:
            self._refuse(len(frame))
            return
        self._out.append(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def send_with_fds(self, frame: bytes, fds: Sequence[int]) -> None:
        """Send one frame with descriptors at once; the caller closes its own copies.

        Raises:
            BlockingIOError: the peer does not read; control channels treat it as broken.
        """
        self._flush()
        if self._remainder:
            raise BlockingIOError("the peer does not read its channel")
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sent = self._sock.sendmsg([frame], [rights])
        if sent < len(frame):
            self._keep(frame[sent:])

    def close(self) -> None:
        """Close this end without a notice; the peer sees EOF."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._decoder.forget()  # the owner may be kept for a while
        self._out.clear()
        self._remainder = bytearray()

    def _fail(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_closed(reason)

    def _refuse(self, size: int) -> None:
        """Give up a peer that does not read; not now, its owner is in the middle of a thought."""
        self.queued -= size
        reason = f"it does not read: {self.queued} bytes wait; the limit is {MAX_QUEUED}"
        self._loop.call_soon(self._fail, reason)

    def _first_read(self) -> None:
        try:
            data, ancillary, _flags, _from = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
                self.peer_pid = _CREDENTIALS.unpack(payload[: _CREDENTIALS.size])[0]
        if data:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 0)
            self._loop.remove_reader(self._sock)
            self._loop.add_reader(self._sock, self._read)
        self._take(data)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ_ON if self._decoder.pending else _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._fail("")
            return
        try:
            messages = self._decoder.feed(data)
        except wire.WireError as error:
            self._fail(str(error))
            return
        for message in messages:
            if self._closed:
                return
            self._on_message(message)
        if not messages and self._on_part is not None:
            self._on_part()

    def _flush(self) -> None:
        self._flushing = False
        if not self._out:
            return
        if self._closed:
            self._out.clear()
            self.queued = 0
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        if self._remainder:
            self._remainder += data
            return
        self.queued = 0
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return
        if sent < len(data):
            self._keep(data[sent:])

    def _keep(self, rest: bytes) -> None:
        self._remainder = bytearray(rest)
        self.queued += len(rest)
        self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._remainder)
        except BlockingIOError:
            return
        except OSError:
            self._loop.remove_writer(self._sock)
            self._lose()
            return
        del self._remainder[:sent]
        self.queued -= sent
        if not self._remainder:
            self._loop.remove_writer(self._sock)
            if self._on_room is not None:
                self._on_room()

    def _lose(self) -> None:
        # The reader sees the EOF and tells, after what the peer still said; but a peer that has
        # closed the half that it reads from sends none.
        self._loop.call_later(_LAST_WORDS_S, self._fail, "")


def pair() -> tuple[socket.socket, socket.socket]:
    """Return (host end, guest end) of a new stream socket pair, both closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
