"""Statements about runs, for every noun that writes them. All happen inside an operation."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from scheduler.errors import NotFoundError
from scheduler.run import Run, is_final
from scheduler.store.sqlite_rows import (
    KIND_CODES,
    RUN_SELECT,
    STATE_CODES,
    US_PER_MINUTE,
    micros,
    run_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scheduler.store.port_runs import NewRun
    from scheduler.store.sqlite_transaction import Rows, Transaction

RUN_COLUMNS = (
    "id, series, origin, kind, state, attempt, exit_code, wait_us, exec_us, "
    "created_at, started_at, ended_at, trigger, public_id"
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PART_SIZES = (256, 32, 4, 1)


def in_parts(statement: Callable[[int], str]) -> dict[int, str]:
    """Return statements for many rows, few rows and one, the largest first.

    One statement takes many rows: each statement is one hand-over of the interpreter lock, and a
    busy event loop makes every hand-over wait. Few sizes, so that all stay prepared.
    """
    return {size: statement(size) for size in _PART_SIZES}


_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERTS = in_parts(
    lambda size: f"INSERT INTO runs ({RUN_COLUMNS}) VALUES {', '.join([_ROW] * size)}"  # noqa: S608
)

_UPDATE = (
    "UPDATE runs SET origin = ?, state = ?, attempt = ?, exit_code = ?, wait_us = ?, exec_us = ?, "
    "started_at = ?, ended_at = ?, public_id = ? WHERE id = ?"
)
_TEXTS = (
    "INSERT INTO run_texts (run_id, parent, reason, arguments) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET reason = excluded.reason"
)
_COUNT = (
    "INSERT INTO run_minutes (series, minute, state, count, sum_us, max_us) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count, "
    "sum_us = sum_us + excluded.sum_us, max_us = max(max_us, excluded.max_us)"
)


class Tally:
    """Ended runs summed up by series, minute and state, so that each is one statement."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int, int], list[int]] = {}

    def add(self, series: int, ended: int, state: int, spent: int) -> None:
        """Count one run; instants and spans are microseconds, `state` is a code."""
        place = (series, ended // US_PER_MINUTE, state)
        entry = self._sums.get(place)
        if entry is None:
            self._sums[place] = [1, spent, spent]
        else:
            entry[0] += 1
            entry[1] += spent
            if spent > entry[2]:  # noqa: PLR1730  a call less for each row of the history
                entry[2] = spent

    def write(self, tx: Transaction) -> None:
        """Add what was counted to the stored counters."""
        tx.executemany(_COUNT, [(*place, *entry) for place, entry in self._sums.items()])


def load_run(rows: Rows, run_id: int) -> Run | None:
    """Return the run with this id."""
    row = rows.one(RUN_SELECT + "WHERE r.id = ?", (run_id,))
    return None if row is None else run_from(row)


def need_run(rows: Rows, run_id: int) -> Run:
    """Return the run with this id, which must exist."""
    run = load_run(rows, run_id)
    if run is None:
        raise NotFoundError(f"run {run_id} does not exist")
    return run


def insert_run(tx: Transaction, new: NewRun) -> Run:
    """Add one run; return it with its id."""
    run_id = tx.execute(_INSERTS[1], _values(tx, new, None)).lastrowid
    assert run_id is not None
    run = new.numbered(run_id)
    if run.reason or run.arguments or run.parent is not None:
        tx.execute(_TEXTS, (run_id, run.parent, run.reason, run.arguments))
    if is_final(run.state):
        _count(tx, run)
    return run


def insert_many(tx: Transaction, news: Sequence[NewRun]) -> None:
    """Add ended runs and their counters, in few statements."""
    first = tx.next_run_id()
    rows = [_values(tx, new, first + place) for place, new in enumerate(news)]
    texts = [
        (first + place, new.parent, new.reason, new.arguments)
        for place, new in enumerate(news)
        if new.reason or new.arguments or new.parent is not None
    ]
    _insert_rows(tx, rows)
    insert_texts(tx, texts)
    tally = Tally()
    for _, series, _, _, state, _, _, _, spent, created_at, _, ended_at, _, _ in rows:
        tally.add(series, ended_at or created_at, state, spent)
    tally.write(tx)


def insert_texts(tx: Transaction, texts: list[tuple[Any, ...]]) -> None:
    """Insert what some runs have to say: (run id, parent, reason, arguments)."""
    if texts:
        tx.executemany(_TEXTS, texts)


def _insert_rows(tx: Transaction, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of `_values`, as many a statement as there are."""
    done = 0
    for size, insert in _INSERTS.items():
        while len(rows) - done >= size:
            part = rows[done : done + size]
            tx.execute(insert, part[0] if size == 1 else list(chain.from_iterable(part)))
            done += size


def save_run(tx: Transaction, before: Run, run: Run) -> Run:
    """Write what a step changed; count it if it has just ended."""
    tx.execute(
        _UPDATE,
        (
            tx.origin(run.instance, run.release),
            STATE_CODES[run.state],
            run.attempt,
            run.exit_code,
            round(run.wait_ms * 1000),
            round(run.exec_ms * 1000),
            micros(run.started_at),
            micros(run.ended_at),
            run.public_id,
            run.id,
        ),
    )
    if run.reason != before.reason:
        tx.execute(_TEXTS, (run.id, run.parent, run.reason, run.arguments))
    if is_final(run.state) and not is_final(before.state):
        _count(tx, run)
    return run


def _values(tx: Transaction, new: NewRun, run_id: int | None) -> tuple[Any, ...]:
    return (
        run_id,
        tx.series(new.kind, new.name),
        tx.origin(new.instance, new.release),
        KIND_CODES[new.kind],
        STATE_CODES[new.state],
        new.attempt,
        new.exit_code,
        round(new.wait_ms * 1000),
        round(new.exec_ms * 1000),
        micros(new.created_at),
        micros(new.started_at),
        micros(new.ended_at),
        new.trigger,
        new.public_id,
    )


def _count(tx: Transaction, run: Run) -> None:
    minute = micros(run.ended_at or run.created_at) // US_PER_MINUTE
    spent = round(run.exec_ms * 1000)
    series = tx.series(run.kind, run.name)
    tx.execute(_COUNT, (series, minute, STATE_CODES[run.state], 1, spent, spent))
