"""/api/processes: what runs below the platform, and which of it is a job's (webjobs.md 6.7)."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.messages import message
from gateway.kudu.shapes import Base, date, time_span, to_json
from gateway.platform import Platform
from scheduler.process_facts import ProcessFacts, end_job_process, processes_below

#: How Kudu's clients name the process that they talk to.
SELF = "0"


async def list_all(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/processes: the platform and everything below it."""
    found = await asyncio.to_thread(processes_below, os.getpid())
    return _json([_short(platform, request, facts) for facts in found])


async def get(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/processes/ID; 0 is the platform itself."""
    found = await asyncio.to_thread(processes_below, os.getpid())
    wanted = str(os.getpid()) if match["id"] == SELF else match["id"]
    facts = next((each for each in found if str(each.pid) == wanted), None)
    if facts is None:
        return _unknown(match["id"])
    return _json(_long(platform, request, facts, found))


async def delete(_platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """DELETE /api/processes/ID: kill a job's process with all below it; 204."""
    told = match["id"]
    pid = int(told) if told.isascii() and told.isdecimal() and len(told) < 10 else -1
    if pid > 0 and await asyncio.to_thread(end_job_process, pid, top=os.getpid()):
        return web.Response(status=204)
    found = await asyncio.to_thread(processes_below, os.getpid())
    if pid == 0 or any(each.pid == pid for each in found):
        return message(403, f"Process {told} belongs to no job; only those of jobs can be ended.")
    return _unknown(told)


def _short(platform: Platform, request: web.Request, facts: ProcessFacts) -> dict[str, Any]:
    return {
        "id": facts.pid,
        "name": facts.name,
        "machineName": platform.instance,
        "href": f"{Base.of(request).url}/api/processes/{facts.pid}",
        "user_name": facts.user,
        "is_scm_site": facts.pid == os.getpid(),
        "is_webjob": facts.job is not None,
        "description": _description(facts),
    }


def _long(
    platform: Platform, request: web.Request, facts: ProcessFacts, found: list[ProcessFacts]
) -> dict[str, Any]:
    base = f"{Base.of(request).url}/api/processes"
    return {
        **_short(platform, request, facts),
        "parent": f"{base}/{facts.parent}" if facts.pid != os.getpid() else None,
        "children": [f"{base}/{each.pid}" for each in found if each.parent == facts.pid],
        "file_name": facts.file_name,
        "command_line": facts.command,
        "start_time": date(facts.started_at),
        "thread_count": facts.threads,
        "working_set": facts.resident_bytes,
        "virtual_memory": facts.virtual_bytes,
        "user_cpu_time": _span(facts.user_s),
        "privileged_cpu_time": _span(facts.kernel_s),
        "total_cpu_time": _span(facts.user_s + facts.kernel_s),
    }


def _description(facts: ProcessFacts) -> str | None:
    if facts.job is None:
        return None
    kind, name = facts.job
    return f"WebJob: {name}, Type: {kind}"


def _span(seconds: float) -> str:
    return time_span(timedelta(seconds=seconds))


def _unknown(told: str) -> web.Response:
    return message(404, f"Process with id '{told}' not found.")


def _json(value: object) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")
