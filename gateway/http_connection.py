"""A connection of aiohttp's, with the limits that aiohttp has not: sizes, times, strict framing.

Serves the general path of the data listener and all of management. Bytes go through the Framing,
which hands aiohttp one request at a time, so that it is known at each moment what the client owes
us and since when. A head that is refused is answered here, in plain words; a body that is refused
makes its reader raise RefusedError, and the answer is the reader's.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway import reply
from gateway.connections import Visit
from gateway.framing import Framing, Part
from gateway.http_limits import HttpLimits, RefusedError, malformed

_MAX_WAITING = 256 << 10  # bytes of requests that wait behind the one under way
_NEVER_S = 86_400.0  # aiohttp's own idle time: ours is shorter
#: Above ours, that refuses in better words.
_AIOHTTP = {"max_line_size": 1 << 16, "max_field_size": 1 << 16, "max_headers": 1 << 10}


class Phase(Enum):
    """What is waited for."""

    IDLE = "idle"  # the next request
    HEAD = "head"  # the rest of a head
    BODY = "body"  # the rest of a body; its request may be answered already
    CALLING = "calling"  # our answer
    LEAVING = "leaving"  # the client's end: it was refused, and what it sends is thrown away


#: phase -> phases that may follow.
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.IDLE: frozenset({Phase.HEAD, Phase.BODY, Phase.CALLING, Phase.LEAVING}),
    Phase.HEAD: frozenset({Phase.IDLE, Phase.BODY, Phase.CALLING, Phase.LEAVING}),
    Phase.BODY: frozenset({Phase.CALLING, Phase.IDLE, Phase.HEAD, Phase.LEAVING}),
    Phase.CALLING: frozenset({Phase.IDLE, Phase.HEAD, Phase.LEAVING}),
    Phase.LEAVING: frozenset(),
}


class HttpConnection(RequestHandler):
    """One connection."""

    __slots__ = (
        "_began", "_eof", "_framing", "_held", "_limits", "_linger", "_payload", "_phase", "_since",
        "_size", "_visit",
    )  # fmt: skip

    def __init__(
        self, server: web.Server, visit: Visit, limits: HttpLimits, since: float = 0, **more: Any
    ) -> None:
        """Begin.

        Args:
            server: aiohttp's, which knows who answers.
            visit: the connection's place.
            limits: of sizes and times.
            since: when the first head began, if bytes of it came to another protocol.
            more: options of aiohttp's handler.
        """
        loop = asyncio.get_running_loop()
        options = {"access_log": None, "keepalive_timeout": _NEVER_S, "lingering_time": 0}
        super().__init__(server, loop=loop, **{**options, **_AIOHTTP, **more})
        self._visit = visit
        self._limits = limits
        self._framing = Framing(limits)
        self._phase = Phase.HEAD  # who connects has something to say
        self._since = since or loop.time()  # the phase; of a body its last byte
        self._began = 0.0  # the body
        self._size = 0  # of the body so far
        self._held = 0.0  # since when we do not read
        self._eof = False
        self._payload: StreamReader | None = None
        self._linger: asyncio.Timeout | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._visit.taken(self, cast("asyncio.Transport", transport))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._stop_lingering()
        super().connection_lost(exc)
        self._visit.end()

    def data_received(self, data: bytes) -> None:
        """Hand on what belongs to the request that is under way."""
        if not data:  # aiohttp asks itself to go on
            super().data_received(data)
        if not data or self._phase is Phase.LEAVING:
            return
        if self._payload_parser is not None:
            super().data_received(data)
            return
        if self._phase is Phase.BODY:
            self._since = self._loop.time()
            self._size += len(data)
        self._framing.feed(data)
        self._advance()
        if self._phase is Phase.CALLING and self._framing.waiting > _MAX_WAITING:
            self._visit.hold()

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        """Let a connection that was upgraded go past the framing: what comes is HTTP no more."""
        super().set_parser(parser, data_received_cb)
        if rest := self._framing.leave():
            super().data_received(rest)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's says None, for False
        """Let a client that only half closes have the answer to what it has asked."""
        self._eof = True
        return self._phase is Phase.CALLING and self._payload_parser is None

    def pause_reading(self) -> None:
        """Note that it is not the client who is slow now."""
        self._held = self._held or self._loop.time()
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do not count the pause against the client."""
        if self._held:
            now = self._loop.time()
            self._began += now - self._held
            self._since = now
            self._held = 0.0
        super().resume_reading(resume_parser)

    # -- aiohttp's request loop

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; then wait a little for a body that nobody has read."""
        done = await super().finish_response(request, resp, start_time)
        if self.transport is None or done[1]:
            return done  # the client has left
        goes_on = bool(resp.keep_alive) and not self._eof and self._phase is not Phase.LEAVING
        if self._payload is not None and not self._payload.is_eof():
            await self._wait_for_end(self._payload, self.transport, goes_on=goes_on)
        if goes_on and self._phase is Phase.CALLING:
            self._next()
        else:
            self.close()  # the loop ends, and with it the connection
        return done

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what neither we nor a handler has answered."""
        if isinstance(exc, RequestPayloadError) or status == 400:
            exc = malformed((message or str(exc)).partition("\n")[0].rstrip(":. "))
            self._visit.refused(exc)
        if not isinstance(exc, RefusedError):
            return super().handle_error(request, status, exc, message)
        answer = web.Response(status=exc.status, text=f"{exc.text}\n")
        answer.force_close()
        return answer

    def close(self) -> None:
        """Take no further request; also a stop waits for nobody who was answered."""
        super().close()
        self._stop_lingering()

    # -- steps

    def _advance(self) -> None:
        framing = self._framing
        try:
            while (piece := framing.take()) is not None:
                is_head = self._payload is None
                super().data_received(piece)
                if is_head:
                    self._begin()
        except RefusedError as error:
            self._refuse(error)
            return
        if framing.part is Part.END and self._phase is not Phase.CALLING:
            self._to(Phase.CALLING)
        elif framing.part is Part.HEAD and self._phase is Phase.IDLE and framing.waiting:
            self._to(Phase.HEAD)

    def _begin(self) -> None:
        """Note the request whose head was just parsed."""
        if not self._messages:
            return  # aiohttp closes, or found something that we have not
        self._payload = self._messages[-1][1]
        self._to(Phase.BODY)
        self._began = self._since
        self._size = self._framing.waiting

    def _next(self) -> None:
        """Go on to the next request."""
        self._payload = None
        self._held = 0.0
        self._framing.begin()
        self._to(Phase.HEAD if self._framing.waiting else Phase.IDLE)
        self._visit.go_on()
        self._advance()

    def _refuse(self, error: RefusedError) -> None:
        """End the request that is arriving; no other one is under way."""
        self._visit.refused(error)
        reading = self._phase is Phase.BODY
        self._to(Phase.LEAVING)
        if reading and self._payload is not None:
            self._payload.set_exception(error)  # whoever reads it answers
        elif self.transport is not None:
            answer = reply.plain(error.status, f"{error.text}\n")
            self.transport.write(answer.encode("GET", keep_alive=False))
            self.transport.write_eof()
            self._visit.count(error.status)

    def _to(self, phase: Phase) -> None:
        assert phase in TRANSITIONS[self._phase], f"{self._phase} -> {phase}"
        self._phase = phase
        self._since = self._loop.time()

    # -- the end

    def check_time(self, now: float) -> None:
        """End a connection whose client owes us something for too long."""
        waited = now - self._since
        limits = self._limits
        error = None
        match self._phase:
            case Phase.HEAD if self._framing.waiting:
                error = limits.late_head(waited)
            case Phase.HEAD if limits.late_head(waited):
                self.force_close()  # it has said nothing at all, and hears nothing
            case Phase.IDLE if waited > limits.idle_s:
                self.force_close()
            case Phase.BODY if not self._held and self._linger is None:
                error = limits.late_body(waited, now - self._began, self._size)
            case Phase.LEAVING if waited > limits.linger_s and self._payload is None:
                self.force_close()
        if error is not None:
            self._refuse(error)

    async def _wait_for_end(
        self, payload: StreamReader, transport: asyncio.Transport, *, goes_on: bool
    ) -> None:
        """Drop the rest of a body, and of what was refused, for a while.

        Ends early with the body, with the client and with the platform.
        """
        if not goes_on:
            transport.write_eof()
        try:
            async with asyncio.timeout(self._limits.linger_s) as self._linger:
                with contextlib.suppress(RefusedError):
                    while not payload.is_eof():
                        await payload.readany()
                if self._phase is Phase.LEAVING:
                    await self._loop.create_future()
        except (TimeoutError, RequestPayloadError, ConnectionError):
            pass
        finally:
            self._linger = None

    def _stop_lingering(self) -> None:
        if self._linger is not None and not self._linger.expired():
            self._linger.reschedule(self._loop.time())
