"""Who is asking: the door of the management listener, and the key of a function call.

Turns headers into a `Principal` or a 401. It must not know what a key opens: `keys.py` does; nor
what a route needs: `scopes.py` does.
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
from gateway.keys import KeyStore
from gateway.scopes import EVERYTHING, Need, Rights, need

KEY_HEADER = "x-functions-key"
DEBUG_TOKEN_HEADER = "x-taak-debug-token"  # noqa: S105  the name of a header
SESSION_COOKIE = "taak_session"
#: Longer ones are no keys of ours; the bound keeps hashing cheap.
MAX_KEY_CHARS = 1024

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TUNNEL = re.compile(r"/v1/jobs/continuous/[^/]+/debug/tunnel")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; `by_cookie` tells that a browser sent the proof without being asked."""

    rights: Rights
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
        rights = _rights(keys, key)
        return Principal(rights) if rights else None
    session = request.cookies.get(SESSION_COOKIE)
    if session and keys.sessions.holds(session):
        return Principal(EVERYTHING, by_cookie=True)
    return _by_address(keys, request)


def _rights(keys: KeyStore, key: str) -> Rights | None:
    return keys.rights(key) if len(key) <= MAX_KEY_CHARS else None


def _by_address(keys: KeyStore, request: web.BaseRequest) -> Principal | None:
    """Return who asks by `?code=`: a web hook that cannot set headers may so run a single job.

    Addresses end up in logs of others, so no wider right is taken from one.
    """
    wanted = need(request.method, request.path)
    rights = _rights(keys, request.query.get("code", "")) if wanted and wanted.runs else None
    return Principal(Rights(jobs=rights.jobs)) if rights and rights.jobs else None


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
    # A WebSocket is a GET that any page may open and read, also one of our own functions' port.
    safe = request.method in _SAFE_METHODS and "Upgrade" not in request.headers
    if principal.by_cookie and not safe and not _same_origin(request):
        return Answer(
            403,
            "foreign-origin",
            f"a request that changes something, or a WebSocket, came with a session cookie from the"
            f" origin {request.headers.get('Origin', '(none given)')!r}",
            f"send it from a page of {_origin(request)}, or use a key instead of the cookie",
        )
    wanted = need(request.method, request.path)
    if principal.rights.reaches(wanted):
        return None
    return Answer(403, "out-of-scope", *_too_little(principal.rights, wanted, request))


def _too_little(rights: Rights, wanted: Need | None, request: web.BaseRequest) -> tuple[str, str]:
    """Return what is missing, and what to do about it."""
    told = f"this key opens {rights}, which does not reach {request.method} {request.path}"
    if wanted is None:
        return told, "only the master key does"
    own = f" or job:{wanted.job}:run" if wanted.job else ""
    return told, f"use a key with the scope {wanted.scope.value}{own}: taak keys create NAME"


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
