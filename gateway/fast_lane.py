"""The fast lane: plain requests on the data listener, from bytes to bytes without a task.

An asyncio Protocol with the httptools parser. It takes requests of known shape (HTTP/1.1, no
Upgrade, Expect or Transfer-Encoding, a small body with a length); at the first other one it hands
the connection, with every byte from the start of that request, to aiohttp's handler, which keeps
it from then on. One request of a connection is under way at a time, the next wait in the buffer.
Per call: no task, no future, no await; one parse, one write. A head that equals the one before on
its connection, as most do of clients that keep theirs, is not parsed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final, cast
from urllib.parse import parse_qsl

import httptools

from gateway import reply
from gateway.connections import Farewell, Visit
from gateway.front_desk import NOT_YET, FrontDesk, Head, Permit, is_admin
from gateway.http_limits import HttpLimits, RefusedError
from gateway.reply import Reply
from gateway.request_head import ONCE
from gateway.routes import Match

_MAX_HEAD = 8 << 10  # no line of it can be over its limit then, nor all headers over theirs
_MAX_HEADERS = 128
_MAX_BODY = 64 << 10
_MAX_BUFFER = 256 << 10  # of requests that wait behind the one under way
_KNOWN_BYTES = 2 << 10  # of a head that an idle connection may keep
_METHODS = {name.encode(): name for name in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")}
_FOREIGN = frozenset({"expect", "transfer-encoding", "upgrade"})


class LaneState(Enum):
    """Where a connection stands."""

    IDLE = "idle"  # between requests
    READING = "reading"  # a request has begun to arrive
    CALLING = "calling"  # its function runs
    GONE = "gone"  # closed, or handed to aiohttp


#: state -> states that may follow.
TRANSITIONS: dict[LaneState, frozenset[LaneState]] = {
    LaneState.IDLE: frozenset({LaneState.READING, LaneState.GONE}),
    LaneState.READING: frozenset({LaneState.IDLE, LaneState.CALLING, LaneState.GONE}),
    LaneState.CALLING: frozenset({LaneState.IDLE, LaneState.READING, LaneState.GONE}),
    LaneState.GONE: frozenset(),
}

# A NamedTuple without its Python-level constructor: made for each call.
_new: Final = tuple.__new__

# Asked for many times a call: names of the module are found faster than members of an Enum.
_IDLE: Final[LaneState] = LaneState.IDLE
_READING: Final[LaneState] = LaneState.READING
_CALLING: Final[LaneState] = LaneState.CALLING
_GONE: Final[LaneState] = LaneState.GONE


class FastLanes:
    """All connections of the lane: makes them, ends all."""

    def __init__(
        self,
        desk: FrontDesk,
        general: Callable[[Visit, float], asyncio.Protocol],
        limits: HttpLimits,
    ) -> None:
        self.desk = desk
        self.general = general
        self.limits = limits
        self.closing = False
        self.lanes: set[FastLane] = set()

    def __call__(self, visit: Visit) -> FastLane:
        """Return the protocol of a new connection."""
        return FastLane(self, visit)

    def close(self) -> None:
        """End the idle connections now and the others after their answer."""
        self.closing = True
        for lane in list(self.lanes):
            lane.finish()


class FastLane(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_began", "_body_bytes", "_buffer", "_closing", "_desk", "_first", "_full", "_head",
        "_headers", "_is_known", "_known", "_known_bytes", "_known_head", "_lanes", "_leaving",
        "_loop", "_method", "_parser", "_permit", "_plain", "_since", "_starting", "_state",
        "_target", "_transport", "_visit", "_written",
    )  # fmt: skip

    def __init__(self, lanes: FastLanes, visit: Visit) -> None:
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        self._lanes = lanes
        self._desk = lanes.desk
        self._parser = httptools.HttpRequestParser(self)
        self._state = _READING  # who connects has something to say
        self._since = self._began = self._loop.time()
        self._buffer = b""
        self._head: Head | None = None
        self._known = b""  # the bytes of the head before, if it left the connection open
        self._known_head: Head | None = None
        self._known_bytes = 0  # of its body
        self._is_known = False  # the head of the request that is read now equals it
        self._permit: Permit | None = None  # of that head
        self._headers: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}
        self._starting = False
        self._closing = False  # after the answer
        self._full = False  # the client reads more slowly than we write
        self._leaving: Reply | None = None  # its body goes out piece by piece
        self._written = 0  # bytes of it

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._visit.taken(self, self._transport)
        self._lanes.lanes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a call under way goes on, its answer is dropped."""
        del exc
        self._leaving = None
        self._leave()
        self._visit.end()

    def data_received(self, data: bytes) -> None:
        """Take what came, and answer what is complete."""
        self._buffer = self._buffer + data if self._buffer else data
        if self._head is not None:
            self._since = self._loop.time()  # a slow body is no crime as long as it comes
        if self._state is not _CALLING:
            self._advance()
        elif len(self._buffer) > _MAX_BUFFER:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Let a client that only half closes have the answer of the call under way."""
        self._closing = True
        return self._state is _CALLING

    def pause_writing(self) -> None:
        """Begin no further request: answers that nobody reads must not pile up."""
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with what has come meanwhile."""
        self._full = False
        if self._state is _GONE:
            return
        if (answer := self._leaving) is not None:
            self._write_on(answer)
        if not self._full and not self._transport.is_closing():
            self._transport.resume_reading()
            self._advance()

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
            self._closing = self._closing or "close" in tokens
        self._first.setdefault(lower, text)

    # -- steps

    def _advance(self) -> None:
        """Answer complete requests in order, until one is under way or the bytes end."""
        while self._buffer and not self._full and (self._state is _IDLE or self._state is _READING):
            if self._state is _IDLE:
                self._state = _READING
                self._since = self._loop.time()
            if self._head is None and not self._read_head():
                return
            if len(self._buffer) < self._body_bytes:
                return
            self._begin()

    def _read_head(self) -> bool:
        """Parse the head if it is here; hand the connection over if it is none of ours."""
        buffer, known = self._buffer, self._known
        self._closing = False
        self._is_known = bool(known) and buffer.startswith(known)
        if self._is_known:
            end = len(known)
            self._head, self._body_bytes = self._known_head, self._known_bytes
        else:
            end = buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(buffer) > _MAX_HEAD or _is_odd(buffer):
                    self._hand_over()
                return False
            if not self._read_new_head(buffer[:end]):
                self._hand_over()
                return False
        self._buffer = buffer[end:] if len(buffer) > end else b""
        if len(self._buffer) < self._body_bytes:
            self._since = self._began = self._loop.time()
        return True

    def _read_new_head(self, data: bytes) -> bool:
        """Parse a head and remember it; tell whether it is one of ours."""
        self._target, self._headers, self._first = "", [], {}
        self._plain = len(data) <= _MAX_HEAD
        if not self._plain or not self._parsed(data):
            return False
        self._permit = None
        self._known, self._known_head = b"", None
        if not self._closing and len(data) <= _KNOWN_BYTES:
            self._known, self._known_head, self._known_bytes = data, self._head, self._body_bytes
        return True

    def _parsed(self, data: bytes) -> bool:
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
            self._body_bytes = 0
        elif (
            length.isascii()
            and length.isdigit()
            and int(length) <= min(_MAX_BODY, self._desk.max_body)
        ):
            self._body_bytes = int(length)
        else:
            return False
        if target[1:2] in "aA" and is_admin(target):
            return False
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
        raw_method = parser.get_method()
        method = _METHODS.get(raw_method) or raw_method.decode("latin-1")
        facts = (method, target, path, pairs, tuple(self._headers), first, "http")
        self._head = _new(Head, facts)
        return True

    def _begin(self) -> None:
        """Give a complete request to the front desk."""
        head, size = self._head, self._body_bytes
        assert head is not None
        self._head = None
        body = b""
        if size:
            body, self._buffer = self._buffer[:size], self._buffer[size:]
            if not self._is_known:  # else the parser has not seen the head
                self._parser.feed_data(body)
        self._method = head.method
        self._state = _CALLING
        self._starting = True
        permit = self._permit
        if permit is not None and self._is_known and self._desk.holds(permit):
            self._desk.call(permit, body, self._answer)
        else:
            self._ask(head, body)
        self._starting = False

    def _ask(self, head: Head, body: bytes) -> None:
        """Have a request admitted or refused; remember an admission for the next of this head."""
        desk = self._desk
        match = desk.admit(head)
        if type(match) is Reply:
            if match is NOT_YET:
                desk.opening.wait(partial(self._begin_late, head, body))
            else:
                self._answer(match)
            return
        permit = desk.permit(cast("Match", match), head)
        self._permit = permit if head is self._known_head else None
        desk.call(permit, body, self._answer)

    def _begin_late(self, head: Head, body: bytes) -> None:
        """Ask the front desk again, now that the platform has started, or still has not."""
        desk = self._desk
        match = desk.admit(head, waits=False)
        if type(match) is Reply:
            self._answer(match)
        elif self._state is _CALLING:  # the client has waited as well
            desk.call(desk.permit(cast("Match", match), head), body, self._answer)

    def _answer(self, answer: Reply) -> None:
        """Write an answer and go on with the next request."""
        self._desk.count(answer)
        if self._state is not _CALLING:
            return  # the client has left
        keep = not (self._closing or self._lanes.closing) and answer.keep_alive is not False
        transport = self._transport
        transport.write(answer.encode(self._method, keep_alive=keep))
        if answer.apart and self._method != "HEAD":
            self._leaving, self._written = answer, 0
            answer.keep_alive = keep
            self._write_on(answer)
        else:
            self._finish_answer(keep=keep)

    def _write_on(self, answer: Reply) -> None:
        """Write of a large body what the client is ready to take."""
        while not self._full and not self._transport.is_closing():
            piece = answer.piece(self._written)
            if not piece:
                self._leaving = None
                answer.done()
                self._finish_answer(keep=bool(answer.keep_alive) and not self._closing)
                return
            self._written += len(piece)
            self._transport.write(piece)

    def _finish_answer(self, *, keep: bool) -> None:
        """Go on with the next request after an answer that is written."""
        transport = self._transport
        if not keep:
            self._leave()
            transport.close()
            return
        self._state = _IDLE
        self._since = self._loop.time()
        if self._buffer and not self._starting:  # a refusal comes while _advance still loops
            if len(self._buffer) > _MAX_BUFFER and not self._full:
                transport.resume_reading()
            self._advance()

    def _hand_over(self) -> None:
        """Give the connection, with all that is not answered yet, to aiohttp for good."""
        handler = self._lanes.general(self._visit, self._since)
        transport, data = self._transport, self._buffer
        self._leave()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    # -- the end

    def check_time(self, now: float) -> None:
        """End a connection whose client owes us something for too long."""
        limits, waited = self._lanes.limits, now - self._since
        if self._state is _READING and self._head is not None:
            elapsed = now - self._began
            if refusal := limits.late_body(waited, elapsed, len(self._buffer)):
                self._refuse(refusal)
        elif self._state is _READING and (refusal := limits.late_head(waited)):
            if self._buffer:
                self._refuse(refusal)
            else:
                self.finish()  # it has said nothing at all, and hears nothing
        elif self._state is _IDLE and waited > limits.idle_s:
            self.finish()

    def _refuse(self, refusal: RefusedError) -> None:
        self._visit.refused(refusal)
        answer = self._desk.count(reply.plain(refusal.status, f"{refusal.text}\n"))
        self._transport.write(answer.encode("GET", keep_alive=False))
        self._leave()
        Farewell(self._visit, self._transport, self._lanes.limits)

    def finish(self) -> None:
        """Close between two requests; a call under way closes after its answer."""
        silent = self._state is _READING and self._head is None and not self._buffer
        if silent or self._state is _IDLE:
            self._leave()
            self._transport.close()

    def _leave(self) -> None:
        self._state = _GONE
        self._lanes.lanes.discard(self)


def _is_odd(start: bytes) -> bool:
    """Tell whether no plain request begins so: by a binary protocol, or lines without CR."""
    return not start[:1].isalpha() or start.count(b"\n") != start.count(b"\r\n")
