"""Runs in SQLite."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scheduler.run import Run, RunKind, RunState
from scheduler.store.port_runs import (
    MAX_ENDS,
    EndedCall,
    NewRun,
    RunFilter,
    RunPage,
    RunsPort,
    RunStats,
)
from scheduler.store.run_steps import advance, check_ended
from scheduler.store.sqlite_base import SqliteBase
from scheduler.store.sqlite_ended_calls import insert_calls
from scheduler.store.sqlite_history import (
    find_run,
    open_runs,
    prune_runs,
    prune_stats,
    query_runs,
    run_stats,
)
from scheduler.store.sqlite_rows import instant, micros
from scheduler.store.sqlite_run_rows import (
    insert_many,
    insert_run,
    load_run,
    need_run,
    save_run,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from scheduler.store.sqlite_transaction import Transaction


class SqliteRuns(SqliteBase, RunsPort):
    """The history."""

    async def create_run(self, new: NewRun) -> Run:
        return await self.write(lambda tx: insert_run(tx, new))

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
        def step(tx: Transaction) -> Run:
            before = need_run(tx, run_id)
            after = advance(
                before,
                state,
                instant(tx.now()),
                started_at=started_at,
                ended_at=ended_at,
                exit_code=exit_code,
                reason=reason,
                public_id=public_id,
                exec_ms=exec_ms,
                instance=instance,
            )
            return save_run(tx, before, after)

        return await self.write(step)

    async def get_run(self, run_id: int) -> Run | None:
        return await self.read(lambda rows: load_run(rows, run_id))

    async def find_run(self, kind: RunKind, name: str, public_id: str) -> Run | None:
        return await self.read(lambda rows: find_run(rows, kind, name, public_id))

    async def query_runs(
        self, where: RunFilter, *, cursor: int | None = None, limit: int = 50
    ) -> RunPage:
        return await self.read(lambda rows: query_runs(rows, where, cursor, limit))

    async def finish_many(self, rows: Sequence[NewRun]) -> None:
        check_ended(rows)
        # Part after part, not all at once: durable operations get in between.
        for start in range(0, len(rows), MAX_ENDS):
            part = rows[start : start + MAX_ENDS]
            await self.write(partial(insert_many, news=part), durable=False)

    async def finish_calls(self, instance: str, calls: Sequence[EndedCall]) -> None:
        check_ended(calls)
        for start in range(0, len(calls), MAX_ENDS):
            part = calls[start : start + MAX_ENDS]
            await self.write(partial(insert_calls, instance=instance, calls=part), durable=False)

    async def open_runs(self, instance: str | None = None) -> list[Run]:
        return await self.read(lambda rows: open_runs(rows, instance))

    async def close_orphans(self, instance: str, reason: str) -> list[Run]:
        def close(tx: Transaction) -> list[Run]:
            now = tx.now()
            return [
                save_run(tx, run, advance(run, RunState.ABORTED, instant(now), reason=reason))
                for run in open_runs(tx, instance)
                if run.state is not RunState.QUEUED
                and tx.one("SELECT 1 FROM work WHERE id = ?", (run.id,)) is None
            ]

        return await self.write(close)

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
        where = RunFilter(kind=kind, name=name, until=older_than)
        return await self.write(
            lambda tx: prune_runs(tx, where, keep_per_name, keep_newest, limit), durable=False
        )

    async def run_stats(self, kind: RunKind, name: str, window: timedelta) -> RunStats:
        return await self.read(lambda rows: run_stats(rows, kind, name, window))

    async def prune_stats(self, older_than: datetime, *, limit: int = 1000) -> int:
        before = micros(older_than)
        return await self.write(lambda tx: prune_stats(tx, before, limit), durable=False)
