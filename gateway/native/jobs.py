"""/v1/jobs: the WebJobs, how they are, start and stop them, read their logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.job_facts import continuous_status, start_and_see
from gateway.native.debug import debug_shape
from gateway.native.log_answer import answer_log
from gateway.native.log_follow import Source
from gateway.native.log_query import LOG_MEDIA, LOG_PARAMS, resume_mark
from gateway.native.problems import known_problems, problem_shape, problems_of
from gateway.native.route import (
    Route,
    answer,
    iso,
    member,
    read_object,
    text_field,
)
from gateway.native.runs import ended, run_shape
from gateway.native.schedules import next_times
from gateway.platform import Platform
from gateway.sandbox_facts import job_sandbox, resource_limits
from scheduler.functions import Job, JobKind, Problem, key
from scheduler.run import Run

#: Lines from the end, unless the query says otherwise.
LOG_LINES = 200


async def job_shape(platform: Platform, job: Job, problems: list[Problem]) -> dict[str, Any]:
    """Return a job as JSON."""
    own = problems_of(f"{job.kind.value}/{job.name}", problems)
    shape: dict[str, Any] = {
        "name": job.name,
        "kind": job.kind.value,
        "state": "error",
        "schedule": job.schedule.text if job.schedule else job.settings.get("schedule"),
        "canonical": job.schedule.canonical if job.schedule else None,
        "time_zone": job.schedule.zone if job.schedule else None,
        "next": next_times(job.schedule, datetime.now(UTC), 5) if job.schedule else [],
        "latest_run": None,
        "script": job.script,
        "interpreter": job.script.rpartition(".")[2] if "." in job.script else "",
        "settings": dict(job.settings),
        "error": job.error or job.schedule_error or None,
        "restarts": None,
        "pid": None,
        "since": None,
        "last_exit": None,
        "sandbox": job_sandbox(platform, job),
        "limits": resource_limits(job.bundle.isolation),
        "problems": [problem_shape(problem) for problem in own],
        "debugging": None,
    }
    if job.kind is JobKind.TRIGGERED:
        return shape | await _triggered_facts(platform, job)
    return shape | _continuous_facts(platform, job)


async def list_jobs(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/jobs."""
    return answer({"items": await job_list(platform)})


async def job_list(platform: Platform) -> list[dict[str, Any]]:
    """Return every job, continuous ones first."""
    problems = await known_problems(platform)
    jobs = sorted(platform.catalog.jobs(), key=lambda job: (job.kind.value, key(job.name)))
    return [await job_shape(platform, job, problems) for job in jobs]


