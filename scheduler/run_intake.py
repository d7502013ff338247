"""Accepting a triggered run: when the caller has the answer, its row is durable (webjobs.md 5.1).

Two ways lead in: a run that begins now or is refused, and one that may wait. How it goes on is not
known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from scheduler.errors import ConflictError, NotFoundError, UnavailableError
from scheduler.functions import Job
from scheduler.job_settings import JobSettings
from scheduler.run import Run, RunKind, RunState
from scheduler.run_queue import Begin, MakeRow, RunQueue
from scheduler.run_slots import RunSlots
from scheduler.store.port import NewRun
from scheduler.triggered_run import RunPlace, TriggeredRun

ALREADY_RUNNING = "Cannot start a new run since job is already running."
STOPPED = 'WebJobs are currently in "stopped" state.'

#: (job, trigger, arguments, what makes the row) -> the run; None if somebody else made it already
Accept = Callable[[Job, str, str, MakeRow], Awaitable[Run | None]]


class RunIntake:
    """Takes runs, or says why not.

    Attributes:
        group: where runs go on; None before the platform serves.
    """

    def __init__(self, place: RunPlace, slots: RunSlots, queue: RunQueue, begin: Begin) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._place = place
        self._slots = slots
        self._queue = queue
        self._begin = begin
        self._closed = False

    def close(self) -> None:
        """Take nothing any more."""
        self._closed = True

    async def let_begin(self, job: Job, trigger: str, arguments: str, make: MakeRow) -> Run | None:
        """Take a place and make the run's row; ConflictError if there is no place."""
        await self._slots.let_end(job)
        group = self._admit(job)
        if job.policy.queues and await self._queue.waiting(job.name):
            raise ConflictError(ALREADY_RUNNING)  # nobody overtakes who waits
        async with AsyncExitStack() as undo:
            slot = await self._slots.enter(job, group)
            if slot is None:
                raise ConflictError(ALREADY_RUNNING)
            undo.push_async_callback(self._slots.leave, slot)
            run = await self._make_run(job, trigger, arguments, make, RunState.INITIALIZING)
            if run is None:
                return None
            undo.pop_all()
        TriggeredRun(self._place, job, run).accepted()
        self._begin(job, slot, run)
        return run

    async def let_wait(self, job: Job, trigger: str, arguments: str, make: MakeRow) -> Run | None:
        """Make the row of a run that begins when there is a place, which may be at once."""
        self._admit(job)

        async def put(new: NewRun) -> Run | None:
            return await self._queue.put(job, new, make)

        run = await self._make_run(job, trigger, arguments, put, RunState.QUEUED)
        if run is not None:
            TriggeredRun(self._place, job, run).accepted()
        return run

    async def _make_run(
        self, job: Job, trigger: str, arguments: str, make: MakeRow, state: RunState
    ) -> Run | None:
        """Make folder and row of a run; the folder stays only if the row does."""
        run_id = self._make_folder(job)
        run = None
        try:
            run = await make(
                NewRun(
                    public_id=run_id,
                    kind=RunKind.TRIGGERED,
                    name=job.name,
                    trigger=trigger,
                    state=state,
                    instance=self._place.instance,
                    release=job.bundle.digest,
                    created_at=self._place.clock.now(),
                    arguments=arguments,
                )
            )
        finally:
            if run is None:
                self._place.folders.remove_runs(job, [run_id])
        return run

    def _admit(self, job: Job) -> asyncio.TaskGroup:
        if job.error:
            raise NotFoundError(job.error)
        if self._closed or JobSettings.of(job, self._place.settings).stopped:
            raise ConflictError(STOPPED)
        if self.group is None:
            raise UnavailableError("Jobs cannot run yet: the platform is starting.")
        return self.group

    def _make_folder(self, job: Job) -> str:
        try:
            return self._place.folders.create_run_folder(job, self._place.clock.now())
        except OSError as error:
            raise UnavailableError(f"The folder of a new run cannot be made: {error}") from error
