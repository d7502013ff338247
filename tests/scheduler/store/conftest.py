"""The stores that the contract holds for, each on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_values import SetClock

from scheduler.store.memory import MemoryStore
from scheduler.store.port import Store
from scheduler.store.sqlite import SqliteStore


@pytest.fixture
def clock() -> SetClock:
    """Give the store's clock."""
    return SetClock()


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.real)])
async def store(
    request: pytest.FixtureRequest, clock: SetClock, tmp_path: Path
) -> AsyncIterator[Store]:
    """Give an open store of each kind."""
    made: Store = MemoryStore(clock=clock, draw=lambda: 0.5)
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "taak.db", clock=clock, draw=lambda: 0.5)
    async with made:
        yield made
