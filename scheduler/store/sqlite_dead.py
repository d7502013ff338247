"""The reaper and the dead letters in SQLite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scheduler.functions import key
from scheduler.run import RunState
from scheduler.store.port_runs import MAX_PAGE
from scheduler.store.port_work import (
    Backoff,
    DeadLetter,
    DeadPage,
    NewWork,
    Reaped,
    WorkError,
)
from scheduler.store.run_steps import again
from scheduler.store.sqlite_rows import instant, marks
from scheduler.store.sqlite_work_rows import DELETE, HELD, Held, expire, fail, insert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.store.sqlite_transaction import Rows, Transaction

# Two look-ups instead of an OR, which would walk over everything that is leased.
_OVER = HELD + (  # noqa: S608 - two constants
    "WHERE w.id IN (SELECT id FROM work WHERE state = 1 AND lease_until <= :now "
    "UNION SELECT id FROM work WHERE state = 1 AND owner IN "
    "(SELECT instance FROM members WHERE seen_at + ttl_us <= :now)) "
    "ORDER BY w.lease_until, w.id LIMIT :n"
)


def reap(tx: Transaction, limit: int) -> Reaped:
    """Take back what nobody holds any more; see the port."""
    now = tx.now()
    expired = expire(tx, now)
    _forget_keys(tx, now)
    requeued: list[int] = []
    dead: list[int] = []
    cancelled: list[int] = []
    for row in tx.all(_OVER, {"now": now, "n": limit}):
        held = Held(*row)
        error = f"the lease of {held.owner} ran out in attempt {held.attempt}"
        failure = fail(tx, held, error, now=now, retry_at=now, state=RunState.ABORTED)
        if failure.retry_at is not None:
            requeued.append(held.id)
        elif failure.state is RunState.CANCELLED:
            cancelled.append(held.id)
        else:
            dead.append(held.id)
    return Reaped(tuple(requeued), tuple(dead), tuple(cancelled), tuple(expired))


def _forget_keys(tx: Transaction, now: int) -> None:
    """Drop dedup keys that are over, a bounded number at a time."""
    tx.execute(
        "DELETE FROM work_keys WHERE (series, key) IN (SELECT series, key FROM work_keys "
        "WHERE keep_until <= ? AND NOT EXISTS "
        "(SELECT 1 FROM work w WHERE w.id = work_id AND w.state <> 2) "
        "ORDER BY keep_until LIMIT 1000)",
        (now,),
    )


_LETTER = (
    "SELECT w.id, s.name, w.payload, w.attempt, w.created_at "
    "FROM work w JOIN series s ON s.id = w.series WHERE w.state = 2"
)


def page(rows: Rows, function: str | None, cursor: int | None, limit: int) -> DeadPage:
    """Return a page of dead letters, newest id first."""
    limit = max(1, min(limit, MAX_PAGE))
    found = rows.all(
        f"{_LETTER} AND (:key IS NULL OR s.key = :key) "
        "AND (:below IS NULL OR w.id < :below) "
        "ORDER BY w.id DESC LIMIT :n",
        {"key": function and key(function), "below": cursor, "n": limit + 1},
    )
    letters = [_letter(rows, row) for row in found[:limit]]
    return DeadPage(letters, letters[-1].id if len(found) > limit else None)


def _letter(rows: Rows, row: tuple[Any, ...]) -> DeadLetter:
    work_id, function, payload, attempts, created_at = row
    errors = [
        WorkError(attempt, instant(int(at)), error)
        for attempt, at, error in rows.all(
            "SELECT attempt, at, error FROM work_errors WHERE work_id = ? ORDER BY seq", (work_id,)
        )
    ]
    return DeadLetter(
        id=work_id,
        function=function,
        payload=payload,
        attempts=attempts,
        created_at=instant(int(created_at)),
        died_at=errors[-1].at,
        errors=tuple(errors),
    )


def requeue(tx: Transaction, ids: Sequence[int]) -> list[int]:
    """Make new work of dead letters; return the new ids."""
    now = tx.now()
    made = []
    for work_id in dict.fromkeys(ids):
        work = _revive(tx, work_id)
        if work is not None:
            tx.execute(DELETE, (work_id,))
            made.append(insert(tx, work, now).id)
    return made


def _revive(tx: Transaction, work_id: int) -> NewWork | None:
    row = tx.one(
        "SELECT s.name, w.payload, w.priority, w.max_attempts, w.backoff, w.trigger, o.instance, "
        "o.release FROM work w JOIN series s ON s.id = w.series JOIN runs r ON r.id = w.id "
        "JOIN origins o ON o.id = r.origin WHERE w.id = ? AND w.state = 2",
        (work_id,),
    )
    if row is None:
        return None
    work = NewWork(
        function=row[0],
        payload=row[1],
        priority=row[2],
        max_attempts=row[3],
        backoff=Backoff() if row[4] is None else Backoff(*json.loads(row[4])),
        trigger=row[5],
        release=row[7],
    )
    return again(work, work_id, row[6])


def purge(tx: Transaction, ids: Sequence[int] | None, function: str | None) -> int:
    """Remove dead letters; return how many."""
    if ids is None:
        found = tx.all(
            f"{_LETTER} AND (:key IS NULL OR s.key = :key)",
            {"key": function and key(function)},
        )
        doomed = [row[0] for row in found]
    else:
        doomed = [
            work_id
            for start in range(0, len(ids), MAX_PAGE)
            for work_id in _dead_among(tx, ids[start : start + MAX_PAGE], function)
        ]
    for work_id in doomed:
        tx.execute(DELETE, (work_id,))
    return len(doomed)


def _dead_among(tx: Transaction, ids: Sequence[int], function: str | None) -> list[int]:
    rows = tx.all(
        f"{_LETTER} AND w.id IN ({marks(len(ids))}) AND (? IS NULL OR s.key = ?)",
        [*ids, *([function and key(function)] * 2)],
    )
    return [row[0] for row in rows]
