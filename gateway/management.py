"""The management listener's application: one door, then `/v1`, Kudu's API, metrics and the page.

It puts routes and middlewares together and decides nothing itself.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.auth import management_auth
from gateway.errors import error_middleware
from gateway.git.backend import add_git
from gateway.git.push import Pushes
from gateway.git.repository import Repository
from gateway.health import add_health
from gateway.kudu.routes import kudu_entry
from gateway.kudu.upload import TURN
from gateway.native.log_answer import SEARCH
from gateway.native.openapi import ROUTES, openapi_page
from gateway.native.route import register
from gateway.native.streams import STOPPING
from gateway.platform import PLATFORM, Platform
from gateway.status_page import front_page
from scheduler.log_search import LogSearch

__all__ = ["Platform", "management_app"]

#: JSON bodies of /v1; uploads are read as streams and have a limit of their own.
MAX_BODY_BYTES = 16 * 1024 * 1024


def management_app(platform: Platform) -> web.Application:
    """Return the application; the caller runs it on the management listener."""
    # Outermost first: what is counted is what went out, and a refusal at the door is counted too.
    middlewares = [_count, error_middleware, management_auth(platform.keys)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app[PLATFORM] = platform
    app[STOPPING] = asyncio.Event()
    app[SEARCH] = LogSearch()
    app[TURN] = asyncio.Lock()
    app.on_shutdown.append(_end_streams)
    add_health(app, platform.ready, platform.history.concerns)
    app.router.add_get("/", front_page)
    app.router.add_get("/metrics", _metrics_page)
    app.router.add_get("/openapi.json", _openapi)
    register(app, ROUTES)
    repository = Repository(platform.home / "site" / "repository")
    add_git(app, Pushes(repository, platform.deliveries, platform.deliveries.settings))
    # Kudu's paths match without case, which the router cannot: one entry with a table of its own.
    app.router.add_route("*", "/{head:(?i:api|jobs|vfs)}{tail:(?:/.*)?}", kudu_entry)
    return app


@web.middleware
async def _count(request: web.Request, handler: Handler) -> web.StreamResponse:
    metrics = request.app[PLATFORM].metrics
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        metrics.count_request("management", answer.status)
        raise
    metrics.count_request("management", response.status)
    return response


async def _openapi(request: web.Request) -> web.StreamResponse:
    return await openapi_page(request.app[PLATFORM], request)


async def _end_streams(app: web.Application) -> None:
    app[STOPPING].set()


async def _metrics_page(request: web.Request) -> web.StreamResponse:
    # The library for it takes a tenth of the time in which all else is loaded at the start.
    from gateway.scrape import metrics_page  # noqa: PLC0415

    return await metrics_page(request)
