"""Triggered jobs: who may start one, its history, and what becomes of runs at start and stop.

A run is accepted when its row is committed; it is carried out in the background by
`triggered_run.py`. One run of a job at a time over all instances (webjobs.md 5.2): the right to run
is a lease in the store. A run that is found open when the platform starts is closed as aborted and
never run again by itself (promise D3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial

from sandbox.cpu_time import tree_ticks
from sandbox.users import Users
from scheduler.clock import Clock, SystemClock, within
from scheduler.errors import ConflictError, NotFoundError, SchedulerError, UnavailableError
from scheduler.functions import Job, key
from scheduler.job_environment import split_arguments
from scheduler.job_folders import JobFolders
from scheduler.job_program import JobPrograms, Launcher
from scheduler.job_settings import JobSettings
from scheduler.left_over_runs import close_left_over_runs
from scheduler.listeners import tell
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.singleton import Singleton, release_stale
from scheduler.store.port import MAX_PAGE, NewRun, RunFilter, Store
from scheduler.ticks import job_timer
from scheduler.triggered_run import RunPlace, TriggeredRun, Verdict

_log = logging.getLogger("taak.jobs")
_LEASES, _LEAVING_S = "run/triggered/", 2.0
ALREADY_RUNNING = "Cannot start a new run since job is already running."
STOPPED = 'WebJobs are currently in "stopped" state.'
_SHUT_DOWN = Verdict(
    RunState.ABORTED, "host_shutdown", "WebJob run was aborted: the platform is shutting down"
)

#: Makes a run's row under this public id; None if somebody else made it already.
_MakeRow = Callable[[NewRun], Awaitable[Run | None]]


class TriggeredJobs:
    """Starts runs, one at a time for each job.

    Attributes:
        on_finished: called with the final row of every run that this process carried out.
        recovered: set once the runs of an earlier process are closed.
    """

    def __init__(
        self,
        launcher: Launcher,
        store: Store,
        folders: JobFolders,
        *,
        instance: str,
        clock: Clock | None = None,
        settings: Mapping[str, str] | None = None,
        users: Users | None = None,
        programs: JobPrograms | None = None,
        cpu_ticks: Callable[[int], int | None] = tree_ticks,
    ) -> None:
        self.on_finished: list[Callable[[Run], None]] = []
        self.recovered = asyncio.Event()
        self._settings = settings or {}
        self._place = RunPlace(
            launcher=launcher,
            store=store,
            folders=folders,
            programs=programs or JobPrograms(folders, instance, self._settings, users=users),
            instance=instance,
            clock=clock or SystemClock(),
            cpu_ticks=cpu_ticks,
        )
        self._active: dict[str, TriggeredRun | None] = {}  # None: being accepted
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()
        self._vacated = asyncio.Event()  # a new one after each
        self._quiet = asyncio.Event()
        self._quiet.set()

    # --- Life

    async def serve(self) -> None:
        """Close what an earlier process left, then carry out runs until `drain` has ended."""
        await release_stale(self._place.store, _LEASES, self._place.instance)
        await self.recover()
        self.recovered.set()
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._closing.wait()
            await self._quiet.wait()

    async def recover(self) -> list[Run]:
        """Close the runs that an earlier process of this instance left open."""
        return await close_left_over_runs(self._place)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new runs, wait for active ones within their grace, then end the rest."""
        self._closing.set()
        active = [run for run in self._active.values() if run is not None]
        grace_s = max((run.job.stopping_wait_s for run in active), default=timeout_s)
        if not await within(self._place.clock, min(timeout_s, grace_s), self._quiet):
            for run in filter(None, self._active.values()):
                run.end(_SHUT_DOWN)
            await self._quiet.wait()

    # --- Starting and ending

    async def start(self, job: Job, *, trigger: str, arguments: str = "") -> Run:
        """Accept a run: it is durable when this returns, and starts in the background.

        Raises BadRequestError (arguments), ConflictError (running, or jobs are stopped),
        NotFoundError (nothing to run), UnavailableError (the store or the disk refuses).
        """
        split_arguments(arguments)
        run = await self._accept(job, trigger, arguments, self._place.store.create_run)
        assert run is not None
        return run

    async def start_tick(self, job: Job, due_at: datetime, trigger: str) -> Run | None:
        """Accept the run of a tick, in one commit with it; None if the tick is recorded already.

        Raises like `start`; nothing is recorded then: the caller decides what becomes of it.
        """

        async def fire(new: NewRun) -> Run | None:
            fired = await self._place.store.fire(job_timer(job.name), due_at, run=new)
            return fired.run if fired else None

        return await self._accept(job, trigger, "", fire)

    async def cancel(self, job: Job, public_id: str, *, grace_s: float | None = None) -> None:
        """End an active run: SIGTERM, the job's grace unless another is given, SIGKILL."""
        active = self._active.get(key(job.name))
        if active is not None and active.run.public_id == public_id:
            line = "WebJob run was cancelled by request"
            verdict = Verdict(RunState.CANCELLED, "cancelled by request", line)
            active.end(verdict, grace_s=job.stopping_wait_s if grace_s is None else grace_s)
            return
        run = await self.find(job, public_id)
        if run is None:
            raise NotFoundError(f"Job {job.name} has no run {public_id}.")
        if is_final(run.state):
            raise ConflictError(f"Run {public_id} has already ended: {run.state.value}.")
        raise ConflictError(f"Run {public_id} is carried out by instance {run.instance}; ask it.")

    async def ended(self, job: Job) -> None:
        """Return when no run of the job is in progress here."""
        while key(job.name) in self._active:
            await self._vacated.wait()

    async def forget(self, job: Job) -> None:
        """Remove the history of a job that was deleted: the next job of this name is another."""
        store, kind = self._place.store, RunKind.TRIGGERED
        while await store.prune_runs(keep_per_name=0, kind=kind, name=job.name):
            continue

    # --- Looking

    def active(self, job: Job) -> Run | None:
        """Return the run that is in progress here."""
        active = self._active.get(key(job.name))
        return active.run if active is not None else None

    async def latest(self, job: Job) -> Run | None:
        """Return the newest run."""
        page = await self._place.store.query_runs(_runs_of(job), limit=1)
        return page.items[0] if page.items else None

    async def history(self, job: Job) -> list[Run]:
        """Return the runs that are kept, newest first."""
        where, runs, cursor = _runs_of(job), list[Run](), None
        while True:
            page = await self._place.store.query_runs(where, cursor=cursor, limit=MAX_PAGE)
            runs += page.items
            if page.cursor is None:
                return runs
            cursor = page.cursor

    async def find(self, job: Job, public_id: str) -> Run | None:
        """Return one run."""
        return await self._place.store.find_run(RunKind.TRIGGERED, job.name, public_id)

    # --- Acceptance

    async def _accept(self, job: Job, trigger: str, arguments: str, make: _MakeRow) -> Run | None:
        await self._let_end(job)
        group = self._admit(job)
        slot, folders, clock = key(job.name), self._place.folders, self._place.clock
        async with AsyncExitStack() as undo:
            self._occupy(slot)  # before the first await: the next caller must see it
            undo.callback(self._vacate, slot)
            lease = await self._lease(job, group)
            undo.push_async_callback(lease.release)
            run_id = self._make_folder(job)
            undo.callback(folders.remove_runs, job, [run_id])
            new = NewRun(
                public_id=run_id,
                kind=RunKind.TRIGGERED,
                name=job.name,
                trigger=trigger,
                state=RunState.INITIALIZING,
                instance=self._place.instance,
                release=job.bundle.digest,
                created_at=clock.now(),
                arguments=arguments,
            )
            run = await make(new)
            if run is None:
                return None
            undo.pop_all()
        active = TriggeredRun(self._place, job, run, JobSettings.of(job, self._settings))
        self._active[slot] = active
        active.accepted()
        if self._closing.is_set():  # the drain began while the row was being made
            active.end(_SHUT_DOWN)
        group.create_task(self._carry_out(active, lease), name=f"run {job.name} {run_id}")
        return run

    async def _let_end(self, job: Job) -> None:
        """Wait for a run that has ended but not left: a client that saw its end starts the next."""
        active = self._active.get(key(job.name))
        if active is not None and active.over.is_set():
            await within(self._place.clock, _LEAVING_S, active.left)

    def _admit(self, job: Job) -> asyncio.TaskGroup:
        if job.error:
            raise NotFoundError(job.error)
        if self._closing.is_set() or JobSettings.of(job, self._settings).stopped:
            raise ConflictError(STOPPED)
        if key(job.name) in self._active:
            raise ConflictError(ALREADY_RUNNING)
        if self._group is None:
            raise UnavailableError("Jobs cannot run yet: the platform is starting.")
        return self._group

    async def _lease(self, job: Job, group: asyncio.TaskGroup) -> Singleton:
        # A lost lease does not end the run: killing half-done work because the store was away helps
        # nobody, and D3 accepts another start meanwhile.
        lease = Singleton(
            self._place.store,
            self._place.clock,
            group,
            name=_LEASES + key(job.name),
            owner=self._place.instance,
        )
        if not await lease.acquire():
            raise ConflictError(ALREADY_RUNNING)
        return lease

    def _make_folder(self, job: Job) -> str:
        try:
            return self._place.folders.create_run_folder(job, self._place.clock.now())
        except OSError as error:
            raise UnavailableError(f"The folder of a new run cannot be made: {error}") from error

    def _occupy(self, slot: str) -> None:
        self._active[slot] = None
        self._quiet.clear()

    def _vacate(self, slot: str) -> None:
        del self._active[slot]
        self._vacated.set()
        self._vacated = asyncio.Event()
        if not self._active:
            self._quiet.set()

    # --- In the background

    async def _carry_out(self, active: TriggeredRun, lease: Singleton) -> None:
        try:
            await self._prune(active)
            active.run = await active.carry_out()
        finally:
            await lease.release()
            self._vacate(key(active.job.name))
            active.left.set()
        tell(self.on_finished, active.run)

    async def _prune(self, active: TriggeredRun) -> None:
        """Keep WEBJOBS_HISTORY_SIZE runs, this one included, on disk and in the store."""
        job, folders = active.job, self._place.folders
        keep = JobSettings.of(job, self._settings).history_size
        try:
            others = [run_id for run_id in folders.run_ids(job) if run_id != active.run.public_id]
            if surplus := others[keep - 1 :]:
                await self._place.programs.offload(partial(folders.remove_runs, job, surplus))
            await self._place.store.prune_runs(
                keep_per_name=keep, kind=RunKind.TRIGGERED, name=job.name
            )
        except (OSError, SchedulerError) as error:
            _log.warning("old runs of job %s stay for now: %s", job.name, error)


def _runs_of(job: Job) -> RunFilter:
    return RunFilter(kind=RunKind.TRIGGERED, name=job.name)
