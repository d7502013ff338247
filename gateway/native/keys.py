"""/v1/keys: keys of management, made, listed and revoked; a value is shown when it is made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.key_file import ScopedKey
from gateway.native.route import Route, answer, read_object, text_field
from gateway.platform import Platform
from scheduler.errors import BadRequestError


def key_shape(key: ScopedKey) -> dict[str, Any]:
    """Return a key as JSON, without its value."""
    return {"name": key.name, "scopes": list(key.scopes), "created_at": key.created_at}


async def list_keys(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/keys."""
    return answer({"items": [key_shape(key) for key in platform.keys.scoped_keys()]})


async def create_key(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST /v1/keys: 201 with the value."""
    document = await read_object(request, ("name", "scopes"))
    scopes = document.get("scopes")
    if not isinstance(scopes, list) or not all(isinstance(each, str) for each in scopes):
        raise BadRequestError("body field 'scopes': a list of texts is expected")
    name = text_field(document, "name")
    now = datetime.now(UTC)
    # Not in a thread: a key is small and rare, and two of one name must not be made at once.
    value = platform.keys.create_scoped_key(name, scopes, now)
    made = next(key for key in platform.keys.scoped_keys() if key.name == name)
    headers = {"Cache-Control": "no-store"}
    return answer({**key_shape(made), "key": value}, status=201, headers=headers)


async def revoke_key(platform: Platform, request: web.Request) -> web.Response:
    """Answer DELETE /v1/keys/{name}."""
    platform.keys.revoke_scoped_key(request.match_info["name"])
    return web.Response(status=204)


ROUTES = (
    Route(
        method="GET",
        path="/v1/keys",
        call=list_keys,
        summary="Every key of management, without the values",
        answer="KeyList",
    ),
    Route(
        method="POST",
        path="/v1/keys",
        call=create_key,
        summary="Make a key; its value is shown this once",
        body="NewKey",
        answer="MadeKey",
        status=201,
    ),
    Route(
        method="DELETE",
        path="/v1/keys/{name}",
        call=revoke_key,
        summary="Revoke a key",
        status=204,
        media=(),
    ),
)
