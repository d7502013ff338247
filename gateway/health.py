"""/healthz and /readyz of both listeners. Neither needs a key: they tell no secret.

Health says that the loop still turns; readiness says whether calls would be served, and what is
waited for when not.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


async def healthz(_request: web.Request) -> web.Response:
    """Answer 200: who gets this answer has talked to a living loop."""
    return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})


def readiness(reasons: list[str], concerns: list[str]) -> web.Response:
    """Return 200 when there is no reason against it, else 503 with the reasons.

    `concerns` are what an operator should know although calls are served.
    """
    value: dict[str, object] = {"ready": not reasons, "reasons": reasons}
    if concerns:
        value["concerns"] = concerns
    return web.Response(
        status=503 if reasons else 200,
        text=json.dumps(value, ensure_ascii=False),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **({"Retry-After": "1"} if reasons else {})},
    )


def add_health(
    app: web.Application,
    ready: Callable[[], list[str]],
    concerns: Callable[[], list[str]],
) -> None:
    """Register both paths."""

    async def readyz(_request: web.Request) -> web.Response:
        return readiness(ready(), concerns())

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
