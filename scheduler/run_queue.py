"""Runs of triggered jobs that wait for a place, in the order in which they were accepted.

A run waits as a row of the history in the state `queued`, so it survives a restart, is seen by
everybody, and is begun by whichever instance has a place first. Whoever begins it moves the row on;
the store lets one do that. Who may wait is decided by the job's policy (`job_policy.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from scheduler.clock import within
from scheduler.errors import ConflictError, NotFoundError, SchedulerError
from scheduler.functions import Job, JobKind, key
from scheduler.job_settings import JobSettings
from scheduler.run import Run, RunKind, RunState
from scheduler.run_slots import RunSlots, Slot
from scheduler.store.port import MAX_PAGE, NewRun, RunFilter
from scheduler.triggered_run import KUDU_WORDS, RunPlace, show_status

_log = logging.getLogger("taak.jobs")

#: A place that another instance gives back is noticed after so long.
LOOK_S = 2.0
GONE = "its job is gone"

Begin = Callable[[Job, Slot, Run], None]
MakeRow = Callable[[NewRun], Awaitable[Run | None]]


class RunQueue:
    """The waiting runs of all triggered jobs."""

    def __init__(self, place: RunPlace, slots: RunSlots, begin: Begin) -> None:
        self._place = place
        self._slots = slots
        self._begin = begin
        self._jobs: dict[str, Job] = {}
        self._deployed = False
        self._group: asyncio.TaskGroup | None = None
        self._looking = asyncio.Lock()  # one look at a time, so that its end means something
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._news = asyncio.Event()
        self._somebody_waits = True  # until a look has shown that nobody does
        self._seen: set[int] = set()  # ids of the runs that waited at the latest look

    # --- What others ask of it

    def define(self, jobs: Iterable[Job]) -> None:
        """Know these jobs, as they are now; what waits for them may begin."""
        for job in jobs:
            if job.kind is JobKind.TRIGGERED:
                self._jobs[key(job.name)] = job
        self._deployed = True
        self.look()

    def remove(self, jobs: Iterable[Job]) -> None:
        """Forget jobs; what waits for them here never begins."""
        for job in jobs:
            if job.kind is JobKind.TRIGGERED:
                self._jobs.pop(key(job.name), None)
        self.look()

    def look(self) -> None:
        """A place may be free, or somebody may wait: look soon."""
        self._news.set()

    async def put(self, job: Job, new: NewRun, make: MakeRow) -> Run | None:
        """Make the row of a run that waits; ConflictError if there is no room for it.

        Two instances that put at the same moment may exceed the depth by one.
        """
        async with self._turns[key(job.name)]:
            depth = job.policy.queue_depth
            if await self._is_full(job.name, depth):
                raise ConflictError(
                    f"{depth} runs of job {job.name} wait already, its limit; try again later, or "
                    'raise "taak": {"queue_depth": …} in its settings.job'
                )
            run = await make(new)
        if run is not None:
            self._seen.add(run.id)
        self._somebody_waits = True
        self.look()
        return run

    async def _is_full(self, name: str, depth: int) -> bool:
        if len(await self.waiting(name)) < depth:
            return False
        # Some may have a place already, and only not have been looked at yet.
        if self._group is not None:
            async with self._looking:
                await self._begin_all(self._group)
        return len(await self.waiting(name)) >= depth

    def holds(self, run: Run) -> bool:
        """Tell whether a run waits, as far as is known without asking the store."""
        return run.id in self._seen

    async def waiting(self, name: str | None = None) -> list[Run]:
        """Return the runs that wait, of a job or of all, the oldest first."""
        where = RunFilter(kind=RunKind.TRIGGERED, name=name, state=RunState.QUEUED)
        found, cursor = list[Run](), None
        while True:
            page = await self._place.store.query_runs(where, cursor=cursor, limit=MAX_PAGE)
            found += page.items
            if page.cursor is None:
                return found[::-1]
            cursor = page.cursor

    async def withdraw(self, run: Run, reason: str) -> bool:
        """End a run that waits; False if it waits no more."""
        place = self._place
        try:
            final = await place.store.update_run(run.id, RunState.CANCELLED, reason=reason)
        except (ConflictError, NotFoundError):
            return False
        word = KUDU_WORDS[RunState.CANCELLED]
        if place.folders.has_run(run, run.public_id):
            journal = place.logs.run(run, run.public_id)
            show_status(place.folders, run, run, word, final.ended_at)
            journal.status(word)
            journal.error(f"WebJob run was cancelled before it began: {reason}")
        return True

    async def withdraw_all(self, name: str, reason: str) -> None:
        """End every run of a job that waits."""
        for run in await self.waiting(name):
            await self.withdraw(run, reason)

    # --- Beginning what waits

    async def serve(self, group: asyncio.TaskGroup) -> None:
        """Begin what waits as soon as there is a place, until cancelled."""
        self._group = group
        while True:
            if self._somebody_waits or any(job.policy.queues for job in self._jobs.values()):
                await within(self._place.clock, LOOK_S, self._news)
            else:
                await self._news.wait()
            self._news.clear()
            try:
                async with self._looking:
                    await self._begin_all(group)
            except SchedulerError as error:
                _log.warning("runs that wait are not looked at: %s", error)
                await self._place.clock.sleep(LOOK_S)

    async def _begin_all(self, group: asyncio.TaskGroup) -> None:
        full: set[str] = set()
        waiting = await self.waiting()
        self._somebody_waits = bool(waiting)
        self._seen = {run.id for run in waiting}
        for run in waiting:
            name = key(run.name)
            job = self._jobs.get(name)
            if job is None:
                # What another instance has accepted may be of a release that is not here yet.
                if self._deployed and run.instance == self._place.instance:
                    await self.withdraw(run, GONE)
            elif name not in full and not await self._start(job, run, group):
                full.add(name)

    async def _start(self, job: Job, run: Run, group: asyncio.TaskGroup) -> bool:
        """Begin a run; False if its job has no place for this one, and so for none behind it."""
        place = self._place
        if job.error or JobSettings.of(job, place.settings).stopped:
            return False
        slot = await self._slots.enter(job, group)
        if slot is None:
            return False
        try:
            run = await place.store.update_run(
                run.id, RunState.INITIALIZING, instance=place.instance
            )
        except (ConflictError, NotFoundError):  # cancelled, or another instance was faster
            await self._slots.leave(slot)
        except BaseException:
            await self._slots.leave(slot)
            raise
        else:
            with suppress(OSError):  # then its log and its status are lost, and that is told there
                place.folders.adopt_run(job, run.public_id)
            self._begin(job, slot, run)
        return True
