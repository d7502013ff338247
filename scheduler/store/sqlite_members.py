"""Members and commands in SQLite."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scheduler.store.errors import Lost
from scheduler.store.port_members import (
    Command,
    CommandResult,
    Heartbeat,
    Member,
    MembersPort,
)
from scheduler.store.sqlite_app import SqliteApp, current
from scheduler.store.sqlite_rows import instant, micros, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from scheduler.store.sqlite_transaction import Rows, Transaction


class SqliteMembers(SqliteApp, MembersPort):
    """Members and commands."""

    async def join(
        self,
        instance: str,
        *,
        address: str = "",
        slots: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl_s: float = 5.0,
    ) -> int:
        def join(tx: Transaction) -> int:
            now = tx.now()
            epoch = tx.execute("INSERT INTO epochs DEFAULT VALUES").lastrowid
            assert epoch is not None
            tx.execute("DELETE FROM epochs WHERE id < ?", (epoch,))
            tx.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, '{}', '{}', ?, ?)",
                (instance, epoch, address, slots, _json(labels), now, seconds(ttl_s)),
            )
            _free_all(tx, instance, now)
            return epoch

        return await self.write(join)

    async def heartbeat(
        self,
        instance: str,
        epoch: int,
        *,
        load: Mapping[str, Any] | None = None,
        job_statuses: Mapping[str, Any] | None = None,
        acks: Mapping[int, str] | None = None,
    ) -> Heartbeat:
        def beat(tx: Transaction) -> Heartbeat:
            now = tx.now()
            seen = tx.changed(
                "UPDATE members SET seen_at = ?, load = ?, job_statuses = ? "
                "WHERE instance = ? AND epoch = ?",
                (now, _json(load), _json(job_statuses), instance, epoch),
            )
            if not seen:
                raise Lost(f"instance {instance!r} is not at epoch {epoch} any more")
            for command_id, result in (acks or {}).items():
                tx.execute(
                    "INSERT OR IGNORE INTO command_results SELECT id, ?, ?, ? FROM commands "
                    "WHERE id = ?",
                    (instance, now, result, command_id),
                )
            return Heartbeat(_pending(tx, instance, now), current(tx).generation)

        return await self.write(beat, durable=False)

    async def leave(self, instance: str, epoch: int) -> None:
        await self.write(
            lambda tx: tx.execute(
                "DELETE FROM members WHERE instance = ? AND epoch = ?", (instance, epoch)
            )
        )

    async def members(self) -> list[Member]:
        return await self.read(_members)

    async def send_command(
        self,
        verb: str,
        *,
        target: str = "",
        args: Mapping[str, Any] | None = None,
        ttl_s: float = 60.0,
        idempotency_key: str | None = None,
    ) -> int:
        def send(tx: Transaction) -> int:
            now = tx.now()
            row = tx.one("SELECT id FROM commands WHERE idempotency_key = ?", (idempotency_key,))
            if row is not None:
                return int(row[0])
            made = tx.execute(
                "INSERT INTO commands (target, verb, args, created_at, expires_at, "
                "idempotency_key) VALUES (?, ?, ?, ?, ?, ?)",
                (target, verb, _json(args), now, now + seconds(ttl_s), idempotency_key),
            )
            tx.tell(f"command:{target}")
            assert made.lastrowid is not None
            return made.lastrowid

        return await self.write(send)

    async def command_results(self, command_id: int) -> Sequence[CommandResult]:
        found = await self.read(
            lambda rows: rows.all(
                "SELECT instance, at, result FROM command_results WHERE command_id = ? "
                "ORDER BY at, instance",
                (command_id,),
            )
        )
        return [CommandResult(command_id, name, instant(at), text) for name, at, text in found]

    async def prune_commands(self, older_than: datetime, *, limit: int = 1000) -> int:
        def prune(tx: Transaction) -> int:
            ids = tx.all(
                "SELECT id FROM commands WHERE expires_at < ? ORDER BY expires_at LIMIT ?",
                (micros(older_than), limit),
            )
            if ids:
                tx.executemany("DELETE FROM command_results WHERE command_id = ?", ids)
                tx.executemany("DELETE FROM commands WHERE id = ?", ids)
            return len(ids)

        return await self.write(prune, durable=False)


def _json(value: Mapping[Any, Any] | None) -> str:
    return json.dumps(dict(value or {}))


def _free_all(tx: Transaction, instance: str, now: int) -> None:
    """End what an earlier life of the instance held."""
    tx.execute("UPDATE work SET lease_until = ? WHERE owner = ? AND state = 1", (now, instance))
    tx.execute(
        "UPDATE leases SET expires_at = :now WHERE owner = :owner AND expires_at > :now",
        {"now": now, "owner": instance},
    )


def _pending(rows: Rows, instance: str, now: int) -> tuple[Command, ...]:
    found = rows.all(
        "SELECT id, target, verb, args, created_at, expires_at FROM commands c "
        "WHERE expires_at > :now AND target IN ('', :me) AND NOT EXISTS (SELECT 1 "
        "FROM command_results r WHERE r.command_id = c.id AND r.instance = :me) ORDER BY id",
        {"now": now, "me": instance},
    )
    return tuple(
        Command(
            id=row[0],
            target=row[1],
            verb=row[2],
            args=json.loads(row[3]),
            created_at=instant(int(row[4])),
            expires_at=instant(int(row[5])),
        )
        for row in found
    )


def _members(rows: Rows) -> list[Member]:
    now = rows.now()
    found = rows.all(
        "SELECT instance, epoch, address, slots, labels, load, job_statuses, seen_at, ttl_us "
        "FROM members ORDER BY instance"
    )
    return [
        Member(
            instance=row[0],
            epoch=row[1],
            address=row[2],
            slots=row[3],
            labels=json.loads(row[4]),
            load=json.loads(row[5]),
            job_statuses=json.loads(row[6]),
            age_s=(now - row[7]) / 1_000_000,
            alive=now < row[7] + row[8],
        )
        for row in found
    ]
