"""The WebJobs routes: lists, one job, run, start, stop, history, settings. Files: `upload.py`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu import arm
from gateway.kudu.body import disk_refusals
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
from scheduler.lenient_json import parse
from scheduler.run import Run
from scheduler.shared_file import shared_opener

MAX_SETTINGS_BYTES = 1024 * 1024


async def list_all(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/webjobs: triggered ones first."""
    jobs = [*_jobs(platform, JobKind.TRIGGERED), *_jobs(platform, JobKind.CONTINUOUS)]
    return await _list(platform, request, jobs)


async def list_kind(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs."""
    return await _list(platform, request, _jobs(platform, _kind(match)))


async def swagger_page(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/triggeredwebjobsswagger."""
    return _json(arm.one(request, swagger(_jobs(platform, JobKind.TRIGGERED))))


async def get_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs/{name}."""
    job = _find(platform, match)
    return await job_answer(platform, request, job) if job else _not_found()


async def run_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """POST /api/triggeredwebjobs/{name}/run: 202 and the run's address. The body is ignored.

    The resource manager would poll the address of a 202 itself, so it is told 200.
    """
    job = _find(platform, match)
    if job is None:
        return _not_found()
    agent = request.headers.get("User-Agent", "")
    arguments = request.query.get("arguments", "")
    run = await platform.triggered.start(job, trigger=f"External - {agent}", arguments=arguments)
    location = Base.of(request).run(job, run.public_id)
    status = 200 if arm.is_asked(request) else 202
    return web.Response(status=status, headers={"Location": location})


async def history(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/triggeredwebjobs/{name}/history; 404 for a job that never ran."""
    job = _find(platform, match)
    if job is None or not platform.folders.data(job).exists():
        return _not_found()
    runs = [_run(platform, request, job, run) for run in await platform.triggered.history(job)]
    answer = arm.many(request, runs) if arm.is_asked(request) else {"runs": runs}
    return tagged(request, answer, history_etag(runs))


async def history_run(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/triggeredwebjobs/{name}/history/{id}."""
    job = _find(platform, match)
    run = await platform.triggered.find(job, match["id"]) if job else None
    if job is None or run is None:
        return _not_found()
    return _json(arm.one(request, _run(platform, request, job, run)))


async def start(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """POST /api/continuouswebjobs/{name}/start."""
    return await _switch(platform, match, platform.continuous.start)


async def stop(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """POST /api/continuouswebjobs/{name}/stop."""
    return await _switch(platform, match, platform.continuous.stop)


async def get_settings(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/{kind}webjobs/{name}/settings; {} for an unknown job too, as in Kudu."""
    job = _find(platform, match)
    return _json(_live_settings(job) if job else {})


async def put_settings(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT /api/{kind}webjobs/{name}/settings: the body replaces the whole file."""
    job = _find(platform, match)
    if job is None:
        return _not_found()
    document = _settings_document(await _read_limited(request))
    await _write_settings(platform, job, document)
    return web.Response()


async def put_arm_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT of a job in ARM mode: `{"properties": {"settings": {…}}}` writes its settings only."""
    job = _find(platform, match)
    if job is None:
        return _not_found()
    document = _settings_document(await _read_limited(request))
    properties = document.get("properties")
    settings = properties.get("settings") if isinstance(properties, dict) else None
    if not isinstance(settings, dict):
        raise BadRequestError('the body has no {"properties": {"settings": {…}}}')
    await _write_settings(platform, job, settings)
    return await job_answer(platform, request, _find(platform, match) or job)


def settings_record(kind: JobKind, name: str) -> str:
    """Return where the store keeps settings that were made through the API (webjobs.md 9)."""
    return f"job/settings/{kind.value}/{key(name)}"


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
    """Return a job as an answer."""
    return _json(arm.one(request, await _shape(platform, request, job)))


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
    answer = arm.many(request, shapes) if arm.is_asked(request) else shapes
    return tagged(request, answer, jobs_etag(shapes))


async def _shape(platform: Platform, request: web.Request, job: Job) -> dict[str, Any]:
    base, folders = Base.of(request), platform.folders
    using_sdk = folders.uses_sdk(job)
    if job.kind is JobKind.TRIGGERED:
        latest = platform.triggered.active(job) or await platform.triggered.latest(job)
        return triggered_shape(
            base,
            job,
            _run(platform, request, job, latest) if latest else None,
            using_sdk=using_sdk,
            has_scheduler_log=_is_there(folders.scheduler_log(job)),
        )
    summary = await platform.continuous.summary(job)
    facts = ContinuousFacts(*summary, _is_there(folders.job_log(job)))
    return continuous_shape(base, job, facts, using_sdk=using_sdk)


def _run(platform: Platform, request: web.Request, job: Job, run: Run) -> dict[str, Any]:
    folders = platform.folders
    return run_shape(
        Base.of(request),
        job,
        run,
        now=datetime.now(UTC),
        has_output=_is_there(folders.output_log(job, run.public_id)),
        has_errors=_is_there(folders.error_log(job, run.public_id)),
    )


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
    """Read what a client sends as Kudu reads it: comments and a BOM are no mistake."""
    try:
        document = parse(body.decode("utf-8-sig"), "settings.job").value
    except ValueError as error:
        raise BadRequestError(f"settings.job: not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadRequestError("settings.job: a JSON object is expected")
    return document


def _live_settings(job: Job) -> dict[str, Any]:
    """Return settings.job as it is now: an edit shows before it is deployed."""
    try:
        with open(settings_path(job), "rb", opener=shared_opener) as file:
            return _settings_document(file.read(MAX_SETTINGS_BYTES))
    except (OSError, BadRequestError):
        return {}


async def _write_settings(platform: Platform, job: Job, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    with disk_refusals("settings.job"):
        await asyncio.to_thread(write_atomically, settings_path(job), text)
    await platform.store.put_config(settings_record(job.kind, job.name), text)
    await platform.deployments.reconcile(f"settings of {job.kind.value} job {job.name}")


def _is_there(path: Path) -> bool:
    return os.path.exists(path)


def _json(value: object) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")


def _not_found() -> web.Response:
    return web.Response(status=404)
