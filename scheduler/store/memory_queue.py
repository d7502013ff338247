"""The reference for queued work: rows in a dictionary, sorted when somebody claims."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.functions import key
from scheduler.run import RunState
from scheduler.store.errors import QueueFull
from scheduler.store.memory_work import MemoryWork, letter
from scheduler.store.port_queue import QueuePort
from scheduler.store.port_runs import MAX_PAGE
from scheduler.store.port_work import (
    CancelResult,
    Claimed,
    DeadPage,
    Depth,
    Enqueued,
    Extended,
    Failure,
    FunctionLimits,
    NewWork,
    Reaped,
)
from scheduler.store.run_steps import again
from scheduler.store.work_state import WorkState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


class MemoryQueue(MemoryWork, QueuePort):
    """Work in a dictionary by id; delayed work is ready work whose `run_at` lies ahead."""

    async def enqueue(self, work: NewWork) -> Enqueued:
        return self._enqueue_all([work])[0]

    async def enqueue_many(self, works: Sequence[NewWork]) -> list[Enqueued]:
        return self._enqueue_all(works)

    async def claim(
        self, owner: str, wants: Sequence[tuple[str, int]], lease_s: float
    ) -> list[Claimed]:
        now = self._now()
        self._expire(now)
        until = now + timedelta(seconds=lease_s)
        claimed: list[Claimed] = []
        for function, wanted in wants:
            if self._limit(function).paused:
                continue
            ready = [row for row in self._of(function) if row.waits and row.run_at <= now]
            ready.sort(key=lambda row: (-row.work.priority, row.run_at, row.id))
            room = min(wanted, self._room(function))
            claimed += [self._lease(row, owner, now, until) for row in ready[:room]]
        return claimed

    async def extend(self, leases: Sequence[tuple[int, int]], lease_s: float) -> Extended:
        until = self._now() + timedelta(seconds=lease_s)
        lost, cancelled = set(), set()
        for work_id, token in leases:
            row = self._work.get(work_id)
            if row is None or row.state is not WorkState.LEASED or row.token != token:
                lost.add(work_id)
                continue
            row.lease_until = until
            if row.cancel:
                cancelled.add(work_id)
        return Extended(frozenset(lost), frozenset(cancelled))

    async def complete(
        self,
        work_id: int,
        token: int,
        *,
        state: RunState = RunState.SUCCESS,
        exit_code: int | None = None,
        exec_ms: float | None = None,
        reason: str = "",
        following: Sequence[NewWork] = (),
    ) -> list[Enqueued]:
        now = self._now()
        row = self._held(work_id, token)
        # Removed first, so that its place counts as free for what follows.
        del self._work[work_id]
        try:
            enqueued = self._enqueue_all(following)
        except QueueFull:
            self._work[work_id] = row
            raise
        self._end(row, state, now, reason=reason, exit_code=exit_code, exec_ms=exec_ms)
        return enqueued

    async def fail(
        self,
        work_id: int,
        token: int,
        error: str,
        *,
        retry_at: datetime | None = None,
        state: RunState = RunState.FAILED,
        exec_ms: float | None = None,
    ) -> Failure:
        now = self._now()
        row = self._held(work_id, token)
        delay = timedelta(seconds=row.work.backoff.delay_s(row.attempt, self._draw))
        return self._failed(
            row, error, now, retry_at=retry_at or now + delay, state=state, exec_ms=exec_ms
        )

    async def release(self, work_id: int, token: int, *, delay_s: float = 0.0) -> None:
        now = self._now()
        row = self._held(work_id, token)
        if row.cancel:
            self._cancel(row, now)
            return
        row.attempt -= 1
        self._back(row, now + timedelta(seconds=delay_s), now, reason=None)

    async def cancel(self, work_id: int) -> CancelResult:
        now = self._now()
        row = self._work.get(work_id)
        if row is None or row.state is WorkState.DEAD:
            return CancelResult.UNKNOWN
        if row.waits:
            self._cancel(row, now)
            return CancelResult.REMOVED
        row.cancel = True
        self._signals.publish([f"cancel:{work_id}"])
        return CancelResult.REQUESTED

    async def reap(self, limit: int = 100) -> Reaped:
        now = self._now()
        expired = self._expire(now)
        requeued: list[int] = []
        dead: list[int] = []
        cancelled: list[int] = []
        for row in sorted(self._work.values(), key=lambda row: (row.lease_until or now, row.id)):
            if row.state is not WorkState.LEASED or not self._is_over(row, now):
                continue
            if len(requeued) + len(dead) + len(cancelled) >= limit:
                break
            error = f"the lease of {row.owner} ran out in attempt {row.attempt}"
            failure = self._failed(row, error, now, retry_at=now, state=RunState.ABORTED)
            if failure.retry_at is not None:
                requeued.append(row.id)
            elif failure.state is RunState.CANCELLED:
                cancelled.append(row.id)
            else:
                dead.append(row.id)
        return Reaped(tuple(requeued), tuple(dead), tuple(cancelled), tuple(expired))

    async def dead_list(
        self, function: str | None = None, *, cursor: int | None = None, limit: int = 50
    ) -> DeadPage:
        limit = max(1, min(limit, MAX_PAGE))
        found = [
            letter(row)
            for row in sorted(self._dead(function), key=lambda row: -row.id)
            if cursor is None or row.id < cursor
        ]
        return DeadPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def dead_requeue(self, ids: Sequence[int]) -> list[int]:
        now = self._now()
        made = []
        for row in [self._work[i] for i in dict.fromkeys(ids) if i in self._work]:
            if row.state is WorkState.DEAD:
                del self._work[row.id]
                last = self._runs[row.id].instance
                made.append(self._insert(again(row.work, row.id, last), now).id)
        return made

    async def dead_purge(
        self, ids: Sequence[int] | None = None, *, function: str | None = None
    ) -> int:
        self._now()
        doomed = [row.id for row in self._dead(function) if ids is None or row.id in ids]
        for work_id in doomed:
            del self._work[work_id]
        return len(doomed)

    async def depth(self, functions: Sequence[str]) -> Mapping[str, Depth]:
        now = self._now()
        return {function: self._depth(function, now) for function in functions}

    async def set_limits(self, function: str, limits: FunctionLimits) -> None:
        self._now()
        self._limits[key(function)] = limits
        self._signals.publish([f"work:{function}"])

    async def get_limits(self, function: str) -> FunctionLimits:
        return self._limit(function)
