"""How Kudu words a failure outside of the job routes: `{"Message": "…"}`; its clients parse it."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.errors import answer_for
from gateway.folded_routes import Call, Match
from gateway.kudu.shapes import to_json
from gateway.platform import Platform
from scheduler.errors import SchedulerError


def message(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a failure."""
    return web.Response(
        status=status,
        text=to_json({"Message": text}),
        content_type="application/json",
        headers=headers,
    )


def with_messages(call: Call) -> Call:
    """Return the handler with failures worded so."""

    async def answer(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
        try:
            return await call(platform, request, match)
        except (SchedulerError, web.HTTPRequestEntityTooLarge) as error:
            told = answer_for(error)
            response = message(told.status, told.detail, told.headers)
            if told.closes:
                response.force_close()
            return response

    return answer
