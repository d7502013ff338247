"""Queued work in SQLite."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.run import RunKind, RunState
from scheduler.store import sqlite_dead
from scheduler.store import sqlite_work_rows as work_rows
from scheduler.store.port_queue import QueuePort
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
from scheduler.store.sqlite_depth import depth_of, limits_of
from scheduler.store.sqlite_rows import micros, seconds
from scheduler.store.sqlite_runs import SqliteRuns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from scheduler.store.sqlite_transaction import Transaction


class SqliteQueue(SqliteRuns, QueuePort):
    """The queue."""

    async def enqueue(self, work: NewWork) -> Enqueued:
        return (await self.enqueue_many((work,)))[0]

    async def enqueue_many(self, works: Sequence[NewWork]) -> list[Enqueued]:
        return await self.write(lambda tx: work_rows.enqueue_all(tx, works))

    async def claim(
        self, owner: str, wants: Sequence[tuple[str, int]], lease_s: float
    ) -> list[Claimed]:
        def claim(tx: Transaction) -> list[Claimed]:
            now = tx.now()
            work_rows.expire(tx, now)
            lease = (owner, now, now + seconds(lease_s))
            return [
                claimed
                for function, wanted in wants
                for claimed in work_rows.claim_one(tx, function, wanted, lease)
            ]

        return await self.write(claim)

    async def extend(self, leases: Sequence[tuple[int, int]], lease_s: float) -> Extended:
        def extend(tx: Transaction) -> Extended:
            until = tx.now() + seconds(lease_s)
            lost, cancelled = set(), set()
            for work_id, token in leases:
                row = tx.one(
                    "UPDATE work SET lease_until = ? WHERE id = ? AND token = ? AND state = 1 "
                    "RETURNING cancel",
                    (until, work_id, token),
                )
                if row is None:
                    lost.add(work_id)
                elif row[0]:
                    cancelled.add(work_id)
            return Extended(frozenset(lost), frozenset(cancelled))

        return await self.write(extend)

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
        def complete(tx: Transaction) -> list[Enqueued]:
            held = work_rows.hold(tx, work_id, token)
            now = tx.now()
            # Removed first, so that its place counts as free for what follows.
            work_rows.remove(
                tx, held.id, state, now, reason=reason, exit_code=exit_code, exec_ms=exec_ms
            )
            return work_rows.enqueue_all(tx, following)

        return await self.write(complete)

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
        def fail(tx: Transaction) -> Failure:
            held = work_rows.hold(tx, work_id, token)
            now = tx.now()
            due = now + held.delay_us(tx) if retry_at is None else micros(retry_at)
            return work_rows.fail(
                tx, held, error, now=now, retry_at=due, state=state, exec_ms=exec_ms
            )

        return await self.write(fail)

    async def release(self, work_id: int, token: int, *, delay_s: float = 0.0) -> None:
        def release(tx: Transaction) -> None:
            held = work_rows.hold(tx, work_id, token)
            now = tx.now()
            if held.cancel:
                work_rows.remove(tx, held.id, RunState.CANCELLED, now, reason="cancelled")
                return
            due = now + seconds(delay_s)
            work_rows.give_back(tx, held, now, due, reason=None, counts=False)

        await self.write(release)

    async def cancel(self, work_id: int) -> CancelResult:
        def cancel(tx: Transaction) -> CancelResult:
            row = tx.one("SELECT state FROM work WHERE id = ? AND state <> 2", (work_id,))
            if row is None:
                return CancelResult.UNKNOWN
            if row[0] != 1:
                work_rows.remove(tx, work_id, RunState.CANCELLED, tx.now(), reason="cancelled")
                return CancelResult.REMOVED
            tx.execute("UPDATE work SET cancel = 1 WHERE id = ?", (work_id,))
            tx.tell(f"cancel:{work_id}")
            return CancelResult.REQUESTED

        return await self.write(cancel)

    async def reap(self, limit: int = 100) -> Reaped:
        return await self.write(lambda tx: sqlite_dead.reap(tx, limit))

    async def dead_list(
        self, function: str | None = None, *, cursor: int | None = None, limit: int = 50
    ) -> DeadPage:
        return await self.read(lambda rows: sqlite_dead.page(rows, function, cursor, limit))

    async def dead_requeue(self, ids: Sequence[int]) -> list[int]:
        return await self.write(lambda tx: sqlite_dead.requeue(tx, ids))

    async def dead_purge(
        self, ids: Sequence[int] | None = None, *, function: str | None = None
    ) -> int:
        return await self.write(lambda tx: sqlite_dead.purge(tx, ids, function))

    async def depth(self, functions: Sequence[str]) -> Mapping[str, Depth]:
        return await self.read(
            lambda rows: {function: depth_of(rows, function) for function in functions}
        )

    async def set_limits(self, function: str, limits: FunctionLimits) -> None:
        def write(tx: Transaction) -> None:
            tx.set_limits(tx.series(RunKind.FUNCTION, function), limits)
            tx.tell(f"work:{function}")

        await self.write(write)

    async def get_limits(self, function: str) -> FunctionLimits:
        return await self.read(lambda rows: limits_of(rows, function))
