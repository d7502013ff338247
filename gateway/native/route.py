"""What one /v1 route is: verb, path, what it takes and gives, and who answers.

The description is data, so that registration, the check of the query and the OpenAPI document read
the same words. It must not know any noun.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from aiohttp import web

from gateway.platform import PLATFORM, Platform
from scheduler.errors import BadRequestError

Call = Callable[[Platform, web.Request], Awaitable[web.StreamResponse]]
Schema = dict[str, Any]
_Member = TypeVar("_Member", bound=Enum)

#: The most rows that one page may have.
MAX_PAGE = 200
PATH_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter."""

    name: str
    schema: Schema
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One verb on one path.

    `answer` and `body` name schemas of `schemas.py`; `answer` "" is an answer without JSON, then
    `media` says what it is instead.
    """

    method: str
    path: str
    call: Call
    summary: str
    answer: str = ""
    status: int = 200
    query: tuple[Param, ...] = ()
    body: str = ""
    media: tuple[str, ...] = ("application/json",)


def register(app: web.Application, routes: Iterable[Route]) -> None:
    """Add the routes to the application."""
    for route in routes:
        app.router.add_route(route.method, route.path, _bind(route))


def answer(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def iso(instant: datetime | None) -> str | None:
    """Return an instant as RFC 3339 in UTC, None for none."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def integer(request: web.Request, name: str, *, default: int, low: int, high: int) -> int:
    """Return an integer of the query, within bounds."""
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise BadRequestError(f"query parameter {name!r}: {text!r} is not a number {low} to {high}")
    return int(text)


def cursor(request: web.Request) -> int | None:
    """Return where the page starts; None is the first page."""
    if "cursor" not in request.query:
        return None
    return integer(request, "cursor", default=0, low=0, high=2**62)


def flag(request: web.Request, name: str) -> bool:
    """Return a switch of the query: 1, true or the bare name is on."""
    text = request.query.get(name, "0").lower()
    if text not in {"", "0", "1", "true", "false"}:
        raise BadRequestError(f"query parameter {name!r}: {text!r} is not 0, 1, true or false")
    return text in {"", "1", "true"}


def choice(request: web.Request, name: str, kind: type[_Member]) -> _Member | None:
    """Return a member of an Enum by its value, None when it is not asked for."""
    text = request.query.get(name)
    return member(f"query parameter {name!r}", text, kind) if text is not None else None


def member(where: str, text: str, kind: type[_Member]) -> _Member:
    """Return the member whose value the text is."""
    for one in kind:
        if one.value == text.lower():
            return one
    known = ", ".join(str(one.value) for one in kind)
    raise BadRequestError(f"{where}: {text!r} is none of {known}")


def instant(request: web.Request, name: str) -> datetime | None:
    """Return an instant of the query in UTC; one without an offset is UTC."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        # In a query "+01:00" arrives as " 01:00" unless the client escaped it.
        told = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
    except ValueError as error:
        raise BadRequestError(
            f"query parameter {name!r}: {text!r} is no ISO 8601 instant such as"
            " 2026-01-05T10:00:00Z"
        ) from error
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


async def read_object(request: web.Request, known: Iterable[str]) -> dict[str, Any]:
    """Return the JSON object of the body; an empty body is an empty object."""
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise BadRequestError(f"body: not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadRequestError("body: a JSON object is expected")
    _refuse_unknown("body field", document, list(known))
    return document


def text_field(document: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return a text of a body; null counts as left out."""
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequestError(
            f"body field {name!r}: text is expected, not {json.dumps(value)[:80]}"
        )
    return value


def text_map(document: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return an object of texts of a body."""
    value = document.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadRequestError(f"body field {name!r}: an object of texts is expected")
    return value


def _bind(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    names = [param.name for param in route.query]

    async def call(request: web.Request) -> web.StreamResponse:
        _refuse_unknown("query parameter", request.query, names)
        return await route.call(request.app[PLATFORM], request)

    return call


def _refuse_unknown(what: str, given: Iterable[str], known: list[str]) -> None:
    """Refuse a misspelt name: ignoring `stat=failed` would answer a question nobody asked."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(known) or "none"
            raise BadRequestError(f"unknown {what} {name!r}{meant} (known: {listed})")
