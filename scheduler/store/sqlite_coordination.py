"""Ticks and leases in SQLite."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.store.port_coordination import (
    CoordinationPort,
    FireResult,
    Lease,
    Tick,
    TickOutcome,
)
from scheduler.store.sqlite_queue import SqliteQueue
from scheduler.store.sqlite_rows import instant, micros, seconds
from scheduler.store.sqlite_run_rows import insert_run
from scheduler.store.sqlite_work_rows import enqueue_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scheduler.store.port_runs import NewRun
    from scheduler.store.port_work import NewWork
    from scheduler.store.sqlite_transaction import Rows, Transaction

_TICKS = "SELECT timer_id, due_at, fired_at, outcome, run_id FROM ticks WHERE timer_id = ? "


class SqliteCoordination(SqliteQueue, CoordinationPort):
    """Timers and leases."""

    async def fire(
        self,
        timer_id: str,
        due_at: datetime,
        *,
        run: NewRun | None = None,
        work: NewWork | None = None,
        outcome: TickOutcome | str = TickOutcome.FIRED,
    ) -> FireResult | None:
        word = TickOutcome(outcome)

        def fire(tx: Transaction) -> FireResult | None:
            now, place = tx.now(), (timer_id, micros(due_at))
            if tx.one("SELECT 1 FROM ticks WHERE timer_id = ? AND due_at = ?", place) is not None:
                return None
            taken = enqueue_all(tx, (work,))[0] if work is not None else None
            made = insert_run(tx, run) if run is not None else None
            run_id = taken.id if taken else made.id if made else None
            tx.execute(
                "INSERT INTO ticks VALUES (?, ?, ?, ?, ?)", (*place, now, word.value, run_id)
            )
            return FireResult(Tick(timer_id, due_at, instant(now), word, run_id), made, taken)

        return await self.write(fire)

    async def last_tick(self, timer_id: str) -> Tick | None:
        return next(iter(await self.ticks(timer_id, 1)), None)

    async def ticks(self, timer_id: str, limit: int = 50) -> list[Tick]:
        rows = await self.read(
            lambda rows: rows.all(_TICKS + "ORDER BY due_at DESC LIMIT ?", (timer_id, limit))
        )
        return [_tick(row) for row in rows]

    async def prune_ticks(self, older_than: datetime, *, limit: int = 1000) -> int:
        before = micros(older_than)
        return await self.write(lambda tx: _prune_ticks(tx, before, limit), durable=False)

    async def acquire(self, name: str, owner: str, ttl_s: float) -> int | None:
        def acquire(tx: Transaction) -> int | None:
            now = tx.now()
            row = tx.one(
                "INSERT INTO leases (name, owner, token, expires_at) "
                "VALUES (:name, :owner, 1, :until) "
                "ON CONFLICT (name) DO UPDATE SET owner = :owner, token = token + 1, "
                "expires_at = :until WHERE expires_at <= :now RETURNING token",
                {"name": name, "owner": owner, "until": now + seconds(ttl_s), "now": now},
            )
            return None if row is None else int(row[0])

        return await self.write(acquire)

    async def renew(self, name: str, token: int, ttl_s: float) -> bool:
        return await self.write(lambda tx: _hold_until(tx, name, token, ttl_s))

    async def release_lease(self, name: str, token: int) -> bool:
        return await self.write(lambda tx: _hold_until(tx, name, token, 0))

    async def leases(self, prefix: str = "") -> Sequence[Lease]:
        return await self.read(lambda rows: _leases(rows, prefix))


def _tick(row: tuple[Any, ...]) -> Tick:
    timer_id, due_at, fired_at, outcome, run_id = row
    return Tick(
        timer_id, instant(int(due_at)), instant(int(fired_at)), TickOutcome(outcome), run_id
    )


def _prune_ticks(tx: Transaction, older_than: int, limit: int) -> int:
    """Remove old ticks timer after timer: by the index, as a walk over all ticks takes seconds."""
    gone = 0
    timer_id = ""
    while gone < limit:
        row = tx.one("SELECT timer_id FROM ticks WHERE timer_id > ? LIMIT 1", (timer_id,))
        if row is None:
            break
        timer_id = row[0]
        gone += tx.changed(
            "DELETE FROM ticks WHERE timer_id = :timer AND due_at IN (SELECT due_at FROM ticks "
            "WHERE timer_id = :timer AND due_at < min(:before, (SELECT max(due_at) FROM ticks "
            "WHERE timer_id = :timer)) ORDER BY due_at LIMIT :limit)",
            {"timer": timer_id, "before": older_than, "limit": limit - gone},
        )
    return gone


def _hold_until(tx: Transaction, name: str, token: int, ttl_s: float) -> bool:
    now = tx.now()
    return (
        tx.changed(
            "UPDATE leases SET expires_at = ? WHERE name = ? AND token = ? AND expires_at > ?",
            (now + seconds(ttl_s), name, token, now),
        )
        > 0
    )


def _leases(rows: Rows, prefix: str) -> list[Lease]:
    found = rows.all(
        "SELECT name, owner, token, expires_at FROM leases "
        "WHERE substr(name, 1, length(:prefix)) = :prefix AND expires_at > :now ORDER BY name",
        {"prefix": prefix, "now": rows.now()},
    )
    return [Lease(name, owner, token, instant(until)) for name, owner, token, until in found]
