"""The plain requests of one connection, from bytes to head and body [hot path].

Of known shape are HTTP/1.1 requests without Upgrade, Expect or Transfer-Encoding and with a small
body that has a length; anything else is foreign, and its bytes stay in the buffer from its start. A
head that equals the one before, as most do of clients that keep their connection, is not parsed
again. Knows no transport and no time.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

import httptools

from gateway.front_desk import Head, Permit, is_admin
from gateway.request_head import ONCE

_MAX_HEAD = 8 << 10  # no line of it can be over its limit then, nor all headers over theirs
_MAX_HEADERS = 128
_MAX_BODY = 64 << 10
_KNOWN_BYTES = 2 << 10  # of a head that an idle connection may keep
_METHODS = {name.encode(): name for name in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")}
_FOREIGN = frozenset({"expect", "transfer-encoding", "upgrade"})

# A NamedTuple without its Python-level constructor: made for each call.
_new: Final = tuple.__new__


class RequestReader:
    """`head` is that of the request which is read now, once it is complete; its body may follow.

    `closing`: its client wants no further one on this connection. `permit` is what the owner may
    keep for the next request of the same head.
    """

    __slots__ = (
        "_first", "_headers", "_is_known", "_known", "_known_bytes", "_known_head", "_parser",
        "_permit", "_plain", "_target", "body_bytes", "buffer", "closing", "foreign", "head",
    )  # fmt: skip

    def __init__(self) -> None:
        self.buffer = b""
        self.head: Head | None = None
        self.body_bytes = 0
        self.closing = False
        self.foreign = False
        self._parser = httptools.HttpRequestParser(self)
        self._known = b""  # the bytes of the head before, if it left the connection open
        self._known_head: Head | None = None
        self._known_bytes = 0  # of its body
        self._is_known = False  # the head that was read last equals it
        self._permit: Permit | None = None  # of that head
        self._headers: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}

    def read_head(self, max_body: int) -> bool:
        """Take a head off the buffer; False if it is not all here, or `foreign`."""
        buffer, known = self.buffer, self._known
        self.closing = False
        self._is_known = bool(known) and buffer.startswith(known)
        if self._is_known:
            end = len(known)
            self.head, self.body_bytes = self._known_head, self._known_bytes
        else:
            end = buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                self.foreign = len(buffer) > _MAX_HEAD or _is_odd(buffer)
                return False
            if not self._read_new_head(buffer[:end], max_body):
                self.foreign = True
                return False
        self.buffer = buffer[end:] if len(buffer) > end else b""
        return True

    def take_body(self) -> bytes:
        """Take the body off the buffer, where it is complete, and with it end the request."""
        self.head = None
        size = self.body_bytes
        if not size:
            return b""
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        if not self._is_known:  # else the parser has not seen the head
            self._parser.feed_data(body)
        return body

    @property
    def permit(self) -> Permit | None:
        """Return what was kept for the head that was read last."""
        return self._permit if self._is_known else None

    def keep(self, permit: Permit, head: Head) -> None:
        """Keep a permit for further requests of this head, if it is remembered."""
        self._permit = permit if head is self._known_head else None

    # -- httptools

    def on_url(self, url: bytes) -> None:
        """Take the target."""
        self._target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; decoded as aiohttp does, so that both paths say the same."""
        key = name.decode("latin-1")
        text = value.decode("utf-8", "surrogateescape")
        lower = key.lower()
        self._headers.append((key, text))
        if lower in _FOREIGN or (lower in ONCE and lower in self._first):
            self._plain = False
        elif lower == "connection" and "close" in text.lower():
            tokens = [token.strip(" \t") for token in text.lower().split(",")]
            self.closing = self.closing or "close" in tokens
        self._first.setdefault(lower, text)

    # -- steps

    def _read_new_head(self, data: bytes, max_body: int) -> bool:
        """Parse a head and remember it; tell whether it is one of ours."""
        self._target, self._headers, self._first = "", [], {}
        self._plain = len(data) <= _MAX_HEAD
        if not self._plain or not self._parsed(data, max_body):
            return False
        self._permit = None
        self._known, self._known_head = b"", None
        if not self.closing and len(data) <= _KNOWN_BYTES:
            self._known, self._known_head, self._known_bytes = data, self.head, self.body_bytes
        return True

    def _parsed(self, data: bytes, max_body: int) -> bool:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False  # aiohttp answers what is no HTTP, and who would change the protocol
        parser, target, first = self._parser, self._target, self._first
        if not self._plain or parser.get_http_version() != "1.1" or not target.startswith("/"):
            return False
        if len(self._headers) > _MAX_HEADERS or "host" not in first:
            return False
        if (length := first.get("content-length")) is None:
            self.body_bytes = 0
        elif length.isascii() and length.isdigit() and int(length) <= min(_MAX_BODY, max_body):
            self.body_bytes = int(length)
        else:
            return False
        if target[1:2] in "aA" and is_admin(target):
            return False
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
        raw_method = parser.get_method()
        method = _METHODS.get(raw_method) or raw_method.decode("latin-1")
        facts = (method, target, path, pairs, tuple(self._headers), first, "http")
        self.head = _new(Head, facts)
        return True


def _is_odd(start: bytes) -> bool:
    """Tell whether no plain request begins so: by a binary protocol, or lines without CR."""
    return not start[:1].isalpha() or start.count(b"\n") != start.count(b"\r\n")
