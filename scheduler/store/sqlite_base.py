"""Connections to one SQLite file: one that writes, a few that read, and who owns the file.

The nouns (`sqlite_runs.py` …) stand on `write` and `read`. Readers are query-only and never
checkpoint; they close before the writer does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import os
import random
import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

from scheduler.clock import Clock, SystemClock
from scheduler.store.errors import Unavailable
from scheduler.store.signals import Signals
from scheduler.store.sqlite_transaction import Rows, Transaction
from scheduler.store.sqlite_writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

READERS = 2
BUSY_MS = 5_000  # recovery after a crash holds the file for a moment
CHECKPOINT_PAGES = 2_000  # 8 MB of log between checkpoints
LOG_BYTES = 64 * 1024 * 1024  # the log file shrinks to this after a burst
CACHE_KIB = 16 * 1024


class SqliteBase:
    """Opens, reads, writes, closes."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._draw = draw
        self._signals = Signals()
        self._writer = Writer(self._connect_writer, self._signals.publish)
        self._readers: concurrent.futures.ThreadPoolExecutor | None = None
        self._reading = threading.local()
        self._opened: list[Rows] = []  # by the readers, closed when their threads have ended
        self._lock: int | None = None

    async def _connect(self) -> None:
        """Take the file and start the writer and the readers."""
        self._lock = self._own()
        try:
            await self._writer.start()
        except (sqlite3.Error, OSError) as error:
            self._disown()
            raise Unavailable(f"{self._path} cannot be opened: {error}") from error
        except BaseException:  # also a cancellation: the file must not stay ours
            self._disown()
            raise
        self._readers = concurrent.futures.ThreadPoolExecutor(READERS, "taak-store-reader")

    async def _disconnect(self) -> None:
        """Finish what was accepted; the writer goes last because it checkpoints."""
        readers, self._readers = self._readers, None
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
        for rows in self._opened:
            rows.close()
        self._opened.clear()
        self._reading = threading.local()
        await self._writer.stop()
        self._disown()

    async def write(self, operation: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run the operation on the writing connection; see `Writer.run`."""
        return await self._writer.run(operation, durable=durable)

    async def read(self, operation: Callable[[Rows], T]) -> T:
        """Run the operation on a reading connection; it sees every commit before this call."""
        if self._readers is None:
            raise Unavailable("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read_now, operation)

    def _read_now(self, operation: Callable[[Rows], T]) -> T:
        try:
            rows = getattr(self._reading, "rows", None)
            if rows is None:
                rows = self._reading.rows = self._connect_reader()
            # One snapshot for all statements of the operation.
            rows.execute("BEGIN")
            try:
                return operation(rows)
            finally:
                rows.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._drop_reader()
            raise Unavailable(f"the store cannot read now: {error}") from error

    def _drop_reader(self) -> None:
        rows = getattr(self._reading, "rows", None)
        self._reading.rows = None
        if rows is not None:
            self._opened.remove(rows)
            with contextlib.suppress(sqlite3.Error):
                rows.close()

    def _connect_reader(self) -> Rows:
        connection = self._open_file()
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        rows = Rows(connection, self._clock)
        self._opened.append(rows)
        return rows

    def _connect_writer(self) -> Transaction:
        connection = self._open_file()
        try:
            self._prepare(connection)
        except BaseException:  # whatever it is goes on; the connection does not
            connection.close()
            raise
        return Transaction(connection, self._clock, self._draw)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise Unavailable(f"{self._path}: no write-ahead log here (is it a network disk?)")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")

    def _open_file(self) -> sqlite3.Connection:
        # Each connection is used by one thread at a time, but opened and closed by others.
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA temp_store = MEMORY")
        except BaseException:  # as above
            connection.close()
            raise
        return connection

    def _own(self) -> int:
        """Lock a file beside the store: a second writing process would corrupt order and speed."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be opened: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise Unavailable(
                f"{self._path} is in use by process {owner}; one process owns a store file: "
                "stop that one, or give this one a --home or --store of its own"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock

    def _disown(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
