"""What becomes of old logs: segments go by age, by count of lines and by size (`log_limits.py`).

The newest segment of a log is never touched: nothing here needs to know who writes which.
Works in small steps, one job's folder at a time in a thread, with pauses between, so that neither
the loop nor a job that writes waits for it. Kudu's files are not touched: WEBJOBS_HISTORY_SIZE is
the rule for the folders of runs, and a run that is gone takes its segments with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.catalog import EMPTY, Catalog
from scheduler.clock import Clock, SystemClock
from scheduler.errors import NotFoundError
from scheduler.functions import JobKind
from scheduler.job_logs import JobLogs
from scheduler.log_limits import LogLimits
from scheduler.log_segments import Segment, remove, segments_in

_log = logging.getLogger("taak.jobs")

#: Between the folders of two jobs.
PAUSE_S: Final = 0.01
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class _Named:
    """A job that has logs, deployed or not."""

    name: str
    kind: JobKind


@dataclass(frozen=True, slots=True)
class _Old:
    """A segment that may go, with what decides whether it does."""

    segment: Segment
    size: int
    written: float  # seconds of the epoch


class LogRetention:
    """Keeps the logs of all jobs within their limits.

    Args:
        logs: `KIND/NAME/` and `KIND/NAME/RUNID/` below its root hold segments.
        catalog: has the limits of each job and of the app.
        now: seconds of the epoch, as files' times are.
    """

    def __init__(
        self,
        logs: JobLogs,
        catalog: Catalog,
        *,
        clock: Clock | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._logs = logs
        self._catalog = catalog
        self._clock = clock or SystemClock()
        self._now = now

    async def sweep(self) -> None:
        """Look at every log once; not before it is known which limits the app has."""
        if self._catalog.definition is EMPTY:
            return
        left: list[_Old] = []
        total = 0
        for folder in await asyncio.to_thread(_folders, self._logs.root):
            try:
                olds, size = await asyncio.to_thread(self._sweep_job, folder)
            except OSError as error:
                _log.warning("old logs stay for now: %s", error)
                continue
            left += olds
            total += size
            await self._clock.sleep(PAUSE_S)
        surplus = total - self._catalog.definition.host.logs.total_bytes
        if surplus > 0:
            await asyncio.to_thread(_remove_oldest, left, surplus)

    def _sweep_job(self, folder: Path) -> tuple[list[_Old], int]:
        """Remove what is too much of one job; return what more could go, and the size of all."""
        job = _Named(folder.name, JobKind(folder.parent.name))
        limits = self._limits(job)
        olds, total = self._log(folder, limits)
        for run in _folders_in(folder):
            if self._logs.has_run(job, run.name):
                more, size = self._log(
                    run, limits, lines=0, is_over=self._logs.is_over(job, run.name)
                )
                olds, total = olds + more, total + size
            else:
                shutil.rmtree(run, ignore_errors=True)
        surplus = total - limits.job_bytes
        if surplus > 0:
            olds, freed = _remove_oldest(olds, surplus)
            total -= freed
        return olds, total

    def _limits(self, job: _Named) -> LogLimits:
        """Return the limits of a job, also of one that is gone."""
        try:
            return self._catalog.job(job.kind, job.name).logs
        except NotFoundError:
            return self._catalog.definition.host.logs

    def _log(
        self, folder: Path, limits: LogLimits, *, lines: int | None = None, is_over: bool = False
    ) -> tuple[list[_Old], int]:
        """Remove what is too old of one log, or beyond its count of lines."""
        segments = segments_in(folder)
        if not segments:
            return [], 0
        oldest_s = self._now() - limits.days * _DAY_S if limits.days else float("-inf")
        most = limits.lines if lines is None else lines
        *before, newest = [_old(one) for one in segments]
        end = newest.segment.line
        gone = [
            old
            for at, old in enumerate(before)
            if old.written < oldest_s or (most and end - segments[at + 1].line >= most)
        ]
        remove(old.segment for old in gone)
        if is_over and newest.written < oldest_s:
            shutil.rmtree(folder, ignore_errors=True)
            return [], 0
        kept = [old for old in before if old not in gone]
        return kept, sum(old.size for old in kept) + newest.size


def _old(one: Segment) -> _Old:
    try:
        facts = one.path.stat()
    except FileNotFoundError:
        return _Old(one, 0, float("inf"))
    return _Old(one, facts.st_size, facts.st_mtime)


def _remove_oldest(olds: list[_Old], surplus: int) -> tuple[list[_Old], int]:
    """Remove the oldest until enough is gone; return the rest, and how much went."""
    freed = 0
    olds = sorted(olds, key=lambda old: old.written)
    for at, old in enumerate(olds):
        if freed >= surplus:
            return olds[at:], freed
        remove([old.segment])
        freed += old.size
    return [], freed


def _folders(root: Path) -> list[Path]:
    return [job for kind in JobKind for job in _folders_in(root / kind.value)]


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []
