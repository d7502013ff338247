"""The WebJobs routes: lists, one job, run, start, stop, history, settings, upload, delete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.folded_routes import Match
from gateway.job_facts import continuous_status
from gateway.kudu.etags import history_etag, jobs_etag, tagged
from gateway.kudu.shapes import (
    Base,
    ContinuousFacts,
    continuous_shape,
    run_shape,
    swagger,
    to_json,
    triggered_shape,
)
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.functions import Job, JobKind, key
from scheduler.job_folders import write_atomically

MAX_SETTINGS_BYTES = 1024 * 1024


async def list_all(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/webjobs: triggered ones first."""
    jobs = [*_jobs(platform, JobKind.TRIGGERED), *_jobs(platform, JobKind.CONTINUOUS)]
    return await _list(platform, request, jobs)


async def list_kind(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs."""
    return await _list(platform, request, _jobs(platform, _kind(match)))


async def swagger_page(platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /api/triggeredwebjobsswagger."""
    return _json(swagger(_jobs(platform, JobKind.TRIGGERED)))


async def get_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs/{name}."""
    job = _find(platform, match)
    return _json(await _shape(platform, request, job)) if job else _not_found()


async def run_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """POST /api/triggeredwebjobs/{name}/run: 202 and the run's address. The body is ignored."""
    job = _find(platform, match)
    if job is None:
        return _not_found()
    agent = request.headers.get("User-Agent", "")
    arguments = request.query.get("arguments", "")
    run = await platform.triggered.start(job, trigger=f"External - {agent}", arguments=arguments)
    location = Base.of(request).run(job, run.public_id)
    return web.Response(status=202, headers={"Location": location})


async def history(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/triggeredwebjobs/{name}/history; 404 for a job that never ran."""
    job = _find(platform, match)
    if job is None or not platform.folders.data(job).exists():
        return _not_found()
    now, base = datetime.now(UTC), Base.of(request)
    runs = [run_shape(base, job, run, now=now) for run in await platform.triggered.history(job)]
    return tagged(request, {"runs": runs}, history_etag(runs))


async def history_run(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/triggeredwebjobs/{name}/history/{id}."""
    job = _find(platform, match)
    run = await platform.triggered.find(job, match["id"]) if job else None
    if job is None or run is None:
        return _not_found()
    return _json(run_shape(Base.of(request), job, run, now=datetime.now(UTC)))


async def start(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """POST /api/continuouswebjobs/{name}/start."""
    return await _switch(platform, match, platform.continuous.start)


async def stop(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """POST /api/continuouswebjobs/{name}/stop."""
    return await _switch(platform, match, platform.continuous.stop)


async def get_settings(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs/{name}/settings; {} for an unknown job too, as in Kudu."""
    job = _find(platform, match)
    return _json(dict(job.settings) if job else {})


async def put_settings(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT /api/{kind}webjobs/{name}/settings: the body replaces the whole file."""
    job = _find(platform, match)
    if job is None:
        return _not_found()
    document = _settings_document(await _read_limited(request))
    try:
        write_atomically(settings_path(job), json.dumps(document, indent=2, ensure_ascii=False))
    except OSError as error:
        raise ConflictError(f"settings.job cannot be written: {error.strerror}") from error
    await platform.deployments.reconcile(f"settings of {job.kind.value} job {job.name}")
    return web.Response()


def settings_path(job: Job) -> Path:
    """Return where settings.job is: beside the script (webjobs.md 1.2)."""
    return job.live_folder / Path(job.script).parent / "settings.job"


def find_job(platform: Platform, kind: JobKind, name: str) -> Job | None:
    """Return a job that Kudu would show: one with something to run."""
    try:
        job = platform.catalog.job(kind, name)
    except NotFoundError:
        return None
    return job if job.script else None


async def job_answer(platform: Platform, request: web.Request, job: Job) -> web.Response:
    """Return a job as the answer to an upload."""
    return _json(await _shape(platform, request, job))


def kind_of(match: Match) -> JobKind:
    """Return the kind that the path names."""
    return _kind(match)


def _kind(match: Match) -> JobKind:
    return JobKind(match["kind"].lower())


def _find(platform: Platform, match: Match) -> Job | None:
    return find_job(platform, _kind(match), match["name"])


def _jobs(platform: Platform, kind: JobKind) -> list[Job]:
    jobs = [job for job in platform.catalog.jobs(kind) if job.script]
    return sorted(jobs, key=lambda job: key(job.name))


async def _list(platform: Platform, request: web.Request, jobs: list[Job]) -> web.Response:
    shapes = [await _shape(platform, request, job) for job in jobs]
    return tagged(request, shapes, jobs_etag(shapes))


async def _shape(platform: Platform, request: web.Request, job: Job) -> dict[str, Any]:
    base, folders = Base.of(request), platform.folders
    using_sdk = folders.uses_sdk(job)
    if job.kind is JobKind.TRIGGERED:
        return triggered_shape(
            base,
            job,
            platform.triggered.active(job) or await platform.triggered.latest(job),
            now=datetime.now(UTC),
            using_sdk=using_sdk,
            has_scheduler_log=_is_there(folders.scheduler_log(job)),
        )
    status = continuous_status(platform, job)
    facts = ContinuousFacts(
        status.state.value, status.detailed_status, _is_there(folders.job_log(job))
    )
    return continuous_shape(base, job, facts, using_sdk=using_sdk)


async def _switch(platform: Platform, match: Match, verb: Callable[[str], Any]) -> web.Response:
    job = _find(platform, match)
    if job is None:
        return _not_found()
    try:
        await verb(job.name)
    except OSError as error:
        raise ConflictError(f"disable.job cannot be changed: {error.strerror}") from error
    return web.Response()


async def _read_limited(request: web.Request) -> bytes:
    body = await request.read()
    if len(body) > MAX_SETTINGS_BYTES:
        raise BadRequestError(
            f"settings.job has {len(body)} bytes; {MAX_SETTINGS_BYTES} bytes is the most"
        )
    return body


def _settings_document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"settings.job: not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadRequestError("settings.job: a JSON object is expected")
    return document


def _is_there(path: Path) -> bool:
    return os.path.exists(path)


def _json(value: object) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")


def _not_found() -> web.Response:
    return web.Response(status=404)
