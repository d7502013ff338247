"""The JSON of Kudu's API: fields, their order, its words, dates and time spans (webjobs.md 6.5).

Pure: values in, dictionaries out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from aiohttp import web

from scheduler.functions import Job
from scheduler.run import Run, RunState

#: How .NET writes a date that is not set; without a Z, to the letter.
NO_DATE = "0001-01-01T00:00:00"

#: our state -> Kudu's word. It knows no time limit, memory limit or cancellation.
RUN_WORDS: dict[RunState, str] = {
    RunState.QUEUED: "Initializing",
    RunState.INITIALIZING: "Initializing",
    RunState.RUNNING: "Running",
    RunState.SUCCESS: "Success",
    RunState.FAILED: "Failed",
    RunState.ABORTED: "Aborted",
    RunState.TIMED_OUT: "Failed",
    RunState.OUT_OF_MEMORY: "Failed",
    RunState.CANCELLED: "Aborted",
}


@dataclass(frozen=True, slots=True)
class ContinuousFacts:
    """How a continuous job is, in Kudu's words."""

    status: str
    detailed_status: str
    has_log: bool = True


@dataclass(frozen=True, slots=True)
class Base:
    """Scheme and authority of the current request: every URL in an answer starts with it."""

    url: str

    @classmethod
    def of(cls, request: web.BaseRequest) -> Base:
        """Return the base of a request's own address."""
        return cls(f"{request.scheme}://{request.host}")

    def job(self, job: Job) -> str:
        """Return the address of a job."""
        return f"{self.url}/api/{job.kind.value}webjobs/{quote(job.name)}"

    def run(self, job: Job, run_id: str) -> str:
        """Return the address of a run."""
        return f"{self.job(job)}/history/{run_id}"

    def file(self, path: str) -> str:
        """Return the address of a file below HOME."""
        return f"{self.url}/vfs/{quote(path)}"

    def data_file(self, job: Job, name: str) -> str:
        """Return the address of a file in a job's data directory."""
        return self.file(f"data/jobs/{job.kind.value}/{job.name}/{name}")


def date(instant: datetime | None) -> str:
    """Return a date as Json.NET writes it: as many fraction digits as needed."""
    if instant is None:
        return NO_DATE
    moment = instant.astimezone(UTC)
    fraction = f".{moment.microsecond:06}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def time_span(span: timedelta) -> str:
    """Return a .NET TimeSpan: [-][d.]hh:mm:ss[.fffffff]."""
    sign, span = ("-", -span) if span < timedelta(0) else ("", span)
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days = f"{span.days}." if span.days else ""
    fraction = f".{span.microseconds:06}0" if span.microseconds else ""
    return f"{sign}{days}{hours:02}:{minutes:02}:{seconds:02}{fraction}"


def run_shape(
    base: Base,
    job: Job,
    run: Run,
    *,
    now: datetime,
    has_output: bool = True,
    has_errors: bool = False,
) -> dict[str, Any]:
    """Return a run of a triggered job; the address of a log that is not there is null."""
    start = run.started_at or run.created_at
    output = base.data_file(job, f"{run.public_id}/output_log.txt")
    errors = base.data_file(job, f"{run.public_id}/error_log.txt")
    return {
        "id": run.public_id,
        "name": run.public_id,
        "status": RUN_WORDS[run.state],
        "start_time": date(start),
        "end_time": date(run.ended_at),
        "duration": time_span((run.ended_at or now) - start),
        "output_url": output if has_output else None,
        "error_url": errors if has_errors else None,
        "url": base.run(job, run.public_id),
        "job_name": job.name,
        "trigger": run.trigger,
    }


def triggered_shape(
    base: Base,
    job: Job,
    latest: dict[str, Any] | None,
    *,
    using_sdk: bool = False,
    has_scheduler_log: bool = True,
) -> dict[str, Any]:
    """Return a triggered job; `latest` is the shape of its newest run."""
    log = base.data_file(job, "job_scheduler.log") if has_scheduler_log else None
    return {
        "latest_run": latest,
        "history_url": f"{base.job(job)}/history",
        "scheduler_logs_url": log,
        **_job_shape(base, job, using_sdk=using_sdk),
    }


def continuous_shape(
    base: Base, job: Job, facts: ContinuousFacts, *, using_sdk: bool = False
) -> dict[str, Any]:
    """Return a continuous job."""
    return {
        "status": facts.status,
        "detailed_status": facts.detailed_status,
        "log_url": base.data_file(job, "job_log.txt") if facts.has_log else None,
        **_job_shape(base, job, using_sdk=using_sdk),
    }


def swagger(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the Swagger 2.0 document of the triggered jobs, to the letter of webjobs.md 6.5."""
    return {
        "swagger": "2.0",
        "info": {"version": "v1", "title": "WebJobs"},
        "host": "placeHolder",
        "schemes": ["https"],
        "paths": {f"/api/triggeredjobs/{job.name}/run": {"post": _run_call(job)} for job in jobs},
    }


def to_json(value: object) -> str:
    """Return compact JSON with nulls and with plain letters beyond ASCII, as Json.NET does."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text to send


def _job_shape(base: Base, job: Job, *, using_sdk: bool) -> dict[str, Any]:
    kind = job.kind.value
    return {
        "name": job.name,
        "run_command": job.script,
        "url": base.job(job),
        "extra_info_url": f"{base.url}/azurejobs/#/jobs/{kind}/{quote(job.name)}",
        "type": kind,
        "error": job.schedule_error or job.error or None,
        "using_sdk": using_sdk,
        "settings": dict(job.settings),
    }


def _run_call(job: Job) -> dict[str, Any]:
    success = {"description": "Success"}
    return {
        "deprecated": False,
        "operationId": job.name,
        "consumes": [],
        "produces": [],
        "responses": {"200": success, "default": success},
        "parameters": [
            {
                "name": "arguments",
                "in": "query",
                "description": "Web Job Arguments",
                "required": False,
                "type": "string",
            }
        ],
    }
