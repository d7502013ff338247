"""All continuous jobs of this instance: which there are, and the orders of their operators.

Each job is one task in one task group and looks after itself (`continuous_job.py`). Here jobs
appear, change and go with deployments, and all of them stop together, in parallel, at the end.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

from sandbox.users import Users
from scheduler.clock import Clock, SystemClock
from scheduler.continuous_job import ContinuousJob, Departure
from scheduler.continuous_place import JobPlace
from scheduler.continuous_state import ContinuousStatus
from scheduler.continuous_turn import LEASES
from scheduler.debugging import Debugging, DebugSession, debugger_for
from scheduler.desired_state import DesiredState
from scheduler.errors import NotFoundError, SchedulerError
from scheduler.functions import Job, JobKind, key
from scheduler.instance_statuses import Summary, elsewhere, summary
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.job_program import JobPrograms, Launcher
from scheduler.singleton import release_stale
from scheduler.store.port import Member, Store

_log = logging.getLogger("taak.jobs")

#: What was decided at another instance is followed here after so long.
DECISION_LOOK_S = 2.0
_MEMBERS_S = 1.0
_SHUTTING_DOWN = "WebJob is stopping due to website shutting down"


class JobsDiff(Protocol):
    """What a deployment did to jobs: `scheduler.catalog.Diff` as far as it is read here."""

    @property
    def jobs_added(self) -> tuple[Job, ...]:
        """Return jobs that are new."""

    @property
    def jobs_changed(self) -> tuple[Job, ...]:
        """Return the new definitions of jobs that differ."""

    @property
    def jobs_removed(self) -> tuple[Job, ...]:
        """Return jobs that are gone."""


class ContinuousJobs:
    """Keeps every continuous job as its operator wants it."""

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
        logs: JobLogs | None = None,
        retry_s: float = 60.0,
    ) -> None:
        clock = clock or SystemClock()
        self._place = JobPlace(
            launcher=launcher,
            store=store,
            folders=folders,
            programs=programs or JobPrograms(folders, instance, settings or {}, users=users),
            logs=logs or JobLogs(folders, instance=instance, now=clock.now),
            instance=instance,
            clock=clock,
            settings=settings or {},
            retry_s=retry_s,
        )
        self._desired = DesiredState(store, instance)
        self._members: tuple[float, list[Member]] = (float("-inf"), [])
        self._jobs: dict[str, ContinuousJob] = {}
        self._waiting: dict[str, Job] = {}  # known before `serve`
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    @property
    def on_status(self) -> list[Callable[[Job, ContinuousStatus], None]]:
        """Return the callbacks that hear of every change of a job's state."""
        return self._place.on_status

    # --- Life

    async def serve(self) -> None:
        """Run the jobs until `drain`."""
        await release_stale(self._place.store, LEASES, self._place.instance)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for job in self._waiting.values():
                self._begin(job, group)
            following = group.create_task(self._follow_decisions())
            await self._closing.wait()
            following.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Stop all jobs at the same time; none takes longer than this."""
        self._closing.set()
        jobs = list(self._jobs.values())
        for job in jobs:
            job.depart(Departure(_SHUTTING_DOWN, timeout_s))
        for job in jobs:
            await job.gone.wait()

    def apply(self, diff: JobsDiff) -> None:
        """Follow a deployment. A job whose definition did not change is not touched."""
        for job in _continuous(diff.jobs_removed):
            self._remove(key(job.name))
        for job in _continuous((*diff.jobs_added, *diff.jobs_changed)):
            self._define(job)

    # --- Orders

    async def start(self, job_name: str) -> None:
        """Let the job run, now and after every restart of the platform."""
        job = self._job(job_name)
        _refuse_without_script(job.job)
        await self._desired.set(job.job, running=True)
        job.wake()

    async def stop(self, job_name: str) -> None:
        """Stop the job for good; returns when that is decided, the process may still end."""
        job = self._job(job_name)
        await self._desired.set(job.job, running=False)
        job.disable()

    async def ended(self, job_name: str) -> None:
        """Return when a job that was told to stop has come to rest."""
        job = self._jobs.get(key(job_name))
        if job is not None:
            await job.resting.wait()

    async def forget(self, job: Job) -> None:
        """Wait for the end of a job that was removed, and drop what was decided about it."""
        last = self._jobs.get(key(job.name))
        if last is not None and last.departing:
            await last.gone.wait()
        await self._desired.forget(job)

    async def restart(self, job_name: str) -> None:
        """Stop the process, if there is one, and start it anew."""
        job = self._job(job_name)
        _refuse_without_script(job.job)
        await self._desired.set(job.job, running=True)
        job.poke()

    async def dial(self, job_name: str) -> socket.socket:
        """Return a connection to the port that the job was given; see `JobReach.own_port`."""
        return await self._job(job_name).reach.own_port()

    async def debug(
        self, job_name: str, *, private_network: bool, wait: bool, duration_s: float
    ) -> DebugSession:
        """Run the job under its debugger for so long; see `Debugging.begin`.

        Raises:
            NotDebuggableError: with the reason.
        """
        job = self._job(job_name)
        _refuse_without_script(job.job)
        debugger = debugger_for(job.job, private_network=private_network)
        await self._desired.set(job.job, running=True)
        return job.debugging.begin(debugger, wait=wait, duration_s=duration_s)

    def debugging(self, job_name: str) -> Debugging:
        """Return the debugging of a job; NotFoundError for an unknown one."""
        return self._job(job_name).debugging

    def status(self, job_name: str) -> ContinuousStatus:
        """Return how a job is now; NotFoundError for an unknown one."""
        return self._job(job_name).status

    def states(self) -> dict[str, str]:
        """Return the state of every job, by name."""
        return {job.job.name: job.status.state.value for job in self._jobs.values()}

    async def summary(self, job: Job) -> Summary:
        """Return how a job is over all instances that live."""
        known = self._jobs.get(key(job.name))
        own = {} if known is None else {self._place.instance: known.status.state.value}
        others = elsewhere(await self._living(), self._place.instance, job.name)
        return summary({**others, **own}, self._place.instance)

    async def _living(self) -> list[Member]:
        """Return the members, as they were a moment ago: a list of jobs asks for each of them."""
        now = self._place.clock.monotonic()
        if now - self._members[0] >= _MEMBERS_S:
            try:
                self._members = (now, await self._place.store.members())
            except SchedulerError as error:
                _log.warning("other instances are not known: %s", error)
                self._members = (now, [])
        return self._members[1]

    async def _follow_decisions(self) -> None:
        """Heed what is decided at other instances."""
        known: dict[str, int] = {}
        while True:
            await self._place.clock.sleep(DECISION_LOOK_S)
            try:
                found = await self._desired.revisions()
                for slot in [slot for slot, rev in found.items() if known.get(slot) != rev]:
                    job = self._jobs.get(slot)
                    if job is not None and not job.departing:
                        await job.heed()
            except SchedulerError as error:
                _log.warning("decisions of other instances are not known: %s", error)
            else:
                known = found

    # --- Jobs come and go

    def _define(self, job: Job) -> None:
        known = self._jobs.get(key(job.name))
        if self._group is None:
            self._waiting[key(job.name)] = job
        elif known is None or known.departing:
            self._begin(job, self._group)
        else:
            known.define(job)

    def _begin(self, job: Job, group: asyncio.TaskGroup) -> None:
        if self._closing.is_set():
            return
        # A job that comes back at once waits until the last process of its name is gone.
        previous = self._jobs.get(key(job.name))
        begun = self._jobs[key(job.name)] = ContinuousJob(self._place, job, group)
        after = previous.gone if previous else None
        group.create_task(begun.serve(after), name=f"job {job.name}")

    def _remove(self, slot: str) -> None:
        self._waiting.pop(slot, None)
        job = self._jobs.get(slot)
        if job is None or self._group is None:
            return
        job.depart(Departure())
        self._group.create_task(self._clear(slot, job), name=f"remove job {slot}")

    async def _clear(self, slot: str, job: ContinuousJob) -> None:
        await job.gone.wait()
        if self._jobs.get(slot) is job:
            del self._jobs[slot]
            await self._place.programs.discard(job.job)

    def _job(self, name: str) -> ContinuousJob:
        job = self._jobs.get(key(name))
        if job is None or job.departing:
            raise NotFoundError(f"There is no continuous job named {name!r}.")
        return job


def _continuous(jobs: tuple[Job, ...]) -> list[Job]:
    return [job for job in jobs if job.kind is JobKind.CONTINUOUS]


def _refuse_without_script(job: Job) -> None:
    if job.error:
        raise NotFoundError(f"Job {job.name} cannot start: {job.error}")
