"""A response in one write: head and body together, straight to the transport.

Stands in for aiohttp's Response on the data listener, whose general machinery costs more than the
rest of the dispatch path (performance.md 3). It has the three things that aiohttp's request loop
asks of a response: `prepare`, `write_eof` and `keep_alive`.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web
from aiohttp.http import HttpVersion10

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\r\n\0]")
# What belongs to the connection, not to the answer; length and date are the platform's.
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "date",
    }
)  # fmt: skip
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32 << 10
_BODILESS = frozenset({204, 304})
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class BadReplyError(Exception):
    """The function's reply cannot be sent; answered with 502. The message says what and why."""


Headers = tuple[tuple[str, str], ...]


class Reply:
    """One answer of the data listener."""

    __slots__ = ("_body", "_head", "_request", "body_length", "keep_alive", "prepared", "status")

    def __init__(self, status: int, head: str, body: bytes) -> None:
        self.status = status
        self.keep_alive: bool | None = None
        self.prepared = False
        self.body_length = len(body)
        self._head = head
        self._body = body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Remember the request; the writing is done by `write_eof`."""
        self._request = request
        self.prepared = True
        if self.keep_alive is None:
            self.keep_alive = request.keep_alive

    async def write_eof(self, _data: bytes = b"") -> None:
        """Write everything at once; wait only when the client reads more slowly than we write."""
        request = self._request
        transport = request.transport
        if transport is None:
            return  # the client has left
        body = self._body
        end = _connection(request, keep_alive=bool(self.keep_alive))
        if self.status not in _BODILESS:
            end = f"Content-Length: {len(body)}\r\n{end}"
        head = f"{self._head}{_date()}{end}\r\n".encode("latin-1", "replace")
        if request.method == "HEAD" or self.status in _BODILESS:
            transport.write(head)
        elif len(body) < 1 << 16:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
            await request.writer.drain()


def _connection(request: web.BaseRequest, *, keep_alive: bool) -> str:
    if request.version == HttpVersion10:
        return "Connection: keep-alive\r\n" if keep_alive else ""
    return "" if keep_alive else "Connection: close\r\n"


def from_function(status: int, headers: Headers, body: bytes, extra: Headers = ()) -> Reply:
    """Return the answer that user code made, after checking every part of it.

    Raises:
        BadReplyError: a status that is none, a header that would break the response.
    """
    if not 200 <= status <= 599:
        raise BadReplyError(f"status {status} is none; a function may answer 200 to 599")
    if len(headers) > _MAX_HEADERS:
        raise BadReplyError(f"{len(headers)} headers; the limit is {_MAX_HEADERS}")
    head = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    names = set()
    for name, value in headers:
        lower = name.lower()
        if not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
            raise BadReplyError(f"header {name!r} holds characters that no header may hold")
        if lower not in _HOP_BY_HOP:
            names.add(lower)
            head += f"{name}: {value}\r\n"
    for name, value in extra:
        if name.lower() not in names:
            head += f"{name}: {value}\r\n"
    if len(head) > _MAX_HEADER_BYTES:
        raise BadReplyError(f"{len(head)} bytes of headers; the limit is {_MAX_HEADER_BYTES}")
    return Reply(status, head, body)


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
