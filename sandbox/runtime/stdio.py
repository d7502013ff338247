"""What user code prints and logs, as records over a socket, told apart by invocation.

A record is one message on a SOCK_SEQPACKET socket:
[invocation id or "", "stdout" | "stderr" | "log" | "system", level, logger, text, unix time].
"system" marks lines of the library's own loggers, which never reach the user's console.

User code is never blocked by a slow reader: what the socket does not take is kept up to a bound,
sent with the next chance, and beyond the bound counted and dropped; the count is told. Nothing here
ever raises into user code. Descriptors 1 and 2 are pipes of their own, for sub-processes; until a
`Capture` is installed, and without a socket, all output goes there.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .context import thread_local
from .streams import PIECE, Output, RecordHandler

BACKLOG = 1 << 20  # bytes kept for a reader that is slow
LAST_WAIT_MS = 50  # how long the end of a call waits for a slow reader, at most

_invocation: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("invocation", default="")

Record = tuple[str, str, str, str, str, float]


class Capture:
    """The way of records out of a worker. One per process; `install()` once."""

    def __init__(
        self,
        log_socket: socket.socket,
        pack: Callable[[Any], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._socket: socket.socket | None = log_socket
        self._pack = pack
        self._clock = clock
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._dropped = 0
        self._active: dict[str, None] = {}
        self._lock = threading.RLock()

    def install(self) -> None:
        """Send everything that is printed or logged from now on through this capture."""
        prepare()
        _outlets.lead_to(self)
        os.register_at_fork(after_in_child=self._forget)

    def invocation(self, invocation_id: str) -> _Invocation:
        """Return a context that marks what is printed in it, and ends its unfinished lines."""
        return _Invocation(self, invocation_id)

    def begin(self, invocation_id: str) -> contextvars.Token[str]:
        """Mark what this context prints from now on."""
        self._active[invocation_id] = None
        return _invocation.set(invocation_id)

    def end(self, invocation_id: str, token: contextvars.Token[str]) -> None:
        """Pass on unfinished lines, and what a slow reader has not taken yet."""
        for stream in _outlets.streams:
            if stream.partial:
                stream.end_line(invocation_id)
        self._active.pop(invocation_id, None)
        _invocation.reset(token)
        if self._backlog:
            self.flush(LAST_WAIT_MS)

    def current(self) -> str:
        """Return whose output this is: the context's, the thread's, or the only call's there is."""
        marked = _invocation.get() or getattr(thread_local, "invocation_id", "")
        if marked or len(self._active) != 1:
            return str(marked or "")
        return next(iter(self._active), "")

    def emit(
        self, stream: str, level: str, logger: str, text: str, owner: str | None = None
    ) -> None:
        """Send one record, in pieces if it is long. Never raises."""
        owner = self.current() if owner is None else owner
        if not text.isascii():  # it may hold lone surrogates, which UTF-8 has no bytes for
            text = text.encode("utf-8", "backslashreplace").decode()
        now = self._clock()
        for start in range(0, len(text) or 1, PIECE):
            self._send((owner, stream, level, logger, text[start : start + PIECE], now))

    def flush(self, wait_ms: int = 0) -> None:
        """Send what is kept, waiting a little for the reader if asked to."""
        with self._lock:
            end = time.monotonic() + wait_ms / 1000
            while self._backlog and self._socket and not self._drain():
                left = end - time.monotonic()
                if left <= 0 or not _is_writable(self._socket, left):
                    return

    def finish(self) -> None:
        """Flush all lines and give the reader a last chance; the process is about to end."""
        for stream in _outlets.streams:
            stream.end_all_lines()
        self.flush(LAST_WAIT_MS)

    def _send(self, record: Record) -> None:
        try:
            packed = self._pack(record)
        except (UnicodeError, ValueError):
            return  # a logger's name that is no text; there is nothing to tell it by
        with self._lock:
            if self._socket is None:
                return
            if self._backlog_bytes + len(packed) > BACKLOG:
                self._dropped += 1
                self._drain()
                return
            self._backlog.append(packed)
            self._backlog_bytes += len(packed)
            self._drain()

    def _drain(self) -> bool:
        """Send kept records until the socket is full; tell whether all are gone."""
        while self._backlog:
            if not self._transmit(self._backlog[0]):
                return False
            if self._backlog:
                self._backlog_bytes -= len(self._backlog.popleft())
        if self._dropped:
            self._tell_dropped()
        return True

    def _tell_dropped(self) -> None:
        text = f"{self._dropped} records were dropped: output came faster than it could be taken"
        notice = self._pack(("", "log", "WARNING", "taak.output", text, self._clock()))
        if self._transmit(notice):
            self._dropped = 0

    def _transmit(self, packed: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.send(packed, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # the reader is gone: from now on there is nobody to tell
            self._socket = None
            self._backlog.clear()
            self._backlog_bytes = 0
            return False
        return True

    def _forget(self) -> None:
        """In a fork of user code: what the parent keeps is the parent's to send."""
        self._lock = threading.RLock()
        self._backlog.clear()
        self._backlog_bytes = self._dropped = 0
        for stream in _outlets.streams:
            stream.forget()


class _Invocation:
    """One call's stretch of output; a class because a generator would cost twice as much."""

    __slots__ = ("_capture", "_id", "_token")

    def __init__(self, capture: Capture, invocation_id: str) -> None:
        self._capture = capture
        self._id = invocation_id

    def __enter__(self) -> None:
        self._token = self._capture.begin(self._id)

    def __exit__(self, *_error: object) -> None:
        self._capture.end(self._id, self._token)


class _Outlets:
    """What stands in for sys.stdout, sys.stderr and the root logger's handler in this process."""

    def __init__(self) -> None:
        self.streams: list[Output] = []
        self.handler = RecordHandler()

    def lead_to(self, capture: Capture) -> None:
        self.handler.sink = capture
        for stream in self.streams:
            stream.sink = capture


_outlets = _Outlets()


def prepare() -> None:
    """Take over sys.stdout, sys.stderr and the root logger. May be called again.

    Done before the user's modules are imported: a logging.StreamHandler that they make keeps the
    stream of that moment, and a first logging call on a bare root logger would add its own handler.
    """
    if not _outlets.streams:
        flush(sys.stdout)
        flush(sys.stderr)
        _outlets.streams = [Output("stdout", 1), Output("stderr", 2)]
        root = logging.getLogger()
        root.addHandler(_outlets.handler)
        debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING", "") == "1"
        root.setLevel(logging.DEBUG if debug else logging.INFO)
    sys.stdout, sys.stderr = _outlets.streams


def flush(stream: Any) -> None:
    """Flush a stream that user code may have replaced by anything."""
    with contextlib.suppress(Exception):
        stream.flush()


def _is_writable(sock: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    return bool(poller.poll(seconds * 1000))
