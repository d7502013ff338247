"""The places in which triggered runs go on: as many for a job as it allows, over all instances.

A place is a lease in the store, and what this instance does in it. A job that says nothing has one
place: a second run is refused (webjobs.md 5.2). For other tools the file triggeredJob.lock is held
while a run goes on here (webjobs.md 1.5).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from scheduler.clock import Clock, within
from scheduler.functions import Job, key
from scheduler.held_file import HeldFile, lock_text
from scheduler.job_folders import JobFolders
from scheduler.singleton import Singleton
from scheduler.store.port import Store
from scheduler.triggered_run import TriggeredRun

LEASES = "run/triggered/"
_LEAVING_S = 2.0


@dataclass(eq=False, slots=True)
class Slot:
    """One place that is taken here; `run` is None until its run is accepted."""

    job: str
    number: int
    lease: Singleton
    run: TriggeredRun | None = None


class RunSlots:
    """Who runs here.

    Attributes:
        quiet: set while nobody does.
    """

    def __init__(self, store: Store, folders: JobFolders, clock: Clock, instance: str) -> None:
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._store = store
        self._folders = folders
        self._clock = clock
        self._instance = instance
        self._taken: dict[str, dict[int, Slot]] = {}
        self._locks: dict[str, HeldFile] = {}
        self._vacated = asyncio.Event()  # a new one after each

    def runs(self, name: str | None = None) -> list[TriggeredRun]:
        """Return the runs that go on here, of a job or of all, the newest last."""
        names = list(self._taken) if name is None else [key(name)]
        slots = [slot for each in names for slot in self._taken.get(each, {}).values()]
        runs = [slot.run for slot in slots if slot.run is not None]
        return sorted(runs, key=lambda run: run.run.id)

    def room(self, job: Job) -> bool:
        """Tell whether a place may be free, as far as this instance knows."""
        return len(self._taken.get(key(job.name), ())) < job.policy.concurrency

    async def enter(self, job: Job, group: asyncio.TaskGroup) -> Slot | None:
        """Take a place; None if all are taken, here or elsewhere."""
        for number in range(job.policy.concurrency):
            slot = self._occupy(job, number, group)
            if slot is None:
                continue
            try:
                mine = await slot.lease.acquire()
            except BaseException:
                self._vacate(slot)
                raise
            if mine:
                self._lock(job)
                return slot
            self._vacate(slot)
        return None

    async def leave(self, slot: Slot) -> None:
        """Give a place back."""
        try:
            await slot.lease.release()
        finally:
            self._vacate(slot)

    async def let_end(self, job: Job) -> None:
        """Wait for a run that has ended but not left: a client that saw its end starts the next."""
        if self.room(job):
            return
        leaving = [run for run in self.runs(job.name) if run.over.is_set()]
        if leaving:
            await within(self._clock, _LEAVING_S, leaving[0].left)

    async def empty(self, job: Job) -> None:
        """Return when nothing of the job goes on here."""
        while key(job.name) in self._taken:
            await self._vacated.wait()

    # --- Inside

    def _occupy(self, job: Job, number: int, group: asyncio.TaskGroup) -> Slot | None:
        """Take a place here; it happens before any await, so that the next caller sees it."""
        name = key(job.name)
        places = self._taken.setdefault(name, {})
        if number in places:
            return None
        lease = Singleton(
            self._store,
            self._clock,
            group,
            name=f"{LEASES}{name}/{number}" if number else LEASES + name,
            owner=self._instance,
        )
        slot = places[number] = Slot(name, number, lease)
        self.quiet.clear()
        return slot

    def _vacate(self, slot: Slot) -> None:
        places = self._taken[slot.job]
        del places[slot.number]
        if not places:
            del self._taken[slot.job]
            if lock := self._locks.pop(slot.job, None):
                lock.remove()
        self._vacated.set()
        self._vacated = asyncio.Event()
        if not self._taken:
            self.quiet.set()

    def _lock(self, job: Job) -> None:
        name = key(job.name)
        if name not in self._locks:
            lock = self._locks[name] = HeldFile(self._folders.data(job) / "triggeredJob.lock")
            lock.write(lock_text(f"run of {job.name}", self._clock.now(), self._instance))
