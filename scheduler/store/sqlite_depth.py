"""How much work a function has, in SQLite: look-ups in counters and index ends, never a count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.functions import key
from scheduler.store.port_work import Depth, FunctionLimits
from scheduler.store.work_state import WorkState

if TYPE_CHECKING:
    from scheduler.store.sqlite_transaction import Rows


def count(rows: Rows, series: int, *states: int) -> int:
    """Return how many pieces of work of the function are in these states."""
    total = 0
    for state in states:
        row = rows.one("SELECT n FROM work_counts WHERE series = ? AND state = ?", (series, state))
        total += row[0] if row else 0
    return total


def depth_of(rows: Rows, function: str) -> Depth:
    """Return the depth of one function."""
    series = _series(rows, function)
    if series is None:
        return Depth()
    counts = dict(rows.all("SELECT state, n FROM work_counts WHERE series = ?", (series,)))
    now = rows.now()
    # Delayed work whose time has come is ready, though no claim has moved it yet.
    due, first_due = rows.all(
        "SELECT count(*), min(run_at) FROM work WHERE series = ? AND state = 3 AND run_at <= ?",
        (series, now),
    )[0]
    oldest = _oldest_ready(rows, series, now if first_due is None else first_due)
    ready = counts.get(WorkState.READY, 0) + due
    return Depth(
        ready=ready,
        delayed=counts.get(WorkState.DELAYED, 0) - due,
        running=counts.get(WorkState.LEASED, 0),
        dead=counts.get(WorkState.DEAD, 0),
        oldest_ready_s=(now - oldest) / 1_000_000 if ready else None,
    )


def _oldest_ready(rows: Rows, series: int, oldest: int) -> int:
    """Return the smallest run_at: one look-up for each priority, whatever the backlog."""
    priority = 2**62
    while True:
        row = rows.one(
            "SELECT priority, run_at FROM work WHERE series = ? AND state = 0 AND priority < ? "
            "ORDER BY priority DESC, run_at LIMIT 1",
            (series, priority),
        )
        if row is None:
            return oldest
        priority, oldest = row[0], min(oldest, row[1])


def limits_of(rows: Rows, function: str) -> FunctionLimits:
    """Return the limits of one function."""
    row = rows.one(
        "SELECT l.cap, l.max_depth, l.paused FROM work_limits l JOIN series s ON s.id = l.series "
        "WHERE s.kind = 0 AND s.key = ?",
        (key(function),),
    )
    return FunctionLimits() if row is None else FunctionLimits(row[0], row[1], bool(row[2]))


def _series(rows: Rows, function: str) -> int | None:
    row = rows.one("SELECT id FROM series WHERE kind = 0 AND key = ?", (key(function),))
    return None if row is None else int(row[0])
