"""/v1/runs: the history of functions and jobs, one run, its log, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.native.functions import log_line_shape
from gateway.native.route import (
    MAX_PAGE,
    Param,
    Route,
    answer,
    choice,
    cursor,
    flag,
    instant,
    integer,
    iso,
)
from gateway.native.streams import stream_file, stream_values
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.function_logs import LogLine
from scheduler.functions import JobKind
from scheduler.job_folders import JobFolders
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.shared_file import shared_opener
from scheduler.store.port import RunFilter

#: Lines of a function's recent log that are searched for those of one invocation.
_SEARCHED_LINES = 10_000


def run_shape(run: Run) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "id": run.id,
        "public_id": run.public_id,
        "kind": run.kind.value,
        "name": run.name,
        "trigger": run.trigger,
        "state": run.state.value,
        "instance": run.instance,
        "release": run.release,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "exit_code": run.exit_code,
        "reason": run.reason,
        "arguments": run.arguments,
        "attempt": run.attempt,
        "wait_ms": run.wait_ms,
        "exec_ms": run.exec_ms,
    }


async def list_runs(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/runs, newest first."""
    wanted = RunFilter(
        kind=choice(request, "kind", RunKind),
        name=request.query.get("name"),
        state=choice(request, "state", RunState),
        trigger=request.query.get("trigger"),
        since=instant(request, "since"),
        until=instant(request, "until"),
    )
    limit = integer(request, "limit", default=50, low=1, high=MAX_PAGE)
    page = await platform.store.query_runs(wanted, cursor=cursor(request), limit=limit)
    return answer({"items": [run_shape(run) for run in page.items], "cursor": page.cursor})


async def get_run(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/runs/{id}."""
    return answer(run_shape(await _run(platform, request)))


async def run_log(platform: Platform, request: web.Request) -> web.StreamResponse:
    """Answer GET /v1/runs/{id}/log: text, or an event stream that ends with the run."""
    run = await _run(platform, request)
    follow = flag(request, "follow")
    if run.kind is RunKind.FUNCTION:
        return await _invocation_log(platform, request, run, follow=follow)
    path = log_path(platform.folders, run)
    if not follow:
        return text_file(path)
    return await stream_file(request, path, start=0, ended=_ended(platform, run))


async def cancel_run(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST /v1/runs/{id}/cancel."""
    run = await _run(platform, request)
    if is_final(run.state):
        raise ConflictError(f"run {run.id} has ended already: {run.state.value}")
    if run.kind is not RunKind.TRIGGERED:
        raise ConflictError(
            "only runs of triggered jobs can be cancelled; a continuous job is stopped with"
            f" POST /v1/jobs/continuous/{run.name}/stop"
        )
    job = platform.catalog.job(JobKind.TRIGGERED, run.name)
    await platform.triggered.cancel(job, run.public_id)
    return answer(run_shape(await platform.store.get_run(run.id) or run))


def log_path(folders: JobFolders, run: Run) -> Path:
    """Return the file that holds what a job's run wrote."""
    # The run says which job: its definition may be gone while its logs are still there.
    if run.kind is RunKind.TRIGGERED:
        return folders.output_log(run, run.public_id)
    return folders.job_log(run)


def text_file(path: Path, start: int = 0) -> web.Response:
    """Return a log from an offset on; one that was never written is an empty text."""
    try:
        with open(path, "rb", opener=shared_opener) as file:
            file.seek(start)
            body = file.read()
    except FileNotFoundError:
        body = b""
    return web.Response(
        body=body,
        headers={"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
    )


async def _run(platform: Platform, request: web.Request) -> Run:
    text = request.match_info["id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequestError(f"{text!r} is no run id: /v1/runs takes the number of a run")
    run = await platform.store.get_run(int(text))
    if run is None:
        raise NotFoundError(
            f"there is no run {text}; it may have been pruned",
            hint="list them: taak runs, or GET /v1/runs",
        )
    return run


def _ended(platform: Platform, run: Run) -> Any:
    """Return a check that costs no store call: whether the run is still the active one."""
    if is_final(run.state):
        return lambda: True
    if run.kind is RunKind.CONTINUOUS:
        return None

    def ended() -> bool:
        try:
            active = platform.triggered.active(platform.catalog.job(JobKind.TRIGGERED, run.name))
        except NotFoundError:
            return True
        return active is None or active.public_id != run.public_id

    return ended


async def _invocation_log(
    platform: Platform, request: web.Request, run: Run, *, follow: bool
) -> web.StreamResponse:
    logs = platform.dispatcher.logs

    def earlier() -> list[LogLine]:
        lines = logs.tail(run.name, _SEARCHED_LINES)
        return [line for line in lines if _bare(line.invocation_id) == _bare(run.public_id)]

    if follow and not is_final(run.state):
        later = _of(logs.subscribe(run.name), run.public_id)
        return await stream_values(request, earlier, later, log_line_shape)
    return web.Response(text="".join(f"{line.text}\n" for line in earlier()))


async def _of(lines: AsyncIterator[LogLine], invocation_id: str) -> AsyncIterator[LogLine]:
    async for line in lines:
        if _bare(line.invocation_id) == _bare(invocation_id):
            yield line


def _bare(invocation_id: str) -> str:
    """Return an id without dashes: a caller may give it in either form."""
    return invocation_id.replace("-", "")


_PAGE = (
    Param("cursor", {"type": "integer", "minimum": 0}, "where the page starts: `cursor` before"),
    Param("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "rows; 50"),
)
ROUTES = (
    Route(
        method="GET",
        path="/v1/runs",
        call=list_runs,
        summary="The history, newest first",
        answer="RunPage",
        query=(
            Param("kind", {"enum": [kind.value for kind in RunKind]}, "what ran"),
            Param("name", {"type": "string"}, "of the function or job"),
            Param("state", {"enum": [state.value for state in RunState]}, "where it stands"),
            Param("trigger", {"type": "string"}, "what started it"),
            Param("since", {"type": "string", "format": "date-time"}, "created then or later"),
            Param("until", {"type": "string", "format": "date-time"}, "created before"),
            *_PAGE,
        ),
    ),
    Route(method="GET", path="/v1/runs/{id}", call=get_run, summary="One run", answer="Run"),
    Route(
        method="GET",
        path="/v1/runs/{id}/log",
        call=run_log,
        summary="What a run wrote",
        query=(Param("follow", {"type": "boolean"}, "an event stream until the run ends"),),
        media=("text/plain", "text/event-stream"),
    ),
    Route(
        method="POST",
        path="/v1/runs/{id}/cancel",
        call=cancel_run,
        summary="End a run of a triggered job",
        answer="Run",
    ),
)
