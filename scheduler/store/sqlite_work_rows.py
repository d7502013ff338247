"""Statements about one piece of queued work: in, leased, back, out. All happen inside an operation.

`work_counts` and `work_errors` follow by triggers of the schema.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from scheduler.functions import key
from scheduler.run import RunKind, RunState
from scheduler.store.errors import Lost, QueueFull
from scheduler.store.port_work import Backoff, Claimed, Enqueued, Failure
from scheduler.store.run_steps import advance, full, run_of, start_attempt
from scheduler.store.sqlite_depth import count
from scheduler.store.sqlite_rows import instant, micros, seconds
from scheduler.store.sqlite_run_rows import insert_run, need_run, save_run
from scheduler.store.work_state import WorkState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.run import Run
    from scheduler.store.port_work import NewWork
    from scheduler.store.sqlite_transaction import Transaction

_READY, _LEASED, _DEAD, _DELAYED = (
    int(WorkState.READY),
    int(WorkState.LEASED),
    int(WorkState.DEAD),
    int(WorkState.DELAYED),
)
_DEFAULT_BACKOFF = Backoff()

_INSERT = (
    "INSERT INTO work (id, series, state, priority, run_at, attempt, token, max_attempts, cancel, "
    "created_at, lease_until, expires_at, owner, backoff, trigger, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(slots=True)
class Held:
    """What a fenced call needs to know of the row."""

    id: int
    function: str
    attempt: int
    max_attempts: int
    cancel: bool
    owner: str
    backoff: str | None

    def delay_us(self, tx: Transaction) -> int:
        """Return the back-off after this attempt."""
        backoff = _DEFAULT_BACKOFF if self.backoff is None else Backoff(*json.loads(self.backoff))
        return seconds(backoff.delay_s(self.attempt, tx.draw))


DELETE = "DELETE FROM work WHERE id = ?"
HELD = (
    "SELECT w.id, s.name, w.attempt, w.max_attempts, w.cancel, w.owner, w.backoff "
    "FROM work w JOIN series s ON s.id = w.series "
)


def hold(tx: Transaction, work_id: int, token: int) -> Held:
    """Return the row if this token holds it."""
    row = tx.one(HELD + "WHERE w.id = ? AND w.token = ? AND w.state = 1", (work_id, token))
    if row is None:
        raise Lost(f"work {work_id} is not held with token {token} any more")
    return Held(*row)


def enqueue_all(tx: Transaction, works: Sequence[NewWork]) -> list[Enqueued]:
    """Take all; what one refusal leaves behind is undone by the transaction."""
    now = tx.now()
    return [_enqueue(tx, work, now) for work in works]


def _enqueue(tx: Transaction, work: NewWork, now: int) -> Enqueued:
    series = tx.series(RunKind.FUNCTION, work.function)
    if (twin := _twin(tx, work, series, now)) is not None:
        return Enqueued(twin, created=False)
    limits = tx.limits(series)
    if limits.max_depth is not None and count(tx, series, _READY, _DELAYED) >= limits.max_depth:
        raise QueueFull(full(work.function, limits.max_depth))
    run_at = now if work.run_at is None else micros(work.run_at)
    owner = work.lease_to if run_at <= now and not limits.paused else None
    if owner is not None and limits.cap is not None and count(tx, series, _LEASED) >= limits.cap:
        owner = None
    return insert(tx, work, now, owner=owner)


def insert(tx: Transaction, work: NewWork, now: int, *, owner: str | None = None) -> Enqueued:
    """Add a row and its run, leased to the owner from the start if there is one."""
    series = tx.series(RunKind.FUNCTION, work.function)
    run_at = now if work.run_at is None else micros(work.run_at)
    run = insert_run(tx, run_of(work, instant(now), owner=owner))
    until = None if owner is None else now + seconds(work.lease_s)
    state = _LEASED if owner is not None else _DELAYED if run_at > now else _READY
    backoff = None if work.backoff == _DEFAULT_BACKOFF else json.dumps(astuple(work.backoff))
    begun = int(owner is not None)
    tx.execute(
        _INSERT,
        (
            run.id,
            series,
            state,
            work.priority,
            run_at,
            begun,
            begun,
            work.max_attempts,
            now,
            until,
            micros(work.expires_at),
            owner,
            backoff,
            work.trigger,
            work.payload,
        ),
    )
    if work.dedup_key is not None:
        keep_until = now + seconds(work.dedup_keep_s)
        tx.execute(
            "INSERT OR REPLACE INTO work_keys VALUES (?, ?, ?, ?)",
            (series, work.dedup_key, run.id, keep_until),
        )
    tx.tell(f"work:{work.function}")
    if owner is None or until is None:
        return Enqueued(run.id)
    return Enqueued(run.id, lease=_direct(work, run, owner, until))


def _direct(work: NewWork, run: Run, owner: str, until: int) -> Claimed:
    return Claimed(
        id=run.id,
        function=work.function,
        payload=work.payload,
        attempt=1,
        max_attempts=work.max_attempts,
        token=1,
        owner=owner,
        deadline=instant(until),
        public_id=run.public_id,
        parent=run.parent,
    )


def _twin(tx: Transaction, work: NewWork, series: int, now: int) -> int | None:
    if work.dedup_key is None:
        return None
    row = tx.one(
        "SELECT k.work_id FROM work_keys k LEFT JOIN work w ON w.id = k.work_id AND w.state <> 2 "
        "WHERE k.series = ? AND k.key = ? AND (w.id IS NOT NULL OR k.keep_until > ?)",
        (series, work.dedup_key, now),
    )
    return None if row is None else int(row[0])


def claim_one(
    tx: Transaction, function: str, wanted: int, lease: tuple[str, int, int]
) -> list[Claimed]:
    """Lease ready work of one function; `lease` is (owner, now, until)."""
    owner, now, until = lease
    row = tx.one("SELECT id FROM series WHERE kind = 0 AND key = ?", (key(function),))
    if row is None:
        return []
    series = row[0]
    limits = tx.limits(series)
    if limits.paused:
        return []
    if limits.cap is not None:
        wanted = min(wanted, limits.cap - count(tx, series, _LEASED))
    # Delayed work stands in an index of its own, so that it is never walked over; what is due by
    # now joins the ready before they are sorted.
    tx.execute(
        "UPDATE work SET state = 0 WHERE series = ? AND state = 3 AND run_at <= ?", (series, now)
    )
    ids = tx.all(
        "SELECT id FROM work WHERE series = ? AND state = 0 "
        "ORDER BY priority DESC, run_at, id LIMIT ?",
        (series, max(0, wanted)),
    )
    return [_lease(tx, row[0], function, owner, now, until) for row in ids]


def _lease(
    tx: Transaction, work_id: int, function: str, owner: str, now: int, until: int
) -> Claimed:
    row = tx.one(
        "UPDATE work SET state = 1, attempt = attempt + 1, token = token + 1, owner = ?, "
        "lease_until = ? WHERE id = ? RETURNING attempt, max_attempts, token, payload",
        (owner, until, work_id),
    )
    assert row is not None
    before = need_run(tx, work_id)
    run = save_run(tx, before, start_attempt(before, instant(now), owner=owner, attempt=row[0]))
    return Claimed(
        id=work_id,
        function=function,
        payload=row[3],
        attempt=row[0],
        max_attempts=row[1],
        token=row[2],
        owner=owner,
        deadline=instant(until),
        public_id=run.public_id,
        parent=run.parent,
    )


def give_back(
    tx: Transaction, held: Held, now: int, run_at: int, *, reason: str | None, counts: bool = True
) -> None:
    """Put leased work back; `counts` is False when the attempt shall not count."""
    tx.execute(
        "UPDATE work SET state = ?, run_at = ?, owner = NULL, lease_until = NULL, "
        "attempt = attempt - ? WHERE id = ?",
        (_DELAYED if run_at > now else _READY, run_at, int(not counts), held.id),
    )
    before = need_run(tx, held.id)
    save_run(tx, before, advance(before, RunState.QUEUED, instant(now), reason=reason))
    tx.tell(f"work:{held.function}")


def fail(
    tx: Transaction,
    held: Held,
    error: str,
    *,
    now: int,
    retry_at: int,
    state: RunState,
    exec_ms: float | None = None,
) -> Failure:
    """Record a failed attempt; see the port."""
    if held.cancel:
        remove(tx, held.id, RunState.CANCELLED, now, reason="cancelled")
        return Failure(None, RunState.CANCELLED)
    tx.execute(
        "INSERT INTO work_errors SELECT ?, count(*), ?, ?, ? FROM work_errors WHERE work_id = ?",
        (held.id, held.attempt, now, error, held.id),
    )
    if held.attempt < held.max_attempts:
        give_back(tx, held, now, retry_at, reason=error)
        return Failure(instant(retry_at), RunState.QUEUED)
    tx.execute("UPDATE work SET state = 2, lease_until = NULL WHERE id = ?", (held.id,))
    end_run(tx, held.id, state, now, reason=error, exec_ms=exec_ms)
    return Failure(None, state)


def remove(
    tx: Transaction,
    work_id: int,
    state: RunState,
    now: int,
    *,
    reason: str,
    exit_code: int | None = None,
    exec_ms: float | None = None,
) -> None:
    """Take work out of the queue and end its run."""
    tx.execute(DELETE, (work_id,))
    end_run(tx, work_id, state, now, reason=reason, exit_code=exit_code, exec_ms=exec_ms)


def end_run(
    tx: Transaction,
    run_id: int,
    state: RunState,
    now: int,
    *,
    reason: str,
    exit_code: int | None = None,
    exec_ms: float | None = None,
) -> None:
    """Close the run of work."""
    before = need_run(tx, run_id)
    after = advance(
        before, state, instant(now), reason=reason, exit_code=exit_code, exec_ms=exec_ms
    )
    save_run(tx, before, after)


def expire(tx: Transaction, now: int, limit: int = 1000) -> list[int]:
    """Cancel what should have started by now and has not."""
    rows = tx.all(
        "SELECT id FROM work WHERE expires_at <= ? AND state IN (0, 3) ORDER BY +id LIMIT ?",
        (now, limit),
    )
    for (work_id,) in rows:
        remove(tx, work_id, RunState.CANCELLED, now, reason="expired before it started")
    return [row[0] for row in rows]
