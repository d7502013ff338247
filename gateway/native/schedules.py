"""/v1/schedules: when what fires next, and what an expression would mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.native.route import Param, Route, answer, integer, iso
from gateway.platform import Platform
from scheduler.errors import BadRequestError
from scheduler.functions import JobKind, TimerTrigger
from scheduler.schedule import Schedule, ScheduleError, parse_job, parse_timer
from scheduler.ticks import function_timer, job_timer

MAX_PREVIEW = 100
_SHOWN = 5
_DIALECTS = {"timer": parse_timer, "job": parse_job}


@dataclass(frozen=True, slots=True)
class _Owner:
    """What has a schedule."""

    name: str
    kind: str
    expression: str
    schedule: Schedule
    timer_id: str
    live: bool = True


def next_times(schedule: Schedule, after: datetime, count: int) -> list[str | None]:
    """Return the next instants; fewer when the schedule ends."""
    return [iso(moment) for moment in schedule.occurrences(after, count)]


async def list_schedules(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/schedules."""
    now = datetime.now(UTC)
    return answer({"items": [await _shape(platform, owner, now) for owner in _owners(platform)]})


async def preview(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/schedules:preview."""
    expression = request.query.get("expression", "")
    if not expression:
        raise BadRequestError("query parameter 'expression' is missing, e.g. 0 */5 * * * *")
    dialect = request.query.get("dialect", "timer")
    if dialect not in _DIALECTS:
        raise BadRequestError(f"query parameter 'dialect': {dialect!r} is none of timer, job")
    zone = request.query.get("time_zone") or platform.catalog.definition.host.time_zone
    count = integer(request, "n", default=5, low=1, high=MAX_PREVIEW)
    try:
        schedule = _DIALECTS[dialect](expression, zone=zone)
    except ScheduleError as error:
        raise BadRequestError(f"{expression!r} is no schedule: {error}") from error
    return answer(
        {
            "expression": expression,
            "dialect": dialect,
            "canonical": schedule.canonical,
            "time_zone": schedule.zone,
            "next": next_times(schedule, datetime.now(UTC), count),
        }
    )


def _owners(platform: Platform) -> Iterator[_Owner]:
    for function in platform.catalog.functions():
        if isinstance(function.trigger, TimerTrigger):
            trigger = function.trigger
            yield _Owner(
                name=function.name,
                kind="function",
                expression=trigger.expression,
                schedule=trigger.schedule,
                timer_id=function_timer(function.name),
                live=not function.disabled,
            )
    for job in platform.catalog.jobs(JobKind.TRIGGERED):
        if job.schedule is not None:
            yield _Owner(
                name=job.name,
                kind=job.kind.value,
                expression=job.schedule.text,
                schedule=job.schedule,
                timer_id=job_timer(job.name),
            )


async def _shape(platform: Platform, owner: _Owner, now: datetime) -> dict[str, Any]:
    tick = await platform.store.last_tick(owner.timer_id)
    return {
        "name": owner.name,
        "kind": owner.kind,
        "expression": owner.expression,
        "canonical": owner.schedule.canonical,
        "time_zone": owner.schedule.zone,
        "next": next_times(owner.schedule, now, _SHOWN) if owner.live else [],
        "last": iso(tick.due_at) if tick else None,
    }


ROUTES = (
    Route(
        method="GET",
        path="/v1/schedules",
        call=list_schedules,
        summary="Every schedule with its next times",
        answer="ScheduleList",
    ),
    Route(
        method="GET",
        path="/v1/schedules:preview",
        call=preview,
        summary="What an expression means",
        answer="SchedulePreview",
        query=(
            Param("expression", {"type": "string"}, "NCRONTAB or a time span (required)"),
            Param("dialect", {"enum": ["timer", "job"]}, "functions' or jobs' rules; timer"),
            Param("time_zone", {"type": "string"}, "IANA or Windows name; the app's zone"),
            Param("n", {"type": "integer", "minimum": 1, "maximum": MAX_PREVIEW}, "how many; 5"),
        ),
    ),
)
