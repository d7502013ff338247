"""/api/logstream: the application log as it is written (webjobs.md 3.1, 4.9, 6.7).

What continuous jobs write is always in it; what triggered ones do, if the app setting
WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS says so. `/api/logstream/jobs/KIND/NAME` is one job alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.messages import message
from gateway.native.streams import STOPPING
from gateway.platform import Platform
from scheduler.errors import NotFoundError
from scheduler.functions import Job, JobKind
from scheduler.job_folders import short_instance
from scheduler.log_line import kudu_block
from scheduler.log_stream import Batch, Dropped, Subscription, TooManyListenersError

#: After how much silence a line says that we are there.
SILENCE_S = 20.0
_LOOK_S = 0.5  # how late the end of the platform is noticed, at most
_EVERYTHING = {"", "application"}


async def stream(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """GET /api/logstream[/application | /jobs/KIND/NAME]: text without end."""
    wanted = match.get("path", "").strip("/")
    try:
        only = _only(platform, wanted) if wanted.lower() not in _EVERYTHING else None
    except (NotFoundError, ValueError):
        return message(404, f"There is no log stream '{wanted}'.")
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would keep lines back otherwise
            "X-Content-Type-Options": "nosniff",
        }
    )
    try:
        with platform.logs.stream.subscribe(lambda batch: _wants(only, batch)) as lines:
            await response.prepare(request)
            # A client that is gone is the usual end of such a stream, not a failure.
            with contextlib.suppress(ConnectionResetError):
                await _send(request.app[STOPPING], response, lines, platform.instance, only)
    except TooManyListenersError as error:
        return message(503, str(error))
    return response


async def _send(
    stopping: asyncio.Event,
    response: web.StreamResponse,
    lines: Subscription,
    instance: str,
    only: Job | None,
) -> None:
    await response.write(_line("Welcome, you are now connected to log-streaming service."))
    silent_s = 0.0
    while not stopping.is_set():
        try:
            async with asyncio.timeout(_LOOK_S):
                item = await anext(lines)
        except TimeoutError:
            silent_s += _LOOK_S
            if silent_s >= SILENCE_S:
                await response.write(_line(f"No new trace in the past {SILENCE_S:g} second(s)."))
                silent_s = 0.0
        else:
            await response.write(_text(item, instance, named=only is None))
            silent_s = 0.0


def _only(platform: Platform, wanted: str) -> Job:
    """Return the job that `jobs/KIND/NAME` means."""
    root, kind, name = wanted.split("/")
    if root.lower() != "jobs":
        raise ValueError(root)
    return platform.catalog.job(JobKind(kind.lower()), name)


def _wants(only: Job | None, batch: Batch) -> bool:
    if only is None:
        return not batch.aside
    return (batch.kind, batch.name) == (only.kind.value, only.name)


def _text(item: Batch | Dropped, instance: str, *, named: bool) -> bytes:
    """Return lines as Kudu's files have them; those of all jobs begin with the job's name."""
    if isinstance(item, Dropped):
        return _line(f"{item.lines} lines are left out: they came faster than they were read.")
    block = kudu_block(item.at, short_instance(instance), item.level, item.lines)
    if not named:
        return block
    head = f"{item.name}: ".encode()
    return b"".join(head + line for line in block.splitlines(keepends=True))


def _line(text: str) -> bytes:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}  {text}\r\n".encode()
