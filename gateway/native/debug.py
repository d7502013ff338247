"""/v1/jobs/continuous/{name}/debug: a continuous job under its debugger, and the tunnel to it.

The debugger listens inside the job's sandbox only. Each connection of a client is a WebSocket to
`debug/tunnel`, opened by a one-time token or a key of the scope debug (ecosystem.md 5.4).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.auth import DEBUG_TOKEN_HEADER, PRINCIPAL
from gateway.debug_tokens import TOKEN_LIFE_S
from gateway.errors import Answer, problem_response
from gateway.native.route import Route, answer, iso, read_object
from gateway.platform import Platform
from gateway.sandbox_facts import job_sandbox
from gateway.tunnel import HEARTBEAT_S, MAX_MESSAGE, carry
from scheduler.debugging import DebugSession, debugger_for
from scheduler.errors import BadRequestError, BusyError, ConflictError
from scheduler.functions import Job, JobKind

_audit = logging.getLogger("taak.audit")
#: Connections of clients to one debugger: an editor has one or two, a browser some.
MOST_TUNNELS = 16
_PATH = "/v1/jobs/continuous/{name}/debug"


def debug_shape(session: DebugSession | None) -> dict[str, Any] | None:
    """Return how debugging is, as a part of a job; None when it is off."""
    if session is None:
        return None
    facts = {"state": session.state.value, "debugger": session.debugger, "wait": session.wait}
    return {**facts, "began": iso(session.began), "ends": iso(session.ends)}


async def get_debug(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET: how it is."""
    return answer(_shape(platform, _job(platform, request)))


async def begin_debug(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST: restart the job under its debugger, or go on for a while longer."""
    job = _job(platform, request)
    body = await read_object(request, ("wait", "duration_s"))
    session = await platform.continuous.debug(
        job.name,
        private_network=_is_private(platform, job),
        wait=_wait(body.get("wait")),
        duration_s=_duration(body.get("duration_s"), platform.debug_s),
    )
    _tell(request, f"debugging of job {job.name} is on ({session.debugger}), {iso(session.ends)}")
    return answer({**_shape(platform, job), **_token(platform, session)})


async def end_debug(platform: Platform, request: web.Request) -> web.Response:
    """Answer DELETE: restart the job without its debugger. That it is off already is no error."""
    job = _job(platform, request)
    if platform.continuous.debugging(job.name).end("it was ordered"):
        _tell(request, f"debugging of job {job.name} is off")
    return answer(_shape(platform, job))


async def new_token(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST …/tokens: one more connection."""
    job = _job(platform, request)
    return answer(_token(platform, _session(platform, job)))


async def tunnel(platform: Platform, request: web.Request) -> web.StreamResponse:
    """Answer GET …/tunnel: a WebSocket whose binary messages are the bytes of one connection."""
    job = _job(platform, request)
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=HEARTBEAT_S, compress=False)
    if not socket.can_prepare(request):
        raise BadRequestError("this path is a WebSocket: send the headers that ask for one")
    if PRINCIPAL not in request and not _redeemed(platform, request, job):
        return problem_response(_REFUSED)
    _session(platform, job)  # or it is off
    debugging = platform.continuous.debugging(job.name)
    if debugging.tunnels >= MOST_TUNNELS:
        raise BusyError(f"{MOST_TUNNELS} connections to the debugger of {job.name} are open")
    debugging.tunnels += 1
    try:
        sock = await debugging.attach()
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            _tell(request, f"a client is at the debugger of job {job.name}")
            await socket.prepare(request)
            await carry(socket, reader, writer)
        finally:
            writer.close()
    finally:
        debugging.tunnels -= 1
    return socket


_REFUSED = Answer(
    401,
    "debug-token",
    "this token is unknown, was used already, is too old, or is for another job or session",
    "POST to …/debug/tokens for a new one, with a key of the scope debug or the master key",
)


async def refuse_triggered(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST for a triggered job: the reason why it cannot be."""
    job = platform.catalog.job(JobKind.TRIGGERED, request.match_info["name"])
    raise AssertionError(debugger_for(job, private_network=True))


def _job(platform: Platform, request: web.Request) -> Job:
    return platform.catalog.job(JobKind.CONTINUOUS, request.match_info["name"])


def _shape(platform: Platform, job: Job) -> dict[str, Any]:
    debugging = platform.continuous.debugging(job.name)
    session = debugging.session
    return {
        "job": job.name,
        "state": debugging.state.value,
        "debugger": session.debugger if session else None,
        "wait": session.wait if session else False,
        "began": iso(session.began) if session else None,
        "ends": iso(session.ends) if session else None,
        "script": job.script,
        "folder": job.directory,
        "remote_root": session.root if session else "",
        "tunnel": f"{_PATH.format(name=quote(job.name))}/tunnel",
        "tunnels": debugging.tunnels,
    }


def _session(platform: Platform, job: Job) -> DebugSession:
    session = platform.continuous.debugging(job.name).session
    if session is None:
        raise ConflictError(f"job {job.name} is not being debugged: debugging is off")
    return session


def _token(platform: Platform, session: DebugSession) -> dict[str, Any]:
    ends = min(session.ends, datetime.now(UTC) + timedelta(seconds=TOKEN_LIFE_S))
    return {"token": platform.debug_tokens.issue(session.id), "token_ends": iso(ends)}


def _redeemed(platform: Platform, request: web.Request, job: Job) -> bool:
    session = platform.continuous.debugging(job.name).session
    token = request.headers.get(DEBUG_TOKEN_HEADER, "")
    return platform.debug_tokens.redeem(token, session.id if session else "")


def _is_private(platform: Platform, job: Job) -> bool:
    return "net" in job_sandbox(platform, job).get("namespaces", ())


def _wait(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadRequestError("body field 'wait': true or false is expected")
    return value


def _duration(value: object, most: float) -> float:
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise BadRequestError(
            f"body field 'duration_s': seconds of more than 0 and up to {most:g} are expected"
            " (--debug-s of `taak run` says how many)"
        )
    return float(value)


def _tell(request: web.Request, what: str) -> None:
    principal = request.get(PRINCIPAL)
    by = f"a key that opens {principal.rights}" if principal else "a one-time token"
    _audit.info("%s; by %s from %s", what, by, request.remote)


ROUTES = (
    Route(method="GET", path=_PATH, call=get_debug, summary="How debugging is", answer="Debug"),
    Route(
        method="POST",
        path=_PATH,
        call=begin_debug,
        summary="Run a continuous job under its debugger",
        body="DebugRequest",
        answer="DebugBegun",
    ),
    Route(method="DELETE", path=_PATH, call=end_debug, summary="Debug no longer", answer="Debug"),
    Route(
        method="POST",
        path=f"{_PATH}/tokens",
        call=new_token,
        summary="A one-time token for the tunnel",
        answer="DebugToken",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/tunnel",
        call=tunnel,
        summary="A WebSocket to the debugger: bytes of one connection in binary messages; opened by"
        f" a key, or by a token in the header {DEBUG_TOKEN_HEADER}",
        status=101,
        media=(),
    ),
    Route(
        method="POST",
        path="/v1/jobs/triggered/{name}/debug",
        call=refuse_triggered,
        summary="Refused: only continuous jobs can be debugged",
        status=409,
        media=("application/problem+json",),
    ),
)
