"""The store in one SQLite file: write-ahead log, every acknowledged commit synced, no set-up.

One process owns the file; its parts stand one noun a file, each on top of the one before.
"""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.store.errors import Unavailable
from scheduler.store.port import Capabilities, Health, Store
from scheduler.store.sqlite_members import SqliteMembers
from scheduler.store.sqlite_migrations import migrate, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scheduler.store.signals import Subscription


class SqliteStore(SqliteMembers, Store):
    """All nouns over one file. `clock` and `draw` (numbers in [0, 1)) may be given."""

    async def open(self) -> None:
        await self._connect()
        try:
            await self.read(refuse_newer)
        except BaseException:  # also a cancellation: the thread and the lock must go
            await self._disconnect()
            raise

    async def migrate(self) -> int:
        return await self.write(migrate)

    async def close(self) -> None:
        await self._disconnect()

    async def health(self) -> Health:
        # A read says nothing of a full disk, so after trouble the probe has to write.
        try:
            if self._writer.trouble:
                await self.write(lambda tx: tx.execute(_PROBE_WRITE))
            else:
                await self.read(lambda rows: rows.one("SELECT 1 FROM current_release"))
        except Unavailable as error:
            return Health(ok=False, detail=str(error))
        return Health(ok=True)

    async def now(self) -> datetime:
        return self._clock.now()

    async def capabilities(self) -> Capabilities:
        return Capabilities(shared=False, signals="push")

    def publish(self, topics: Iterable[str]) -> None:
        self._signals.publish(topics)

    def subscribe(self, topics: Iterable[str]) -> Subscription:
        return self._signals.subscribe(topics)


_PROBE_WRITE = "UPDATE current_release SET generation = generation"
