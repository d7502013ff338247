"""What happens to an HTTP request between its parsing and its answer: the one code for all paths.

Routing, keys, limits, the event, the outcome's answer. It reads nothing from a connection and
writes nothing to one; the fast lane and aiohttp's path do that. This is the hot path: per call no
await, one partial, one reply; what follows from a head alone is kept in a permit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, cast

from gateway import reply
from gateway.keys import Level
from gateway.opening import Opening
from gateway.platform import Platform
from gateway.reply import BadReplyError, Reply
from gateway.routes import Match, RouteTable
from scheduler.errors import BusyError, NotFoundError, UnavailableError
from scheduler.events import Body, Ending, HttpEvent, Outcome
from scheduler.functions import AuthLevel, HttpTrigger
from scheduler.http_template import HttpTemplate

_log = logging.getLogger("taak.gateway")
MAX_BODY_BYTES = 104_857_600
BODY_LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
_MAX_KEY_CHARS = 1024
_SUCCEEDED: Final[Ending] = Ending.SUCCEEDED
_NEEDED = {AuthLevel.ANONYMOUS: Level.NONE, AuthLevel.FUNCTION: Level.FUNCTION}
_HOME_PAGE = (
    "<!doctype html><meta charset=utf-8><title>Taak</title>"
    "<p>This Taak host is running. Its functions answer below the route prefix.\n"
)

Pairs = tuple[tuple[str, str], ...]

#: Not an answer: the platform starts, ask again when `FrontDesk.opening` calls back.
NOT_YET = reply.plain(503)


class Head(NamedTuple):
    """A request without its body.

    `target` is as it came, `path` its part before the query, still percent-encoded. `first` finds
    the first value of a header by its name in lower case.
    """

    method: str
    target: str
    path: str
    query: Pairs
    headers: Pairs
    first: Mapping[str, str]
    scheme: str = "http"


class Permit:
    """An admission that may be used again, as long as `FrontDesk.holds` says so."""

    __slots__ = ("keys", "match", "routes", "template")

    def __init__(self, match: Match, template: HttpTemplate, routes: RouteTable, keys: int) -> None:
        self.match = match
        self.template = template
        self.routes = routes
        self.keys = keys


class FrontDesk:
    """Admits requests, gives them to the dispatcher and turns outcomes into replies."""

    def __init__(self, platform: Platform, opening: Opening | None = None) -> None:
        self.opening = opening or Opening(over=True)
        self._catalog = platform.catalog
        self._dispatcher = platform.dispatcher
        self._keys = platform.keys
        self._metrics = platform.metrics
        self._ready = platform.ready
        self._outstanding = 0
        self.rebuild()
        self._catalog.subscribe(lambda _diff: self.rebuild())

    def rebuild(self) -> None:
        """Take the routes and host settings of the release that serves now."""
        host = self._catalog.definition.host
        functions = self._catalog.functions()
        self.routes = RouteTable(functions, host.route_prefix)
        # With the master key a function that is switched off still runs (functions.md 3).
        off = [replace(function, disabled="") for function in functions if function.disabled]
        self._off = RouteTable(off, host.route_prefix)
        self.max_body = _body_limit(host.settings)
        self._extra = tuple(host.custom_headers.items())
        self._max_outstanding = host.max_outstanding_requests
        self._home_page = host.settings.get("AzureWebJobsDisableHomepage", "").lower() != "true"

    def admit(self, head: Head, *, waits: bool = True) -> Match | Reply:
        """Return the function that answers, or the answer that says why none does.

        While the platform starts that is NOT_YET, but not for who has waited enough.
        """
        match = self.routes.find(head.method, head.path)
        if match is None:
            return self._unmatched(head, waits=waits)
        if not match.is_open and not self._may(match, head):
            return reply.plain(401, headers=self._extra)
        if reasons := self._ready():
            return self._not_ready(reasons, waits=waits)
        limit = self._max_outstanding
        if limit is not None and self._outstanding >= limit:
            text = (
                f"{self._outstanding} requests are under way; the limit is {limit} "
                "(extensions.http.maxOutstandingRequests in host.json)\n"
            )
            return reply.plain(429, text, (("Retry-After", "1"),))
        return match

    def permit(self, match: Match, head: Head) -> Permit:
        """Return what calls with this head need that was admitted just now."""
        first = head.first
        url = f"{head.scheme}://{first.get('host', 'localhost')}{head.target}"
        event = HttpEvent(head.method, url, head.headers, head.query, match.params, b"")
        parent = first.get("traceparent")
        trace = (parent, first.get("tracestate", "")) if parent else None
        return Permit(match, HttpTemplate(event, trace), self.routes, self._keys.version)

    def holds(self, permit: Permit) -> bool:
        """Tell whether `admit` would say the same again, at less cost."""
        limit = self._max_outstanding
        return (
            permit.routes is self.routes
            and permit.keys == self._keys.version
            and not self._ready()
            and (limit is None or self._outstanding < limit)
        )

    def call(self, permit: Permit, body: bytes | Body, on_reply: Callable[[Reply], None]) -> None:
        """Run the function; `on_reply` gets the answer, at once if the call is refused."""
        match = permit.match
        apart: Body | None = None
        inside: bytes | int
        if type(body) is bytes:
            inside = body
        else:
            apart, inside = cast("Body", body), len(body)
        self._outstanding += 1
        ended = partial(self._ended, match, on_reply)
        try:
            self._dispatcher.dispatch_http(match.function, permit.template, inside, ended, apart)
        except (BusyError, UnavailableError, NotFoundError) as error:
            ended(error)
        except Exception as error:  # noqa: BLE001  a fault of ours costs a call, not a connection
            _log.exception("the call of function '%s' failed", match.function.name)
            ended(error)

    def count(self, answer: Reply) -> Reply:
        """Count an answer that goes out."""
        self._metrics.count_request("data", answer.status)
        return answer

    def too_large(self) -> Reply:
        """Return the refusal of a body over the limit; the connection cannot go on after it."""
        text = (
            f"The request body is over the limit of {self.max_body} bytes "
            f"(app setting {BODY_LIMIT_SETTING}).\n"
        )
        answer = reply.plain(413, text)
        answer.keep_alive = False
        return answer

    def _ended(
        self, match: Match, on_reply: Callable[[Reply], None], outcome: Outcome | Exception
    ) -> None:
        self._outstanding -= 1
        on_reply(self._reply(match, outcome))

    def _reply(self, match: Match, outcome: Outcome | Exception) -> Reply:
        if isinstance(outcome, Exception):
            return _refusal(outcome)
        if outcome.ending is not _SUCCEEDED:
            # The reason stands in the log, and the caller learns where (functions.md 7.3: no body).
            status = 502 if outcome.ending is Ending.BROKEN else 500
            where = (("x-taak-invocation-id", outcome.invocation_id),)
            return reply.plain(status, headers=(*self._extra, *where))
        made = outcome.reply
        try:
            if made is None:
                raise BadReplyError("the worker sent none")
            return reply.from_function(made.status, made.headers, made.body, self._extra)
        except (BadReplyError, ValueError, TypeError) as error:
            # Shapes and characters come from the worker, which may be hostile.
            name = match.function.name
            _log.warning("function '%s' made a reply that cannot be sent: %s", name, error)
            self._dispatcher.logs.failure(name, "", f"the reply cannot be sent: {error}", "")
            return reply.plain(502, headers=self._extra)

    def _may(self, match: Match, head: Head) -> bool:
        trigger = match.function.trigger
        assert isinstance(trigger, HttpTrigger)
        level = self._level(match, head)
        needed = _NEEDED.get(trigger.auth_level, Level.ADMIN)
        # A system key is above a function's in rank, but opens no function.
        return level >= needed and level is not Level.SYSTEM

    def _level(self, match: Match, head: Head) -> Level:
        key = head.first.get("x-functions-key") or next(
            (value for name, value in head.query if name.lower() == "code"), ""
        )
        return self._keys.allows(match.function.name, key[:_MAX_KEY_CHARS])

    def _not_ready(self, reasons: list[str], *, waits: bool) -> Reply:
        if waits and not self.opening.over:
            return NOT_YET
        text = f"Function host is not running. Not ready: {'; '.join(reasons)}\n"
        return _unavailable(text, 1.0)

    def _unmatched(self, head: Head, *, waits: bool) -> Match | Reply:
        path = head.path
        if path == "/healthz":
            return reply.plain(200, "ok\n", (("Cache-Control", "no-store"),))
        if reasons := self._ready():  # before the first release no route is known
            return self._not_ready(reasons, waits=waits)
        off = self._off.find(head.method, path)
        if off is not None and self._level(off, head) is Level.ADMIN:
            return off
        if path == "/" and not self.routes.owns("/"):
            if self._home_page:
                return reply.plain(200, _HOME_PAGE, self._extra, "text/html")
            return reply.plain(204, headers=self._extra)
        return reply.plain(404, headers=self._extra)


def is_admin(target: str) -> bool:
    """Tell whether a request is one of the admin API."""
    head = target[:7].lower()
    return head.startswith("/admin") and head[6:] in ("", "/", "?")


def _refusal(error: Exception) -> Reply:
    match error:
        case BusyError():
            return reply.plain(429, f"{error}\n", (("Retry-After", _seconds(error.retry_after_s)),))
        case UnavailableError():
            return _unavailable(f"{error}\n", error.retry_after_s)
        case NotFoundError():
            return reply.plain(404)
        case _:
            answer = reply.plain(500)
            answer.keep_alive = False  # after a fault of ours nothing is sure
            return answer


def _unavailable(text: str, after_s: float) -> Reply:
    answer = reply.plain(503, text, (("Retry-After", _seconds(after_s)),))
    answer.keep_alive = False  # elsewhere there may be an instance that serves
    return answer


def _seconds(span: float) -> str:
    return str(max(1, round(span)))


def _body_limit(settings: Mapping[str, str]) -> int:
    text = settings.get(BODY_LIMIT_SETTING, "").strip()
    return int(text) if text.isascii() and text.isdigit() else MAX_BODY_BYTES
