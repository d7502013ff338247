"""/api/settings: app settings that are set while the platform runs (webjobs.md 3.1, 6.7)."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.body import disk_refusals
from gateway.kudu.messages import message
from gateway.kudu.shapes import to_json
from gateway.platform import Platform
from scheduler.app_settings import lookup
from scheduler.errors import BadRequestError
from scheduler.live_settings import laid_over

MAX_BODY_BYTES = 1024 * 1024


async def list_all(platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /api/settings: every setting that jobs see, those set here laid over the app's own."""
    return _json(_all(platform))


async def get(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/settings/KEY: its text, or 404."""
    value = lookup(_all(platform), match["key"])
    if value is None:
        return message(404, f"Setting '{match['key']}' does not exist.")
    return _json(value)


async def post(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """POST /api/settings {"K": "V", …}: 204; the rest stays."""
    changes = _changes(await request.read())
    with disk_refusals("the settings"):
        await asyncio.to_thread(platform.settings.put, changes)
    return web.Response(status=204)


async def delete(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """DELETE /api/settings/KEY: 204, also when it was not set here."""
    with disk_refusals("the settings"):
        await asyncio.to_thread(platform.settings.remove, match["key"])
    return web.Response(status=204)


def _all(platform: Platform) -> dict[str, str]:
    return laid_over(platform.catalog.definition.host.settings, platform.settings)


def _changes(body: bytes) -> dict[str, str]:
    """Read `{"NAME": "value"}`; numbers and truth values are taken as Kudu writes them."""
    if len(body) > MAX_BODY_BYTES:
        raise BadRequestError(f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadRequestError('the body is no JSON object such as {"NAME": "value"}')
    return {name: _text(name, value) for name, value in document.items()}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise BadRequestError(
        f"the value of {name!r} is {json.dumps(value)[:80]}; a text is expected. DELETE removes one"
    )


def _json(value: object) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")
