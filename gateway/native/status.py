"""/v1/status: the platform at a glance."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from gateway.native.route import Route, answer, iso
from gateway.platform import Platform


async def status(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/status."""
    not_ready = platform.ready()
    return answer(
        {
            "version": platform.version,
            "instance": platform.instance,
            "state": "starting" if not_ready else "ready",
            "started_at": iso(platform.started_at),
            "uptime_s": round((datetime.now(UTC) - platform.started_at).total_seconds(), 3),
            "data_url": platform.data_url,
            "management_url": platform.management_url,
            "site": str(platform.site),
            "home": str(platform.home),
            "store": platform.store_url,
            "release": platform.catalog.definition.digest,
            "generation": platform.catalog.generation,
            "not_ready": not_ready,
        }
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/status",
        call=status,
        summary="The platform at a glance",
        answer="Status",
    ),
)
