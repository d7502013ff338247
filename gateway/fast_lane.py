"""The fast lane: plain requests on the data listener, from bytes to bytes without a task.

An asyncio Protocol that answers what request_reader.py knows; at the first other request it hands
the connection, with every byte from the start of that request, to aiohttp's handler, which keeps it
from then on. One request of a connection is under way at a time, the next wait in the buffer. Per
call: no task, no future, no await; one parse at most, one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final, cast

from gateway import reply
from gateway.connections import Farewell, Visit
from gateway.front_desk import NOT_YET, FrontDesk, Head
from gateway.http_limits import HttpLimits, RefusedError
from gateway.reply import Reply
from gateway.request_reader import RequestReader
from gateway.routes import Match

_MAX_BUFFER = 256 << 10  # of requests that wait behind the one under way


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
        "_began", "_closing", "_desk", "_full", "_lanes", "_leaving", "_loop", "_method", "_reader",
        "_since", "_starting", "_state", "_transport", "_visit", "_written",
    )  # fmt: skip

    def __init__(self, lanes: FastLanes, visit: Visit) -> None:
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        self._lanes = lanes
        self._desk = lanes.desk
        self._reader = RequestReader()
        self._state = _READING  # who connects has something to say
        self._since = self._began = self._loop.time()
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
        reader = self._reader
        reader.buffer = reader.buffer + data if reader.buffer else data
        if reader.head is not None:
            self._since = self._loop.time()  # a slow body is no crime as long as it comes
        if self._state is not _CALLING:
            self._advance()
        elif len(reader.buffer) > _MAX_BUFFER:
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

    # -- steps

    def _advance(self) -> None:
        """Answer complete requests in order, until one is under way or the bytes end."""
        reader = self._reader
        while (
            reader.buffer and not self._full and (self._state is _IDLE or self._state is _READING)
        ):
            if self._state is _IDLE:
                self._state = _READING
                self._since = self._loop.time()
            if reader.head is None and not self._read_head():
                return
            if len(reader.buffer) < reader.body_bytes:
                return
            self._begin()

    def _read_head(self) -> bool:
        """Take a head if it is here; hand the connection over if it is none of ours."""
        reader = self._reader
        if not reader.read_head(self._desk.max_body):
            if reader.foreign:
                self._hand_over()
            return False
        if len(reader.buffer) < reader.body_bytes:
            self._since = self._began = self._loop.time()
        return True

    def _begin(self) -> None:
        """Give a complete request to the front desk."""
        reader = self._reader
        head = reader.head
        assert head is not None
        body = reader.take_body()
        self._method = head.method
        self._state = _CALLING
        self._starting = True
        permit = reader.permit
        if permit is not None and self._desk.holds(permit):
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
        self._reader.keep(permit, head)
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
        closing = self._closing or self._reader.closing or self._lanes.closing
        keep = not closing and answer.keep_alive is not False
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
        if self._reader.buffer and not self._starting:  # a refusal comes while _advance still loops
            if len(self._reader.buffer) > _MAX_BUFFER and not self._full:
                transport.resume_reading()
            self._advance()

    def _hand_over(self) -> None:
        """Give the connection, with all that is not answered yet, to aiohttp for good."""
        handler = self._lanes.general(self._visit, self._since)
        transport, data = self._transport, self._reader.buffer
        self._leave()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    # -- the end

    def check_time(self, now: float) -> None:
        """End a connection whose client owes us something for too long."""
        limits, waited = self._lanes.limits, now - self._since
        if self._state is _READING and self._reader.head is not None:
            elapsed = now - self._began
            if refusal := limits.late_body(waited, elapsed, len(self._reader.buffer)):
                self._refuse(refusal)
        elif self._state is _READING and (refusal := limits.late_head(waited)):
            if self._reader.buffer:
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
        silent = self._state is _READING and self._reader.head is None and not self._reader.buffer
        if silent or self._state is _IDLE:
            self._leave()
            self._transport.close()

    def _leave(self) -> None:
        self._state = _GONE
        self._lanes.lanes.discard(self)
