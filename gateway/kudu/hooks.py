"""/api/hooks: who is told of events (webjobs.md 7), and what fires them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from yarl import URL

from gateway.folded_routes import Match
from gateway.kudu.body import disk_refusals
from gateway.kudu.messages import message
from gateway.kudu.shapes import Base, date, run_shape, to_json
from gateway.platform import Platform
from scheduler.app_settings import lookup
from scheduler.catalog import Diff
from scheduler.deployment import DeploymentState
from scheduler.errors import BadRequestError, NotFoundError
from scheduler.functions import JobKind
from scheduler.run import Run

FINISHED, DEPLOYED = "TriggeredJobFinished", "PostDeployment"
MAX_BODY_BYTES = 1024 * 1024
_MAX_TEXT = 2048
_SUCCESS = 4  # of Kudu's deployment states


async def list_all(platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /api/hooks."""
    return _json([hook.shape() for hook in platform.hooks.book])


async def get(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/hooks/ID."""
    hook = platform.hooks.book.get(match["id"])
    if hook is None:
        return message(404, f"Hook '{match['id']}' does not exist.")
    return _json(hook.shape())


async def subscribe(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """POST /api/hooks: 201 with the hook, also if it was there already."""
    wanted = _wanted(await _document(request))
    with disk_refusals("the hooks"):
        hook = platform.hooks.book.add(wanted, datetime.now(UTC))
    location = f"{Base.of(request).url}/api/hooks/{hook.id}"
    return _json(hook.shape(), status=201, headers={"Location": location})


async def unsubscribe(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """DELETE /api/hooks/ID: 200, also when there is none."""
    with disk_refusals("the hooks"):
        platform.hooks.book.remove(match["id"])
    return web.Response()


async def publish(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """POST /api/hooks/publish/EVENT: send any JSON to who subscribed; 200 when all are told."""
    await platform.hooks.publish(match["event"], await _document(request))
    return web.Response()


def follow(platform: Platform) -> None:
    """Fire an event for each run of a triggered job that ends, and for each deployment from now on.

    Deployments of the start itself are no news; call this after it.
    """
    platform.triggered.on_finished.append(lambda run: _run_ended(platform, run))
    platform.catalog.subscribe(lambda diff: _deployed(platform, diff))


def _run_ended(platform: Platform, run: Run) -> None:
    try:
        job = platform.catalog.job(JobKind.TRIGGERED, run.name)
    except NotFoundError:
        return  # deleted while it ran
    shape = run_shape(_base(platform), job, run, now=datetime.now(UTC))
    platform.spawn(platform.hooks.publish(FINISHED, shape))


def _deployed(platform: Platform, _diff: Diff) -> None:
    async def tell() -> None:
        # The attempt is recorded right after the swap, before this task begins.
        newest = await platform.deployments.history(1)
        if not newest or newest[0].state is not DeploymentState.LIVE:
            return
        attempt = newest[0]
        shape = {
            "id": attempt.id,
            "status": "success",
            "status_code": _SUCCESS,
            "message": attempt.reason,
            "received_time": date(attempt.started_at),
            "start_time": date(attempt.started_at),
            "end_time": date(attempt.ended_at),
            "complete": True,
            "siteName": platform.site.name,
        }
        await platform.hooks.publish(DEPLOYED, shape)

    platform.spawn(tell())


def _base(platform: Platform) -> Base:
    """Return how addresses begin where no request says it: by HTTP_HOST, else our own listener."""
    host = lookup(platform.settings, "HTTP_HOST")
    return Base(f"https://{host}" if host else platform.management_url)


def _wanted(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadRequestError('the body is no object such as {"event": "…", "url": "http://…"}')
    found = {name: document.get(name) or "" for name in ("event", "url", "secret")}
    for name, value in found.items():
        if not isinstance(value, str) or len(value) > _MAX_TEXT or (name != "secret" and not value):
            raise BadRequestError(f"{name!r}: a text of at most {_MAX_TEXT} letters is expected")
    try:
        url = URL(found["url"])
        usable = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port)
    except ValueError:
        usable = False
    if not usable:
        raise BadRequestError(f"'url': {found['url']!r} is no absolute http or https address")
    insecure = document.get("insecure_ssl") or False
    if not isinstance(insecure, bool):
        raise BadRequestError("'insecure_ssl': true or false is expected")
    return {**found, "insecure_ssl": insecure}


async def _document(request: web.Request) -> object:
    body = await request.read()
    if len(body) > MAX_BODY_BYTES:
        raise BadRequestError(f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body.decode("utf-8-sig") or "null")
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not valid JSON ({error})") from error


def _json(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status, text=to_json(value), content_type="application/json", headers=headers
    )
