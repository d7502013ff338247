"""/v1/runs: the history of functions and jobs, one run, its log, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from gateway.native.functions import log_line_shape
from gateway.native.log_answer import answer_log
from gateway.native.log_follow import Source
from gateway.native.log_query import LOG_MEDIA, LOG_PARAMS, LogQuery
from gateway.native.route import (
    MAX_PAGE,
    Param,
    Route,
    answer,
    choice,
    cursor,
    instant,
    integer,
    iso,
)
from gateway.native.streams import stream_values
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.function_logs import LogLine
from scheduler.functions import JobKind
from scheduler.run import Run, RunKind, RunState, is_final
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
    if run.kind is RunKind.FUNCTION:
        return await _invocation_log(platform, request, run)
    if run.kind is RunKind.CONTINUOUS:
        source = Source(reader=platform.logs.read_continuous(run), ended=ended(platform, run))
    else:
        reader = platform.logs.read_run(run, run.public_id)
        source = Source(reader=reader, ended=ended(platform, run))
    return await answer_log(request, source)


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


def ended(platform: Platform, run: Run) -> Callable[[], Awaitable[bool]] | None:
    """Return a check whether a run has ended, which asks the store only if it is not run here."""
    if run.kind is RunKind.CONTINUOUS and not is_final(run.state):
        return None

    async def is_over() -> bool:
        if is_final(run.state):
            return True
        if platform.triggered.goes_on(run):
            return False
        # It waits for its turn, another instance carries it out, or it has ended: its end is
        # recorded after the last line of its log.
        now = await platform.store.get_run(run.id)
        return now is None or is_final(now.state)

    return is_over


async def _invocation_log(platform: Platform, request: web.Request, run: Run) -> web.StreamResponse:
    query = LogQuery.of(request)
    _refuse(request, "from_line", "to_line", "regex", "since", "limit")
    logs = platform.dispatcher.logs

    def takes(line: LogLine) -> bool:
        is_its = _bare(line.invocation_id) == _bare(run.public_id)
        return is_its and (query.stream in ("", line.stream)) and query.text in line.text

    def earlier() -> list[LogLine]:
        lines = [line for line in logs.tail(run.name, _SEARCHED_LINES) if takes(line)]
        return lines if query.tail is None else lines[max(0, len(lines) - query.tail) :]

    if query.follow and not is_final(run.state):
        later = _those(logs.subscribe(run.name), takes)
        return await stream_values(request, earlier, later, log_line_shape)
    return web.Response(text="".join(f"{line.text}\n" for line in earlier()))


def _refuse(request: web.Request, *names: str) -> None:
    for name in names:
        if name in request.query:
            raise BadRequestError(
                f"query parameter {name!r}: not for calls of functions, only for runs of jobs"
            )


async def _those(
    lines: AsyncIterator[LogLine], takes: Callable[[LogLine], bool]
) -> AsyncIterator[LogLine]:
    async for line in lines:
        if takes(line):
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
        query=LOG_PARAMS,
        media=LOG_MEDIA,
    ),
    Route(
        method="POST",
        path="/v1/runs/{id}/cancel",
        call=cancel_run,
        summary="End a run of a triggered job",
        answer="Run",
    ),
)
