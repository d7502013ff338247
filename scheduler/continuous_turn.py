"""Whose turn it is to run a continuous job: anybody's, or of a singleton that of one instance.

The right is a lease in the store (`singleton.py`); for other tools the file singleton.job.lock is
held meanwhile (webjobs.md 1.6, 4.8).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scheduler.continuous_place import JobPlace
from scheduler.functions import Job, key
from scheduler.held_file import HeldFile, lock_text
from scheduler.journal import Journal
from scheduler.singleton import Singleton

LEASES = "singleton/continuous/"


@asynccontextmanager
async def turn(
    place: JobPlace, job: Job, group: asyncio.TaskGroup, log: Journal
) -> AsyncIterator[asyncio.Event | None]:
    """Hold the right to run and give the event of its loss; None if another instance has it."""
    if not job.is_singleton:
        yield asyncio.Event()
        return
    name = LEASES + key(job.name)
    lease = Singleton(place.store, place.clock, group, name=name, owner=place.instance)
    if not await lease.acquire():
        yield None
        return
    log.info("WebJob singleton lock is acquired")
    lock = HeldFile(place.folders.data(job) / "singleton.job.lock")
    lock.write(lock_text(f"singleton {job.name}", place.clock.now(), place.instance))
    try:
        yield lease.lost
    finally:
        lock.remove()
        await lease.release()
        log.info("WebJob singleton lock is released")
