"""The reference for runs: dictionaries, and the shortest code that keeps the promises."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.clock import Clock, SystemClock
from scheduler.errors import NotFoundError
from scheduler.functions import key
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.store.errors import Unavailable
from scheduler.store.port_runs import (
    MAX_PAGE,
    EndedCall,
    NewRun,
    RunFilter,
    RunMinute,
    RunPage,
    RunsPort,
    RunStats,
)
from scheduler.store.run_steps import advance, check_ended
from scheduler.store.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

_MinuteKey = tuple[RunKind, str, "datetime", RunState]


class MemoryRuns(RunsPort):
    """Runs in a dictionary by id. Every method is one step of the loop, hence atomic."""

    def __init__(
        self, *, clock: Clock | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock or SystemClock()
        self._draw = draw
        self._signals = Signals()
        self._closed = False
        self._last_run = 0
        self._runs: dict[int, Run] = {}
        self._minutes: dict[_MinuteKey, RunMinute] = {}

    async def create_run(self, new: NewRun) -> Run:
        self._now()
        return self._insert_run(new)

    async def update_run(
        self,
        run_id: int,
        state: RunState,
        *,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
        public_id: str | None = None,
        exec_ms: float | None = None,
        instance: str | None = None,
    ) -> Run:
        if run_id not in self._runs:
            raise NotFoundError(f"run {run_id} does not exist")
        return self._save_run(
            advance(
                self._runs[run_id],
                state,
                self._now(),
                started_at=started_at,
                ended_at=ended_at,
                exit_code=exit_code,
                reason=reason,
                public_id=public_id,
                exec_ms=exec_ms,
                instance=instance,
            )
        )

    async def get_run(self, run_id: int) -> Run | None:
        return self._runs.get(run_id)

    async def find_run(self, kind: RunKind, name: str, public_id: str) -> Run | None:
        where = RunFilter(kind=kind, name=name)
        found = (run for run in self._newest(where) if run.public_id == public_id)
        return next(found, None)

    async def query_runs(
        self, where: RunFilter, *, cursor: int | None = None, limit: int = 50
    ) -> RunPage:
        limit = max(1, min(limit, MAX_PAGE))
        found = [run for run in self._newest(where) if cursor is None or run.id < cursor]
        return RunPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def finish_many(self, rows: Sequence[NewRun]) -> None:
        self._now()
        check_ended(rows)
        for row in rows:
            self._insert_run(row)

    async def finish_calls(self, instance: str, calls: Sequence[EndedCall]) -> None:
        await self.finish_many([call.as_run(instance) for call in calls])

    async def open_runs(self, instance: str | None = None) -> list[Run]:
        return [
            run
            for run in self._runs.values()
            if not is_final(run.state) and instance in {None, run.instance}
        ]

    async def close_orphans(self, instance: str, reason: str) -> list[Run]:
        now = self._now()
        return [
            self._save_run(advance(run, RunState.ABORTED, now, reason=reason))
            for run in await self.open_runs(instance)
            if run.state is not RunState.QUEUED and not self._is_queued(run.id)
        ]

    async def prune_runs(
        self,
        *,
        older_than: datetime | None = None,
        keep_per_name: int | None = None,
        keep_newest: int | None = None,
        kind: RunKind | None = None,
        name: str | None = None,
        limit: int = 1000,
    ) -> list[Run]:
        self._now()
        places: dict[tuple[RunKind, str], int] = {}
        doomed = []
        for run in self._newest(RunFilter(kind=kind, name=name)):
            place = places[run.kind, key(run.name)] = places.get((run.kind, key(run.name)), 0) + 1
            old = older_than is not None and run.created_at < older_than
            beyond = keep_per_name is not None and place > keep_per_name
            beyond |= keep_newest is not None and run.id <= self._last_run - keep_newest
            if (old or beyond) and is_final(run.state) and not self._is_queued(run.id):
                doomed.append(run)
        doomed = doomed[::-1][:limit]
        for run in doomed:
            del self._runs[run.id]
        return doomed

    async def run_stats(self, kind: RunKind, name: str, window: timedelta) -> RunStats:
        since = self._now() - window
        minutes = [
            minute
            for (its_kind, its_name, start, _), minute in self._minutes.items()
            if (its_kind, its_name) == (kind, key(name)) and start > since - timedelta(minutes=1)
        ]
        minutes.sort(key=lambda minute: (minute.minute, STATE_ORDER[minute.state]))
        return RunStats.of(minutes)

    async def prune_stats(self, older_than: datetime, *, limit: int = 1000) -> int:
        self._now()
        old = [place for place in self._minutes if place[2] < older_than][:limit]
        for place in old:
            del self._minutes[place]
        return len(old)

    # --- for the other nouns of the memory store

    def _now(self) -> datetime:
        if self._closed:
            raise Unavailable("the store is closed")
        return self._clock.now()

    def _is_queued(self, run_id: int) -> bool:
        raise NotImplementedError

    def _insert_run(self, new: NewRun) -> Run:
        self._last_run += 1
        return self._save_run(new.numbered(self._last_run))

    def _save_run(self, run: Run) -> Run:
        self._runs[run.id] = run
        if is_final(run.state):
            self._count(run)
        return run

    def _count(self, run: Run) -> None:
        minute = (run.ended_at or run.created_at).replace(second=0, microsecond=0)
        place = (run.kind, key(run.name), minute, run.state)
        was = self._minutes.get(place, RunMinute(minute, run.state, 0, 0.0, 0.0))
        self._minutes[place] = RunMinute(
            minute,
            run.state,
            was.count + 1,
            round(was.sum_ms + run.exec_ms, 3),
            max(was.max_ms, run.exec_ms),
        )

    def _newest(self, where: RunFilter) -> Iterable[Run]:
        return (run for run in reversed(self._runs.values()) if matches(where, run))


#: counters of one minute come in this order
STATE_ORDER = {state: place for place, state in enumerate(RunState)}


def matches(where: RunFilter, run: Run) -> bool:
    """Tell whether the run is one of those."""
    return (
        (where.kind in {None, run.kind})
        and (where.name is None or key(where.name) == key(run.name))
        and (where.state in {None, run.state})
        and (where.instance in {None, run.instance})
        and (where.trigger is None or run.trigger.startswith(where.trigger))
        and (where.since is None or run.created_at >= where.since)
        and (where.until is None or run.created_at < where.until)
        and (where.text is None or _mentions(run, where.text))
    )


def _mentions(run: Run, text: str) -> bool:
    wanted = text.lower()
    return any(wanted in field.lower() for field in (run.public_id, run.reason, run.arguments))
