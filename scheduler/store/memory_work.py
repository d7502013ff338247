"""The reference for queued work, rows: how one piece of work moves, and what it does to its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.functions import key
from scheduler.run import RunState
from scheduler.store.errors import Lost, QueueFull
from scheduler.store.memory_runs import MemoryRuns
from scheduler.store.port_work import (
    Claimed,
    DeadLetter,
    Depth,
    Enqueued,
    Failure,
    FunctionLimits,
    NewWork,
    WorkError,
)
from scheduler.store.run_steps import advance, full, run_of, start_attempt
from scheduler.store.work_state import WorkState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(slots=True)
class Row:
    """One piece of work. `attempt` counts, `token` fences: a release takes only the first back."""

    id: int
    work: NewWork
    created_at: datetime
    run_at: datetime
    state: WorkState = WorkState.READY
    attempt: int = 0
    token: int = 0
    owner: str = ""
    lease_until: datetime | None = None
    cancel: bool = False
    errors: list[WorkError] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Tell whether it is in nobody's hands and still to be done."""
        return self.state is WorkState.READY


class MemoryWork(MemoryRuns):
    """Work in a dictionary by id; delayed work is ready work whose `run_at` lies ahead."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._work: dict[int, Row] = {}
        self._limits: dict[str, FunctionLimits] = {}
        self._dedup: dict[tuple[str, str], tuple[int, datetime]] = {}

    def _is_queued(self, run_id: int) -> bool:
        return run_id in self._work

    def _of(self, function: str) -> list[Row]:
        return [row for row in self._work.values() if key(row.work.function) == key(function)]

    def _limit(self, function: str) -> FunctionLimits:
        return self._limits.get(key(function), FunctionLimits())

    def _room(self, function: str) -> int:
        cap = self._limit(function).cap
        running = sum(row.state is WorkState.LEASED for row in self._of(function))
        return 2**31 if cap is None else max(0, cap - running)

    def _enqueue_all(self, works: Sequence[NewWork]) -> list[Enqueued]:
        now = self._now()
        kept = (dict(self._work), dict(self._runs), dict(self._dedup))
        last = self._last_run
        try:
            return [self._enqueue(work, now) for work in works]
        except QueueFull:
            self._work, self._runs, self._dedup = kept
            self._last_run = last
            raise

    def _enqueue(self, work: NewWork, now: datetime) -> Enqueued:
        if (twin := self._twin(work, now)) is not None:
            return Enqueued(twin, created=False)
        depth, limits = self._depth(work.function, now), self._limit(work.function)
        if limits.max_depth is not None and depth.ready + depth.delayed >= limits.max_depth:
            raise QueueFull(full(work.function, limits.max_depth))
        row = self._insert(work, now)
        if (
            work.lease_to is None
            or row.run_at > now
            or limits.paused
            or not self._room(work.function)
        ):
            return Enqueued(row.id)
        until = now + timedelta(seconds=work.lease_s)
        return Enqueued(row.id, lease=self._lease(row, work.lease_to, now, until))

    def _twin(self, work: NewWork, now: datetime) -> int | None:
        if work.dedup_key is None:
            return None
        work_id, until = self._dedup.get((key(work.function), work.dedup_key), (0, now))
        row = self._work.get(work_id)
        alive = row is not None and row.state is not WorkState.DEAD
        return work_id if alive or until > now else None

    def _insert(self, work: NewWork, now: datetime) -> Row:
        run = self._insert_run(run_of(work, now))
        row = self._work[run.id] = Row(run.id, work, now, work.run_at or now)
        if work.dedup_key is not None:
            until = now + timedelta(seconds=work.dedup_keep_s)
            self._dedup[key(work.function), work.dedup_key] = (row.id, until)
        self._signals.publish([f"work:{work.function}"])
        return row

    def _lease(self, row: Row, owner: str, now: datetime, until: datetime) -> Claimed:
        row.state, row.owner, row.lease_until = WorkState.LEASED, owner, until
        row.attempt += 1
        row.token += 1
        run = self._runs[row.id]
        self._save_run(start_attempt(run, now, owner=owner, attempt=row.attempt))
        return Claimed(
            id=row.id,
            function=row.work.function,
            payload=row.work.payload,
            attempt=row.attempt,
            max_attempts=row.work.max_attempts,
            token=row.token,
            owner=owner,
            deadline=until,
            public_id=run.public_id,
            parent=run.parent,
        )

    def _held(self, work_id: int, token: int) -> Row:
        row = self._work.get(work_id)
        if row is None or row.state is not WorkState.LEASED or row.token != token:
            raise Lost(f"work {work_id} is not held with token {token} any more")
        return row

    def _failed(
        self,
        row: Row,
        error: str,
        now: datetime,
        *,
        retry_at: datetime,
        state: RunState,
        exec_ms: float | None = None,
    ) -> Failure:
        if row.cancel:
            self._cancel(row, now)
            return Failure(None, RunState.CANCELLED)
        row.errors.append(WorkError(row.attempt, now, error))
        if row.attempt < row.work.max_attempts:
            self._back(row, retry_at, now, reason=error)
            return Failure(retry_at, RunState.QUEUED)
        row.state = WorkState.DEAD
        self._end(row, state, now, reason=error, exec_ms=exec_ms)
        return Failure(None, state)

    def _back(self, row: Row, run_at: datetime, now: datetime, *, reason: str | None) -> None:
        row.state, row.owner, row.lease_until = WorkState.READY, "", None
        row.run_at = run_at
        self._save_run(advance(self._runs[row.id], RunState.QUEUED, now, reason=reason))
        self._signals.publish([f"work:{row.work.function}"])

    def _cancel(self, row: Row, now: datetime, reason: str = "cancelled") -> None:
        del self._work[row.id]
        self._end(row, RunState.CANCELLED, now, reason=reason)

    def _end(
        self,
        row: Row,
        state: RunState,
        now: datetime,
        *,
        reason: str,
        exit_code: int | None = None,
        exec_ms: float | None = None,
    ) -> None:
        run = self._runs[row.id]
        self._save_run(
            advance(run, state, now, reason=reason, exit_code=exit_code, exec_ms=exec_ms)
        )

    def _expire(self, now: datetime) -> list[int]:
        late = [
            row
            for row in self._work.values()
            if row.waits and row.work.expires_at is not None and row.work.expires_at <= now
        ]
        for row in late:
            self._cancel(row, now, "expired before it started")
        return [row.id for row in late]

    def _is_over(self, row: Row, now: datetime) -> bool:
        assert row.lease_until is not None
        return row.lease_until <= now or self._is_owner_dead(row.owner, now)

    def _is_owner_dead(self, owner: str, now: datetime) -> bool:
        raise NotImplementedError

    def _dead(self, function: str | None) -> list[Row]:
        rows = self._work.values() if function is None else self._of(function)
        return [row for row in rows if row.state is WorkState.DEAD]

    def _depth(self, function: str, now: datetime) -> Depth:
        rows = self._of(function)
        ready = [row for row in rows if row.waits and row.run_at <= now]
        states = [row.state for row in rows]
        return Depth(
            ready=len(ready),
            delayed=states.count(WorkState.READY) - len(ready),
            running=states.count(WorkState.LEASED),
            dead=states.count(WorkState.DEAD),
            oldest_ready_s=max(((now - row.run_at).total_seconds() for row in ready), default=None),
        )


def letter(row: Row) -> DeadLetter:
    """Return the dead letter of a row."""
    return DeadLetter(
        id=row.id,
        function=row.work.function,
        payload=row.work.payload,
        attempts=row.attempt,
        created_at=row.created_at,
        died_at=row.errors[-1].at,
        errors=tuple(row.errors),
    )
