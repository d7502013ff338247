"""The store in memory: the reference that other adapters are compared with, and a fake for tests.

Nothing survives it. Its parts stand one noun a file, each on top of the one before.
"""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.store.memory_members import MemoryMembers
from scheduler.store.port import Capabilities, Health, Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scheduler.store.signals import Subscription


class MemoryStore(MemoryMembers, Store):
    """All nouns, open from the start. `clock` and `draw` (numbers in [0, 1)) may be given."""

    async def open(self) -> None:
        self._closed = False

    async def migrate(self) -> int:
        return 0

    async def close(self) -> None:
        self._closed = True

    async def health(self) -> Health:
        return Health(not self._closed, "the store is closed" if self._closed else "")

    async def now(self) -> datetime:
        return self._now()

    async def capabilities(self) -> Capabilities:
        return Capabilities(shared=False, signals="push")

    def publish(self, topics: Iterable[str]) -> None:
        self._signals.publish(topics)

    def subscribe(self, topics: Iterable[str]) -> Subscription:
        return self._signals.subscribe(topics)