async def get_job(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/jobs/{kind}/{name}."""
    return await _job_answer(platform, _job(platform, request))


async def run_job(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST /v1/jobs/triggered/{name}/run."""
    job = platform.catalog.job(JobKind.TRIGGERED, request.match_info["name"])
    arguments = text_field(await read_object(request, ("arguments",)), "arguments")
    agent = request.headers.get("User-Agent", "")
    run = await platform.triggered.start(
        job, trigger=f"External - {agent}".rstrip(), arguments=arguments
    )
    return answer(run_shape(run), status=202, headers={"Location": f"/v1/runs/{run.id}"})


async def job_logs(platform: Platform, request: web.Request) -> web.StreamResponse:
    """Answer GET /v1/jobs/{kind}/{name}/log: the log, or that of the latest run and the next."""
    job = _job(platform, request)
    if job.kind is JobKind.CONTINUOUS:
        source = Source(reader=platform.logs.read_continuous(job))
    else:
        source = await _latest_run(platform, request, job)
    return await answer_log(request, source, default_tail=LOG_LINES)


async def _latest_run(platform: Platform, request: web.Request, job: Job) -> Source:
    """Return the run that a client followed last, else the latest one, else the schedule's log."""
    seen = resume_mark(request)
    run = await platform.triggered.find(job, seen[0]) if seen and seen[0] else None
    run = run or await platform.triggered.latest(job)

    async def has_begun() -> bool:
        return platform.triggered.active(job) is not None

    if run is not None:
        return _source_of(platform, job, run)
    return Source(
        reader=platform.logs.read_schedule(job),
        ended=has_begun,
        following=lambda: _run_after(platform, job, ""),
    )


def _source_of(platform: Platform, job: Job, run: Run) -> Source:
    return Source(
        reader=platform.logs.read_run(run, run.public_id),
        run_id=run.public_id,
        ended=ended(platform, run),
        following=lambda: _run_after(platform, job, run.public_id),
    )


async def _run_after(platform: Platform, job: Job, run_id: str) -> Source | None:
    """Return the run that began next, of those that are still known."""
    later = [run for run in await platform.triggered.history(job) if run.public_id > run_id]
    oldest = min(later, key=lambda run: run.public_id, default=None)
    return _source_of(platform, job, oldest) if oldest else None


def _job(platform: Platform, request: web.Request) -> Job:
    kind = member("the kind of a job", request.match_info["kind"], JobKind)
    return platform.catalog.job(kind, request.match_info["name"])


def _switch(
    verb: Callable[[Platform, Job], Awaitable[object]],
) -> Callable[[Platform, web.Request], Awaitable[web.Response]]:
    """Return the handler of a verb on a continuous job."""

    async def call(platform: Platform, request: web.Request) -> web.Response:
        job = platform.catalog.job(JobKind.CONTINUOUS, request.match_info["name"])
        await verb(platform, job)
        return await _job_answer(platform, job)

    return call


async def _stop(platform: Platform, job: Job) -> None:
    await platform.continuous.stop(job.name)


async def _restart(platform: Platform, job: Job) -> None:
    await platform.continuous.restart(job.name)


async def _job_answer(platform: Platform, job: Job) -> web.Response:
    return answer(await job_shape(platform, job, await known_problems(platform)))


async def _triggered_facts(platform: Platform, job: Job) -> dict[str, Any]:
    active = platform.triggered.active(job)
    latest = active or await platform.triggered.latest(job)
    state = active.state.value if active else "idle"
    return {
        "state": "error" if job.error else state,
        "latest_run": run_shape(latest) if latest else None,
    }


def _continuous_facts(platform: Platform, job: Job) -> dict[str, Any]:
    status = continuous_status(platform, job)
    return {
        "state": "error" if job.error else status.state.value,
        "restarts": status.restarts,
        "pid": status.pid,
        "since": iso(status.since),
        "last_exit": str(status.last_exit) if status.last_exit is not None else None,
        "debugging": debug_shape(status.debugging),
    }


def _continuous_route(action: str, summary: str, call: Any) -> Route:
    return Route(
        method="POST",
        path=f"/v1/jobs/continuous/{{name}}/{action}",
        call=call,
        summary=summary,
        answer="Job",
    )


ROUTES = (
    Route(method="GET", path="/v1/jobs", call=list_jobs, summary="Every WebJob", answer="JobList"),
    Route(
        method="GET",
        path="/v1/jobs/{kind}/{name}",
        call=get_job,
        summary="One WebJob",
        answer="Job",
    ),
    Route(
        method="POST",
        path="/v1/jobs/triggered/{name}/run",
        call=run_job,
        summary="Start a run of a triggered job",
        body="RunRequest",
        answer="Run",
        status=202,
    ),
    _continuous_route("start", "Start", _switch(start_and_see)),
    _continuous_route("stop", "Stop", _switch(_stop)),
    _continuous_route("restart", "Restart", _switch(_restart)),
    *(
        Route(
            method="GET",
            path=f"/v1/jobs/{{kind}}/{{name}}/{word}",
            call=job_logs,
            summary="The log of a continuous job, or of the latest run of a triggered one",
            query=LOG_PARAMS,
            media=LOG_MEDIA,
        )
        for word in ("log", "logs")
    ),
)
