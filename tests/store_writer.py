"""A program that writes to a store as fast as it can and prints each id once it is acknowledged.

store_writer.py FILE    ends when it is killed
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scheduler.run import RunKind, RunState
from scheduler.store.port import NewRun, NewWork
from scheduler.store.sqlite import SqliteStore


async def caller(store: SqliteStore, number: int) -> None:
    """Enqueue, sometimes work to the end, and say so only afterwards."""
    while True:
        taken = await store.enqueue(NewWork(function=f"f{number}", lease_to="me", lease_s=60))
        os.write(1, b"%d queued\n" % taken.id)
        if number % 2 and taken.lease is not None:
            await store.complete(taken.id, taken.lease.token)
            os.write(1, b"%d done\n" % taken.id)


async def history(store: SqliteStore) -> None:
    """Keep relaxed batches in between: they must not weaken the durable ones."""
    now = datetime.now(UTC)
    row = NewRun(
        public_id="x",
        kind=RunKind.FUNCTION,
        name="sync",
        trigger="http",
        state=RunState.SUCCESS,
        instance="me",
        created_at=now,
        ended_at=now,
    )
    while True:
        await store.finish_many([row] * 50)


async def main() -> None:
    """Write until killed."""
    async with SqliteStore(Path(sys.argv[1])) as store, asyncio.TaskGroup() as group:
        group.create_task(history(store))
        for number in range(16):
            group.create_task(caller(store, number))


asyncio.run(main())
