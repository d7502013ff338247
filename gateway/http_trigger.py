"""The data listener's general path: aiohttp's low-level server in front of the front desk.

It takes every request that the fast lane does not: chunked and large bodies, Expect, HTTP/1.0,
admin. Per call: one await for the answer, one for the body when there is one; no router, no
response object of aiohttp, no access log.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway import reply
from gateway.connections import Visit
from gateway.front_desk import NOT_YET, FrontDesk, Head, is_admin
from gateway.http_connection import HttpConnection
from gateway.http_limits import HttpLimits, RefusedError
from gateway.incoming_body import IncomingBody
from gateway.reply import Reply
from gateway.routes import Match
from scheduler.events import Body

_READ = 256 << 10  # what one read may bring: with less, a large body would stop at each
_log = logging.getLogger("taak.gateway.http")


class Request(web.BaseRequest):
    """A request that keeps its target as it came; the URL object is built only when asked for."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(message, payload, protocol, writer, task, loop, client_max_size=1 << 62)
        self.target = message.path

    def head(self) -> Head:
        """Return the request as the front desk reads it."""
        target = self.target
        if not target.startswith("/"):  # absolute form, as proxies send it
            target = self.rel_url.raw_path_qs
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
        headers = self.headers
        return Head(self.method, target, path, pairs, tuple(headers.items()), headers, self.scheme)


class DataListener:
    """Answers requests by aiohttp's parser. `server` knows its connections and ends them."""

    def __init__(self, desk: FrontDesk, admin: web.Server, limits: HttpLimits) -> None:
        self._desk = desk
        self._admin = admin
        self._limits = limits
        self.server = web.Server(
            self.handle,  # type: ignore[arg-type]  # a Reply quacks like a StreamResponse
            request_factory=self._request,
        )

    def connection(self, visit: Visit, since: float = 0) -> HttpConnection:
        """Return the protocol of a connection, new or with a head that began at `since`."""
        return HttpConnection(
            self.server,
            visit,
            self._limits,
            since,
            read_bufsize=_READ,
            auto_decompress=False,  # a function gets the body as it was sent
            logger=_log,
        )

    async def handle(self, request: web.BaseRequest) -> Reply | web.StreamResponse:
        """Answer one request."""
        if not isinstance(request, Request):
            return await self._admin.request_handler(request)
        try:
            answer = await self._answer(request)
        except Exception:  # noqa: BLE001  the boundary of a connection: one request, not the others
            _log.exception("a request of the data listener failed")
            answer = reply.plain(500)
            answer.keep_alive = False
        return self._desk.count(answer)

    def _request(self, message: RawRequestMessage, *others: Any) -> web.BaseRequest:
        target = message.path
        if is_admin(target if target.startswith("/") else message.url.raw_path):
            return self._admin.request_factory(message, *others)
        return Request(message, *others)

    async def _answer(self, request: Request) -> Reply:
        desk = self._desk
        head = request.head()
        match = await self._admit(head, request)
        routes = desk.routes
        if isinstance(match, Reply):
            if request.body_exists and "Expect" in request.headers:
                match.keep_alive = False  # nobody knows whether the body still comes
            return match
        body = await self._body(request)
        if isinstance(body, Reply):
            return body
        if routes is not desk.routes:  # a release came while the body did: no mix of two
            match = desk.admit(head)
            if isinstance(match, Reply):
                return match
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def settle(answer: Reply) -> None:
            if not answered.done():
                answered.set_result(answer)

        desk.call(desk.permit(match, head), body, settle)
        return await answered

    async def _admit(self, head: Head, request: Request) -> Match | Reply:
        desk = self._desk
        match = desk.admit(head)
        if match is not NOT_YET:
            return match
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def go_on() -> None:
            if not opened.done():
                opened.set_result(None)

        desk.opening.wait(go_on)
        await opened
        if request.transport is None:
            return reply.plain(503)  # the client did not wait; nobody reads it
        return desk.admit(head, waits=False)

    async def _body(self, request: Request) -> bytes | Body | Reply:
        """Return the whole body, or the answer to one that is too large, too slow or broken.

        What is large goes into a file as it comes, so that it never is in the heap as a whole.
        """
        if not request.body_exists:
            return b""
        limit = self._desk.max_body
        length = request.content_length
        if length is not None and length > limit:
            return self._desk.too_large()
        if request.headers.get("Expect", "").lower() == "100-continue":
            _tell_to_continue(request)
        content = request.content
        try:
            with IncomingBody() as coming:
                while not content.at_eof():
                    coming.add(await content.readany())
                    if coming.size > limit:
                        return self._desk.too_large()
                return coming.whole()
        except RefusedError as error:
            return _refusal(error.status, f"{error.text}\n")
        except (ConnectionError, RequestPayloadError):  # the client left
            return _refusal(400, "The body ended before its time.\n")


def _tell_to_continue(request: Request) -> None:
    if request.transport is not None and request.version >= HttpVersion11:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _refusal(status: int, text: str) -> Reply:
    answer = reply.plain(status, text)
    answer.keep_alive = False
    return answer
