"""The data listener: an HTTP request becomes an event, its outcome an answer.

aiohttp's low-level server parses; routing, keys, limits and the writing of the response are ours.
Per call: one await for the outcome, one for the body when there is one; no response object of
aiohttp, no router, no access log. /admin goes to an aiohttp application of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway import reply
from gateway.keys import Level
from gateway.platform import Platform
from gateway.reply import BadReplyError, Reply
from gateway.routes import Match, RouteTable
from scheduler.errors import BusyError, NotFoundError, UnavailableError
from scheduler.events import Ending, HttpEvent, Outcome
from scheduler.functions import AuthLevel, HttpTrigger

_log = logging.getLogger("taak.gateway")
MAX_BODY_BYTES = 104_857_600
BODY_LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
_KEEP_ALIVE_S = 75.0
_NEEDED = {AuthLevel.ANONYMOUS: Level.NONE, AuthLevel.FUNCTION: Level.FUNCTION}
_HOME_PAGE = (
    "<!doctype html><meta charset=utf-8><title>Taak</title>"
    "<p>This Taak host is running. Its functions answer below the route prefix.\n"
)


class Request(web.BaseRequest):
    """A request that keeps the parsed message, so that the hot path need not build a URL object."""

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


class DataListener:
    """Answers the data listener's requests. Give `server()` to a site."""

    def __init__(self, platform: Platform, admin: web.Server) -> None:
        self._catalog = platform.catalog
        self._dispatcher = platform.dispatcher
        self._keys = platform.keys
        self._metrics = platform.metrics
        self._ready = platform.ready
        self._admin = admin
        self._outstanding = 0
        self.rebuild()
        self._catalog.subscribe(lambda _diff: self.rebuild())

    def rebuild(self) -> None:
        """Take the routes and host settings of the release that serves now."""
        host = self._catalog.definition.host
        self._routes = RouteTable(self._catalog.functions(), host.route_prefix)
        self._extra = tuple(host.custom_headers.items())
        self._max_outstanding = host.max_outstanding_requests
        self._max_body = _body_limit(host.settings)
        self._home_page = host.settings.get("AzureWebJobsDisableHomepage", "").lower() != "true"

    def server(self) -> web.Server:
        """Return the low-level server."""
        return web.Server(
            self.handle,  # type: ignore[arg-type]  # a Reply quacks like a StreamResponse
            request_factory=self._request,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
        )

    def _request(self, message: RawRequestMessage, *others: Any) -> web.BaseRequest:
        if _is_admin(message.path):
            return self._admin.request_factory(message, *others)
        return Request(message, *others)

    async def handle(self, request: web.BaseRequest) -> Reply | web.StreamResponse:
        """Answer one request."""
        if not isinstance(request, Request):
            return await self._admin.request_handler(request)
        answer = await self._answer(request)
        self._metrics.count_request("data", answer.status)
        return answer

    async def _answer(self, request: Request) -> Reply:
        path, _, query_text = request.target.partition("?")
        if not path.startswith("/"):  # absolute form, as proxies send it
            path = request.rel_url.raw_path
        routes = self._routes
        match = routes.find(request.method, path)
        if match is None:
            return self._unmatched(path)
        query = tuple(parse_qsl(query_text, keep_blank_values=True)) if query_text else ()
        if (refusal := self._refusal(match, request, query)) is not None:
            return refusal
        body = await self._body(request)
        if body is None:
            return self._too_large()
        if routes is not self._routes:  # a release came while the body did: no mix of two
            match = self._routes.find(request.method, path)
            if match is None:
                return self._unmatched(path)
        return await self._invoke(match, request, query, body)

    async def _invoke(
        self, match: Match, request: Request, query: tuple[tuple[str, str], ...], body: bytes
    ) -> Reply:
        headers = request.headers
        event = HttpEvent(
            request.method,
            f"{request.scheme}://{headers.get('Host', 'localhost')}{request.target}",
            tuple(headers.items()),
            query,
            match.params,
            body,
        )
        parent = headers.get("traceparent")
        trace = (parent, headers.get("tracestate", "")) if parent else None
        self._outstanding += 1
        try:
            outcome = await self._dispatcher.invoke(match.function, event, trace=trace)
        except BusyError as error:
            return reply.plain(429, f"{error}\n", (("Retry-After", _seconds(error)),))
        except UnavailableError as error:
            after = (("Retry-After", _seconds(error)), ("Connection", "close"))
            return reply.plain(503, f"{error}\n", after)
        except NotFoundError:
            return reply.plain(404)
        finally:
            self._outstanding -= 1
        return self._reply(match, outcome)

    def _reply(self, match: Match, outcome: Outcome) -> Reply:
        if outcome.ending is Ending.BROKEN:
            return reply.plain(502, headers=self._extra)
        if outcome.ending is not Ending.SUCCEEDED:
            return reply.plain(500, headers=self._extra)  # the reason stands in the log
        made = outcome.reply
        if made is None:
            return reply.plain(204, headers=self._extra)
        try:
            return reply.from_function(made.status, made.headers, made.body, self._extra)
        except BadReplyError as error:
            name = match.function.name
            _log.warning("function '%s' made a reply that cannot be sent: %s", name, error)
            self._dispatcher.logs.failure(name, "", f"the reply cannot be sent: {error}", "")
            return reply.plain(502, headers=self._extra)

    def _refusal(
        self, match: Match, request: Request, query: tuple[tuple[str, str], ...]
    ) -> Reply | None:
        trigger = match.function.trigger
        assert isinstance(trigger, HttpTrigger)
        if trigger.auth_level is not AuthLevel.ANONYMOUS:
            key = request.headers.get("x-functions-key") or dict(reversed(query)).get("code", "")
            needed = _NEEDED.get(trigger.auth_level, Level.ADMIN)
            level = self._keys.allows(match.function.name, key[:1024])
            if level < needed or (level is Level.SYSTEM and needed is Level.FUNCTION):
                return reply.plain(401)
        if reasons := self._ready():
            return reply.plain(503, f"Not ready: {'; '.join(reasons)}\n", (("Retry-After", "1"),))
        limit = self._max_outstanding
        if limit is not None and self._outstanding >= limit:
            text = (
                f"{self._outstanding} requests are under way; the limit is {limit} "
                "(extensions.http.maxOutstandingRequests in host.json)\n"
            )
            return reply.plain(429, text, (("Retry-After", "1"),))
        return None

    async def _body(self, request: Request) -> bytes | None:
        """Return the whole body, or None when it is over the limit."""
        if not request.body_exists:
            return b""
        length = request.content_length
        if length is not None and length > self._max_body:
            return None
        if request.headers.get("Expect", "").lower() == "100-continue":
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = request.content
        parts = [await content.readany()]
        size = len(parts[0])
        while not content.at_eof():
            part = await content.readany()
            size += len(part)
            if size > self._max_body:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> Reply:
        text = (
            f"The request body is over the limit of {self._max_body} bytes "
            f"(app setting {BODY_LIMIT_SETTING}).\n"
        )
        answer = reply.plain(413, text)
        answer.keep_alive = False
        return answer

    def _unmatched(self, path: str) -> Reply:
        if path == "/healthz":
            return reply.plain(200, "ok\n", (("Cache-Control", "no-store"),))
        if path == "/" and not self._routes.owns("/"):
            if self._home_page:
                return reply.plain(200, _HOME_PAGE, kind="text/html")
            return reply.plain(204)
        return reply.plain(404)


def _is_admin(target: str) -> bool:
    head = target[:7].lower()
    return head.startswith("/admin") and head[6:] in ("", "/", "?")


def _seconds(error: BusyError | UnavailableError) -> str:
    return str(max(1, round(error.retry_after_s)))


def _body_limit(settings: Mapping[str, str]) -> int:
    text = settings.get(BODY_LIMIT_SETTING, "").strip()
    return int(text) if text.isascii() and text.isdigit() else MAX_BODY_BYTES
