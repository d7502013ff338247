"""/api/continuouswebjobs/NAME/passthrough/PATH: a request handed on to a job's own HTTP server.

The job listens at WEBJOBS_PORT on the loopback of its sandbox, and is reached by a socket that
comes out of there. Both bodies are streams; of the headers all go on but those of one connection,
Host, and the proof that opened our door: a job must not learn the platform's keys.

Contract: webjobs.md 6.6.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from gateway.auth import KEY_HEADER, PRINCIPAL, SESSION_COOKIE, presented_key
from gateway.folded_routes import Match
from gateway.http_limits import RefusedError
from gateway.job_facts import continuous_status
from gateway.kudu.webjobs import find_job
from gateway.platform import Platform
from scheduler.errors import NotFoundError, UnreachableError
from scheduler.functions import JobKind

METHODS: Final = "GET HEAD PUT POST DELETE PATCH"
#: The longest pause of a job before and in its answer.
SILENCE_S: Final = 100.0
_CHUNK: Final = 1 << 16
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})
#: Of one connection, not of the message (RFC 9110 7.6.1).
_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "expect",
    }
)  # fmt: skip
#: What aiohttp's client would add of its own; what a request does not say is not said.
_NOT_ADDED: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
#: A page of a job's would else be one of ours for a browser that is logged in.
_FENCE: Final = "sandbox allow-scripts allow-forms allow-popups"


async def passthrough(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """Relay one request, and its answer."""
    job = find_job(platform, JobKind.CONTINUOUS, match["name"])
    if job is None:
        return _failed(404, f"There is no continuous job named {match['name']!r}.")
    try:
        sock = await platform.continuous.dial(job.name)
    except (UnreachableError, NotFoundError) as error:
        state = continuous_status(platform, job).state.value
        words = f"The job {job.name} ({state}) cannot be reached: {error}."
        return _failed(404, f"{words} It has to run, and to listen at WEBJOBS_PORT.")
    body = _Body(request)
    try:
        async with _session(sock) as session, _asked(session, request, match, body) as found:
            return await _relayed(request, found, job.name)
    except TimeoutError:
        words = f"The job {job.name} said nothing for {SILENCE_S:g} s (this limit is fixed)."
        return _failed(504, words)
    except (aiohttp.ClientError, ValueError) as error:
        if body.refusal is not None:
            raise body.refusal from error
        return _failed(502, f"The job {job.name} gave no answer in HTTP: {_words(error)}")


async def _relayed(
    request: web.Request, found: aiohttp.ClientResponse, name: str
) -> web.StreamResponse:
    """Hand the answer back while it comes."""
    if not 200 <= found.status <= 599:
        return _failed(502, f"The job {name} answered with status {found.status}.")
    relay = await _begun(request, found)
    try:
        if request.method != "HEAD":
            async for piece in found.content.iter_chunked(_CHUNK):
                await relay.write(piece)
        await relay.write_eof()
    except (aiohttp.ClientError, TimeoutError):
        # A part of the answer is out: only a broken connection can tell that the rest is missing.
        if request.transport is not None:
            request.transport.abort()
    return relay


class _Dialled(aiohttp.BaseConnector):
    """A connector whose one connection stands already."""

    def __init__(self, sock: Any) -> None:
        super().__init__(force_close=True)
        self._sock = sock

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        del req, traces, timeout
        _, protocol = await self._loop.create_connection(self._factory, sock=self._sock)
        return protocol

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close the socket too if no request has taken it."""
        with suppress(OSError):
            self._sock.close()
        await super().close(abort_ssl=abort_ssl)


class _Body:
    """The body of a request on its way; remembers why it stopped."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.refusal: RefusedError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it as it comes."""
        try:
            async for piece in self._request.content.iter_any():
                yield piece
        except RefusedError as error:
            self.refusal = error
            raise


def _session(sock: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Dialled(sock),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
        timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S),
    )


def _asked(session: aiohttp.ClientSession, request: web.Request, match: Match, body: _Body) -> Any:
    headers = _onward(request)
    has_body = request.can_read_body and request.method not in _WITHOUT_BODY
    if not has_body:
        headers.popall(hdrs.CONTENT_LENGTH, None)
    return session.request(
        request.method,
        _target(request, match),
        headers=headers,
        data=body.pieces() if has_body else None,
        allow_redirects=False,
    )


def _target(request: web.Request, match: Match) -> URL:
    """Return the address inside; path and query are as they came, byte for byte."""
    tail = match.get("path", "")
    before = request.path[: len(request.path) - len(tail)] if tail else request.path + "/"
    path = request.rel_url.raw_path.split("/", before.count("/"))[-1] if tail else ""
    query = request.rel_url.raw_query_string
    return URL(f"http://127.0.0.1/{path}{'?' + query if query else ''}", encoded=True)


def _onward(request: web.Request) -> CIMultiDict[str]:
    """Return the headers for the job."""
    dropped = {*_HOP, *_named(request.headers.getall(hdrs.CONNECTION, ())), "host"}
    key = presented_key(request.headers)
    if request.headers.get(KEY_HEADER):
        dropped.add(KEY_HEADER)
    elif key:
        dropped.add("authorization")
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.items():
        if name.lower() == "cookie":
            if cookies := "; ".join(_foreign(value)):
                headers.add(name, cookies)
        elif name.lower() not in dropped:
            headers.add(name, value)
    return headers


def _foreign(cookies: str) -> Iterator[str]:
    """Yield the cookies that are none of ours."""
    for cookie in cookies.split(";"):
        if cookie.strip() and cookie.partition("=")[0].strip() != SESSION_COOKIE:
            yield cookie.strip()


def _named(values: Iterable[str]) -> set[str]:
    return {name.strip().lower() for value in values for name in value.split(",")}


async def _begun(request: web.Request, found: aiohttp.ClientResponse) -> web.StreamResponse:
    """Return the answer, its head sent."""
    dropped = {*_HOP, *_named(found.headers.getall(hdrs.CONNECTION, ()))}
    answer = web.StreamResponse(status=found.status, reason=_printable(found.reason or ""))
    for name, value in found.headers.items():
        if name.lower() not in dropped:
            answer.headers.add(name, _printable(value))
    principal = request.get(PRINCIPAL)
    if principal is not None and principal.by_cookie:
        answer.headers.add("Content-Security-Policy", _FENCE)
    await answer.prepare(request)
    return answer


def _printable(text: str) -> str:
    """Return a text of a job's head as it can be sent on: what is no UTF-8 is replaced."""
    return text.encode("utf-8", "replace").decode()


def _failed(status: int, words: str) -> web.Response:
    text = json.dumps({"Message": words}, ensure_ascii=False)
    return web.Response(status=status, text=text, content_type="application/json")


def _words(error: Exception) -> str:
    told = getattr(error, "message", "") or str(error) or type(error).__name__
    return str(told).partition("\n")[0][:200]
