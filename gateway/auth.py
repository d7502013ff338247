"""Who is asking: the door of the management listener, and the key of a function call.

Turns headers into a `Principal` or a 401. It must not know what a key opens: `keys.py` does. What a
scoped key may reach is one table here, because only this file sees paths.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import Answer, problem_response
from gateway.health import OPEN_PATHS
from gateway.keys import KeyStore, Scope

KEY_HEADER = "x-functions-key"
DEBUG_TOKEN_HEADER = "x-taak-debug-token"  # noqa: S105  the name of a header
SESSION_COOKIE = "taak_session"
#: Longer ones are no keys of ours; the bound keeps hashing cheap.
MAX_KEY_CHARS = 1024

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOK = re.compile(
    r"/(?:$|v1/|metrics$|openapi\.json$"
    r"|(?:api/)?(?:triggered|continuous)?(?:web)?jobs(?:/|$|swagger)"
    r"|(?:api/)?vfs/data/jobs/)",
    re.IGNORECASE,
)
_ACT = re.compile(
    r"/(?:v1/(?:functions|jobs|runs)/"
    r"|(?:api/)?(?:jobs/)?(?:triggered|continuous)(?:(?:web)?jobs)?/[^/]+/"
    r"(?:(?:run|start|stop)/?$|passthrough(?:/|$)))",
    re.IGNORECASE,
)
#: What a job's own server does at a GET is its business: to ask it is to act.
_RELAY = re.compile(
    r"/(?:api/)?(?:jobs/)?continuous(?:(?:web)?jobs)?/[^/]+/passthrough(?:/|$)", re.IGNORECASE
)
#: Who holds a debugger runs any code as the job; its tunnel is opened by a GET.
_DEBUG = re.compile(r"/v1/jobs/[^/]+/[^/]+/debug(?:/|$)")
_TUNNEL = re.compile(r"/v1/jobs/continuous/[^/]+/debug/tunnel")
#: scope -> method class -> paths. The master key needs no row: it opens everything.
_REACH: dict[Scope, dict[str, re.Pattern[str]]] = {
    Scope.READ: {"look": _LOOK},
    Scope.OPERATE: {"look": _LOOK, "act": _ACT},
    Scope.DEBUG: {"look": _LOOK, "act": _ACT, "debug": _DEBUG},
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; `by_cookie` tells that a browser sent the proof without being asked."""

    scope: Scope
    by_cookie: bool = False


PRINCIPAL = web.RequestKey("principal", Principal)


def function_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return the key that a function call presents; the header wins over `code`."""
    return headers.get(KEY_HEADER) or query.get("code") or ""


def presented_key(headers: Mapping[str, str]) -> str:
    """Return the key of a management request, from any of the three headers."""
    direct = headers.get(KEY_HEADER)
    if direct:
        return direct
    scheme, _, proof = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return proof.strip()
    return _basic_password(proof) if scheme.lower() == "basic" else ""


def identify(keys: KeyStore, request: web.BaseRequest) -> Principal | None:
    """Return who asks, or None. A wrong key is not rescued by a good cookie."""
    key = presented_key(request.headers)
    if key:
        scope = keys.scope(key) if len(key) <= MAX_KEY_CHARS else None
        return Principal(scope) if scope else None
    session = request.cookies.get(SESSION_COOKIE)
    if session and keys.sessions.holds(session):
        return Principal(Scope.ALL, by_cookie=True)
    return None


def management_auth(keys: KeyStore) -> Middleware:
    """Return the middleware that every management request passes."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_PATHS or _brings_token(request):
            return await handler(request)
        principal = identify(keys, request)
        if principal is None:
            return _unauthorized(keys)
        refusal = _refusal(principal, request)
        if refusal:
            return problem_response(refusal)
        request[PRINCIPAL] = principal
        return await handler(request)

    return check


def _brings_token(request: web.BaseRequest) -> bool:
    """Tell whether a one-time token is to be looked at by who gave it out."""
    if request.path == "/":
        return "token" in request.query
    return DEBUG_TOKEN_HEADER in request.headers and bool(_TUNNEL.fullmatch(request.path))


def _refusal(principal: Principal, request: web.BaseRequest) -> Answer | None:
    safe = request.method in _SAFE_METHODS
    if principal.by_cookie and not safe and not _same_origin(request):
        return Answer(
            403,
            "foreign-origin",
            f"a request that changes something came with a session cookie from the origin"
            f" {request.headers.get('Origin', '(none given)')!r}",
            f"send it from a page of {_origin(request)}, or use a key instead of the cookie",
        )
    if principal.scope is Scope.ALL:
        return None
    reach = _REACH[principal.scope].get(_kind(request.path, safe=safe))
    if reach and reach.match(request.path):
        return None
    return Answer(
        403,
        "out-of-scope",
        f"this key has the scope {principal.scope.value!r}, which does not reach"
        f" {request.method} {request.path}",
        "use the master key, or a key of a wider scope",
    )


def _kind(path: str, *, safe: bool) -> str:
    """Return the class of a request, by its method and by what its path does."""
    if _DEBUG.match(path) and not (safe and path.endswith("/debug")):
        return "debug"
    return "look" if safe and not _RELAY.match(path) else "act"


def _same_origin(request: web.BaseRequest) -> bool:
    # Browsers send Origin with every request that is not GET or HEAD; one without it is refused.
    return request.headers.get("Origin", "").lower() == _origin(request).lower()


def _origin(request: web.BaseRequest) -> str:
    return f"{request.scheme}://{request.host}"


def _basic_password(proof: str) -> str:
    try:
        pair = base64.b64decode(proof.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return pair.partition(":")[2]


def _unauthorized(keys: KeyStore) -> web.Response:
    return problem_response(
        Answer(
            401,
            "unauthorized",
            "this listener needs the master key or a scoped key",
            f"send it as 'x-functions-key: KEY', 'Authorization: Bearer KEY' or as the password of"
            f" basic authentication (any user name). The master key is in {keys.source};"
            f" `taak keys --master` prints it",
            {"WWW-Authenticate": 'Basic realm="Taak"'},
        )
    )
