"""/api/logstream: the application log as it is written (webjobs.md 3.1, 4.9, 6.7).

What continuous jobs write is always in it; what triggered ones do, if the app setting
WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS says so. `/api/logstream/jobs/KIND/NAME` is one job alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.messages import message
from gateway.native.growing_file import GrowingFile, Line
from gateway.native.streams import STOPPING
from gateway.platform import Platform
from scheduler.app_settings import is_true, lookup
from scheduler.errors import NotFoundError
from scheduler.functions import Job, JobKind
from scheduler.live_settings import laid_over

#: How often the logs are looked at, and after how much silence a line says that we are there.
LOOK_S = 0.3
SILENCE_S = 20.0
_EVERYTHING = {"", "application"}
_MAX_LOGS = 1000


async def stream(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """GET /api/logstream[/application | /jobs/KIND/NAME]: text without end."""
    wanted = match.get("path", "").strip("/")
    try:
        only = _only(platform, wanted) if wanted.lower() not in _EVERYTHING else None
    except (NotFoundError, ValueError):
        return message(404, f"There is no log stream '{wanted}'.")
    logs = _Logs(platform, only)
    await asyncio.to_thread(logs.begin)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would keep lines back otherwise
            "X-Content-Type-Options": "nosniff",
        }
    )
    await response.prepare(request)
    # A client that is gone is the usual end of such a stream, not a failure.
    with contextlib.closing(logs), contextlib.suppress(ConnectionResetError):
        await _send(request, response, logs)
    return response


async def _send(request: web.Request, response: web.StreamResponse, logs: _Logs) -> None:
    await response.write(_line("Welcome, you are now connected to log-streaming service."))
    silent_s = 0.0
    while not request.app[STOPPING].is_set():
        if text := await asyncio.to_thread(logs.read):
            await response.write(text.encode("utf-8", "replace"))
            silent_s = 0.0
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await request.app[STOPPING].wait()
        silent_s += LOOK_S
        if silent_s >= SILENCE_S:
            await response.write(_line(f"No new trace in the past {SILENCE_S:g} second(s)."))
            silent_s = 0.0


class _Logs:
    """The logs that are followed: what there is now from its end on, what comes from its begin."""

    def __init__(self, platform: Platform, only: Job | None) -> None:
        self._platform = platform
        self._only = only
        self._files: dict[Path, tuple[str, GrowingFile]] = {}

    def begin(self) -> None:
        """Pass over what was written before."""
        for name, path in self._wanted():
            try:
                size = path.stat().st_size
            except OSError:
                size = 0
            self._files[path] = name, GrowingFile(path, size)

    def read(self) -> str:
        """Return the new lines of all logs."""
        wanted = {path: name for name, path in self._wanted()}
        for path in [path for path in self._files if path not in wanted]:
            self._files.pop(path)[1].close()
        for path, name in wanted.items():
            if path not in self._files and len(self._files) < _MAX_LOGS:
                self._files[path] = name, GrowingFile(path)
        return "".join(
            f"{name}{line.text}\r\n" for name, log in self._files.values() for line in _lines(log)
        )

    def close(self) -> None:
        """Let go of every file."""
        for _, log in self._files.values():
            log.close()

    def _wanted(self) -> Iterator[tuple[str, Path]]:
        """Yield the logs to follow, each with what its lines begin with."""
        folders = self._platform.folders
        for job in self._jobs():
            head = "" if self._only else f"{job.name}: "
            if job.kind is JobKind.CONTINUOUS:
                yield head, folders.job_log(job)
                continue
            # The two newest: a run may end between two looks, and the next one begin.
            for run_id in folders.run_ids(job)[:2]:
                yield head, folders.output_log(job, run_id)

    def _jobs(self) -> list[Job]:
        if self._only is not None:
            return [self._only]
        catalog = self._platform.catalog
        settings = laid_over(catalog.definition.host.settings, self._platform.settings)
        jobs = list(catalog.jobs(JobKind.CONTINUOUS))
        if is_true(lookup(settings, "WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS")):
            jobs += catalog.jobs(JobKind.TRIGGERED)
        return jobs


def _only(platform: Platform, wanted: str) -> Job:
    """Return the job that `jobs/KIND/NAME` means."""
    root, kind, name = wanted.split("/")
    if root.lower() != "jobs":
        raise ValueError(root)
    return platform.catalog.job(JobKind(kind.lower()), name)


def _lines(log: GrowingFile) -> list[Line]:
    try:
        return log.read_lines()
    except OSError:
        return []  # a job has put something else in the place of its log


def _line(text: str) -> bytes:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}  {text}\r\n".encode()
