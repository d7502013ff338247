"""A response in one write: head and body together, straight to the transport.

Stands in for aiohttp's Response on the data listener, whose general machinery costs more than the
rest of the dispatch path (performance.md 3). It has the three things that aiohttp's request loop
asks of a response: `prepare`, `write_eof` and `keep_alive`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion10

from scheduler.events import Body

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all that controls, but the tab
# What belongs to the connection, not to the answer; length and date are the platform's.
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
        "date",
    }
)  # fmt: skip
_JOINED_BYTES = 1 << 16
PIECE = 1 << 20  # bytes of a body in a file that are in the heap at a time
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32 << 10
_BODILESS = frozenset({204, 304})
_EMPTY = 205  # has a length, which is 0
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class BadReplyError(Exception):
    """The function's reply cannot be sent; answered with 502. The message says what and why."""


Headers = Sequence[Sequence[str]]


class Reply:
    """One answer of the data listener."""

    __slots__ = ("_head", "_request", "apart", "body", "keep_alive", "status")

    def __init__(self, status: int, head: str, body: bytes | Body) -> None:
        self.status = status
        self.body = body if status != _EMPTY else b""
        self.keep_alive: bool | None = None  # None: as the client wishes
        #: The body is so large that joining it to the head would cost a copy, or in a file.
        self.apart = len(self.body) > _JOINED_BYTES and status not in _BODILESS
        self._head = head

    def encode(self, method: str, *, keep_alive: bool, http10: bool = False) -> bytes:
        """Return head and, unless it goes by itself, body; see `apart`."""
        status, body = self.status, self.body
        if keep_alive is http10:
            end = "Connection: keep-alive\r\n\r\n" if http10 else "Connection: close\r\n\r\n"
        else:
            end = "\r\n"
        if status in _BODILESS:
            return f"{self._head}{_date()}{end}".encode("latin-1", "replace")
        length = f"Content-Length: {len(body)}\r\n"
        head = f"{self._head}{_date()}{length}{end}".encode("latin-1", "replace")
        return head if method == "HEAD" or self.apart else head + cast("bytes", body)

    def piece(self, at: int) -> bytes:
        """Return what to write next of a body that goes by itself, b"" at its end."""
        body = self.body
        if isinstance(body, Body):
            return body.read(at, min(PIECE, len(body) - at))
        return b"" if at else body

    def done(self) -> None:
        """Give back what a body in a file takes: answers are kept until the next one."""
        if isinstance(self.body, Body):
            self.body.close()

    # -- what aiohttp's request loop asks of a response

    async def prepare(self, request: web.BaseRequest) -> None:
        """Remember the request; the writing is done by `write_eof`."""
        self._request = request
        if self.keep_alive is None:
            self.keep_alive = request.keep_alive

    async def write_eof(self, _data: bytes = b"") -> None:
        """Write everything; wait only when the client reads more slowly than we write."""
        try:
            await self._write(self._request)
        finally:
            self.done()

    async def _write(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            return  # the client has left
        http10 = request.version == HttpVersion10
        method = request.method
        transport.write(self.encode(method, keep_alive=bool(self.keep_alive), http10=http10))
        at = 0
        while self.apart and method != "HEAD" and (piece := self.piece(at)):
            at += len(piece)
            transport.write(piece)
            if request.protocol.writing_paused:
                await request.writer.drain()
            if transport.is_closing():
                return
        if request.protocol.writing_paused:  # also small answers add up when nobody reads them
            await request.writer.drain()


def from_function(status: int, headers: Headers, body: bytes | Body, extra: Headers = ()) -> Reply:
    """Return the answer that user code made, after checking every part of it.

    Raises:
        BadReplyError: a status that is none, a header that would break the response.
    """
    if not 200 <= status <= 599:
        raise BadReplyError(f"status {status} is none; a function may answer 200 to 599")
    if len(headers) > _MAX_HEADERS:
        raise BadReplyError(f"{len(headers)} headers; the limit is {_MAX_HEADERS}")
    head = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    for name, value in headers:
        head += _LINES.get((name, value)) or _line(name, value)
    if extra:
        names = {name.lower() for name, _value in headers}
        head += "".join(f"{n}: {v}\r\n" for n, v in extra if n.lower() not in names)
    if len(head) > _MAX_HEADER_BYTES:
        raise BadReplyError(f"{len(head)} bytes of headers; the limit is {_MAX_HEADER_BYTES}")
    return Reply(status, head, body)


#: Header lines that have been checked: functions send the same few again and again.
_LINES: dict[tuple[str, str], str] = {}
_MAX_LINES = 512
_MAX_LINE_CHARS = 200
_SHOWN_CHARS = 100


def _line(name: str, value: str) -> str:
    """Check one header and return its line, "" for what belongs to the connection."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise BadReplyError("a header's name or value is no text")
    if len(name) + len(value) > _MAX_HEADER_BYTES:  # before it is looked at
        size = len(name) + len(value)
        raise BadReplyError(f"a header of {size} bytes; the limit is {_MAX_HEADER_BYTES}")
    if not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
        shown = repr(name[:_SHOWN_CHARS])
        raise BadReplyError(f"header {shown} holds characters that no header may hold")
    if name.lower() in _HOP_BY_HOP:
        return ""
    line = f"{name}: {value}\r\n"
    if len(line) <= _MAX_LINE_CHARS and len(_LINES) < _MAX_LINES:
        _LINES[name, value] = line
    return line


def plain(status: int, text: str = "", headers: Headers = (), kind: str = "text/plain") -> Reply:
    """Return an answer of the platform's own; an empty text is an empty body."""
    head = _STATUS_LINES[status]
    if text:
        head += f"Content-Type: {kind}; charset=utf-8\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers)
    return Reply(status, head, text.encode())


_date_of = (0, "")


def _date() -> str:
    """Return the Date line; it changes once a second."""
    global _date_of  # a cache of one value, written by the loop alone
    now = int(time.time())
    if _date_of[0] != now:
        _date_of = (now, f"Date: {formatdate(now, usegmt=True)}\r\n")
    return _date_of[1]
