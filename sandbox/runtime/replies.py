"""From what user code returned to what the host is told [hot path].

An HTTP reply is [status, [[name, value], ...], body]. Owns the rules of functions.md 7.3 and 7.5,
and Taak's plain returns: bytes, dict, list and (body, status[, headers]) are served where upstream
answers 500. A response object is read through its public attributes, which are the same in every
version of the library, and it is not changed: one object may be returned many times.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

HttpReply = list[Any]  # [status, [[name, value], ...], body]

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BINARY = "application/octet-stream"


class ReturnError(Exception):
    """User code returned what no reply can be made of; the message names the types that can."""


def empty() -> HttpReply:
    """Return the reply of an HTTP function that has nothing to say."""
    return [204, [], b""]


def http_reply(value: Any) -> HttpReply:
    """Return the reply for any value but None; ReturnError if there is no rule for its type."""
    encode = BY_TYPE.get(type(value))
    if encode is not None:
        return encode(value)
    if hasattr(value, "get_body") and hasattr(value, "status_code"):
        return from_response(value)
    for kind, encode in BY_TYPE.items():
        if isinstance(value, kind):
            return encode(value)
    raise ReturnError(
        f"the function returned {_named(value)}; an HTTP function returns an "
        "azure.functions.HttpResponse, str, bytes, dict, list or a tuple (body, status[, headers])"
    )


def from_response(response: Any) -> HttpReply:
    """Return the reply that an HttpResponse stands for."""
    headers: dict[str, str] = {}
    cookies: list[list[str]] = []
    typed = False
    for name, value in response.headers.items():
        lower = name.lower()
        if lower == "set-cookie":
            cookies += [[name, line] for line in cookie_lines(value)]
            continue
        typed = typed or lower == "content-type"
        headers[name] = value
    if not typed:
        headers["Content-Type"] = _content_type(response)
    pairs = [[name, value] for name, value in headers.items()]
    return [_status(response.status_code), pairs + cookies, response.get_body() or b""]


def cookie_lines(header: str) -> list[str]:
    """Return the Set-Cookie values of one header of the user's, in the order of the host's.

    What SimpleCookie cannot read gives no cookie; an `expires` that is no date is an error that
    names it, because a cookie with another life than meant does harm.
    """
    try:
        return [_cookie_line(morsel) for morsel in SimpleCookie(header).values()]
    except (CookieError, _CookieDroppedError):
        return []


class _CookieDroppedError(Exception):
    """A cookie has an attribute that makes it unusable."""


def _cookie_line(morsel: Morsel[str]) -> str:
    parts = [f"{morsel.key}={morsel.coded_value}"]
    if morsel["expires"]:
        parts.append(f"expires={_expiry(morsel['expires'])}")
    if morsel["max-age"]:
        parts.append(f"max-age={_seconds(morsel['max-age'])}")
    # Written also when empty: clients of the original know the line so.
    parts += [f"domain={morsel['domain']}", f"path={morsel['path']}"]
    if morsel["secure"]:
        parts.append("secure")
    if morsel["samesite"].lower() in ("lax", "strict", "none"):
        parts.append(f"samesite={morsel['samesite'].lower()}")
    if morsel["httponly"]:
        parts.append("httponly")
    return "; ".join(parts)


def _expiry(text: str) -> str:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            instant = parse(text)
        except (ValueError, TypeError, OverflowError):
            continue
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return format_datetime(instant.astimezone(UTC), usegmt=True)
    message = f"Can not parse value {text} of expires in the cookie: it is not a date"
    logging.getLogger("taak.function").error(message)
    raise ReturnError(message)


def _seconds(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise _CookieDroppedError from None


def _content_type(response: Any) -> str:
    kind: str = response.mimetype
    return f"{kind}; charset={response.charset}" if kind.startswith("text/") else kind


def _status(code: Any) -> int:
    try:
        return int(code)
    except (TypeError, ValueError):
        raise ReturnError(f"the status code {code!r} is no number") from None


def _from_text(value: str) -> HttpReply:
    return [200, [["Content-Type", TEXT]], value.encode("utf-8", "surrogatepass")]


def _from_bytes(value: bytes | bytearray) -> HttpReply:
    return [200, [["Content-Type", BINARY]], bytes(value)]


def _from_json(value: Any) -> HttpReply:
    try:
        return [200, [["Content-Type", JSON]], json.dumps(value).encode()]
    except (TypeError, ValueError, RecursionError) as error:
        raise ReturnError(f"the returned {_named(value)} is no JSON: {error}") from None


def _from_tuple(value: tuple[Any, ...]) -> HttpReply:
    if len(value) not in (2, 3) or isinstance(value[1], bool) or not _is_number(value[1]):
        raise ReturnError(
            f"the function returned a tuple of {len(value)}: it must be (body, status) or "
            "(body, status, headers) with a status such as 200"
        )
    body, status, *rest = value
    if isinstance(body, tuple):
        raise ReturnError("the body inside a returned tuple must not be a tuple")
    reply: HttpReply = [200, [], b""] if body is None else http_reply(body)
    reply[0] = _status(status)
    if rest and rest[0]:
        reply[1] = _merged(reply[1], rest[0])
    return reply


def _merged(headers: list[list[str]], more: Any) -> list[list[str]]:
    pairs = more.items() if isinstance(more, Mapping) else more
    try:
        added = [[str(name), str(value)] for name, value in pairs]
    except (TypeError, ValueError):
        raise ReturnError("headers in a tuple must be a dict or a list of (name, value)") from None
    replaced = {name.lower() for name, _value in added}
    return [pair for pair in headers if pair[0].lower() not in replaced] + added


def _is_number(value: Any) -> bool:
    return isinstance(value, int)  # http.HTTPStatus is one


def _named(value: Any) -> str:
    return type(value).__qualname__


#: What is served without asking what it looks like.
BY_TYPE: dict[type, Callable[[Any], HttpReply]] = {
    str: _from_text,
    bytes: _from_bytes,
    bytearray: _from_bytes,
    dict: _from_json,
    list: _from_json,
    tuple: _from_tuple,
}
