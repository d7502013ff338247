"""What an operation sees of SQLite: statements, the store's clock, interned names, topics.

One per connection. It also holds what is known of committed names and limits; a rollback forgets
it all, so that no number can outlive the row that it was made for.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from scheduler.functions import key
from scheduler.store.port_work import FunctionLimits
from scheduler.store.sqlite_rows import KIND_CODES, micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scheduler.clock import Clock
    from scheduler.run import RunKind

_UNLIMITED = FunctionLimits()


class Rows:
    """A connection to read from, and the store's clock."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._db = connection
        self._clock = clock
        self.execute = connection.execute

    def now(self) -> int:
        """Return the store's clock in microseconds."""
        return micros(self._clock.now())

    def one(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[Any, ...] | None:
        """Return the first row."""
        row: tuple[Any, ...] | None = self.execute(sql, values).fetchone()
        return row

    def all(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close; as the last connection this checkpoints and removes the log."""
        self._db.close()


class Transaction(Rows):
    """The writing connection, with an open or coming transaction."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Clock, draw: Callable[[], float]
    ) -> None:
        super().__init__(connection, clock)
        self.executemany = connection.executemany
        self.draw = draw
        self._is_full = True  # PRAGMA synchronous is FULL, not NORMAL
        self._topics: set[str] = set()
        self._series: dict[tuple[RunKind, str], int] = {}
        self._origins: dict[tuple[str, str], int] = {}
        self._limits: dict[int, FunctionLimits] = {}

    # --- for operations

    def changed(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run a change; return how many rows it touched."""
        return self.execute(sql, values).rowcount

    def tell(self, topic: str) -> None:
        """Signal the topic once this is committed."""
        self._topics.add(topic)

    def next_run_id(self) -> int:
        """Return the id of the next run: a batch gives ids out itself, for its texts."""
        row = self.one("SELECT seq FROM sqlite_sequence WHERE name = 'runs'")
        return 1 if row is None else int(row[0]) + 1

    def series(self, kind: RunKind, name: str) -> int:
        """Return the number of this kind and name, made if need be."""
        number = self._series.get((kind, name))
        if number is None:
            row = self.one(
                "INSERT INTO series (kind, key, name) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET name = excluded.name RETURNING id",
                (KIND_CODES[kind], key(name), name),
            )
            assert row is not None
            number = self._series[kind, name] = int(row[0])
        return number

    def origin(self, instance: str, release: str) -> int:
        """Return the number of this instance and release, made if need be."""
        number = self._origins.get((instance, release))
        if number is None:
            row = self.one(
                "INSERT INTO origins (instance, release) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET release = excluded.release RETURNING id",
                (instance, release),
            )
            assert row is not None
            number = self._origins[instance, release] = int(row[0])
        return number

    def limits(self, series: int) -> FunctionLimits:
        """Return the limits of a function."""
        limits = self._limits.get(series)
        if limits is None:
            row = self.one(
                "SELECT cap, max_depth, paused FROM work_limits WHERE series = ?", [series]
            )
            limits = _UNLIMITED if row is None else FunctionLimits(row[0], row[1], bool(row[2]))
            self._limits[series] = limits
        return limits

    def set_limits(self, series: int, limits: FunctionLimits) -> None:
        """Write the limits of a function."""
        self.execute(
            "INSERT OR REPLACE INTO work_limits VALUES (?, ?, ?, ?)",
            (series, limits.cap, limits.max_depth, limits.paused),
        )
        self._limits[series] = limits

    # --- for the writer

    @property
    def changes(self) -> int:
        """Return a number that grows with every changed row."""
        return self._db.total_changes

    def begin(self, *, durable: bool) -> None:
        """Begin. Relaxed commits are not synced; the next durable one syncs them along."""
        if durable is not self._is_full:
            self.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_full = durable
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it last."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo everything since `begin`."""
        self._forget()
        self._topics.clear()
        if self._db.in_transaction:  # some errors have rolled back already
            self.execute("ROLLBACK")

    def savepoint(self) -> None:
        """Begin one operation of a batch."""
        self.execute("SAVEPOINT operation")

    def undo(self) -> None:
        """Undo the operation; the savepoint stays."""
        self._forget()
        self.execute("ROLLBACK TO operation")

    def release(self) -> None:
        """End the operation."""
        self.execute("RELEASE operation")

    def take_topics(self) -> frozenset[str]:
        """Return the topics told since the last call."""
        topics = frozenset(self._topics)
        self._topics.clear()
        return topics

    def abandon(self) -> None:
        """Close after a failure, whatever state it is in."""
        with contextlib.suppress(sqlite3.Error):
            self.rollback()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _forget(self) -> None:
        known: dict[Any, Any]
        for known in (self._series, self._origins, self._limits):
            known.clear()
