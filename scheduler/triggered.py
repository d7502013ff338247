"""Triggered jobs: who may start one, its history, and what becomes of runs at start and stop.

A run is accepted when its row is committed; it is carried out in the background by
`triggered_run.py`, in a place of `run_slots.py`. One run of a job at a time over all instances
(webjobs.md 5.2), unless the job's policy allows more, or lets runs wait (`run_queue.py`). A run
that is found under way when the platform starts is closed as aborted and never run again by itself
(promise D3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sandbox.cpu_time import tree_ticks
from sandbox.users import Users
from scheduler.clock import Clock, SystemClock, within
from scheduler.continuous import JobsDiff
from scheduler.errors import ConflictError, NotFoundError, SchedulerError
from scheduler.functions import Job
from scheduler.job_environment import split_arguments
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.job_policy import OnBusy
from scheduler.job_program import JobPrograms, Launcher
from scheduler.left_over_runs import close_left_over_runs, close_runs_of_the_dead
from scheduler.listeners import tell
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.run_history import RunHistory
from scheduler.run_intake import ALREADY_RUNNING, STOPPED, Accept, RunIntake
from scheduler.run_queue import RunQueue
from scheduler.run_slots import LEASES, RunSlots, Slot
from scheduler.singleton import release_stale
from scheduler.store.port import NewRun, Store
from scheduler.ticks import job_timer
from scheduler.triggered_run import RunPlace, TriggeredRun, Verdict

__all__ = ["ALREADY_RUNNING", "CANCEL_VERB", "STOPPED", "TriggeredJobs"]

_log = logging.getLogger("taak.jobs")
#: How often it is looked whether an instance has died and left runs open.
DEAD_LOOK_S = 5.0
#: What an instance is asked to do that carries out a run which somebody cancels at another.
CANCEL_VERB = "cancel_run"
_SHUT_DOWN = Verdict(
    RunState.ABORTED, "host_shutdown", "WebJob run was aborted: the platform is shutting down"
)

_BY_REQUEST = "cancelled by request"


class TriggeredJobs:
    """Starts runs, one at a time for each job unless its policy says otherwise.

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
        logs: JobLogs | None = None,
        cpu_ticks: Callable[[int], int | None] = tree_ticks,
    ) -> None:
        self.on_finished: list[Callable[[Run], None]] = []
        self.recovered = asyncio.Event()
        self._settings = settings or {}
        clock = clock or SystemClock()
        self._place = RunPlace(
            launcher=launcher,
            store=store,
            folders=folders,
            programs=programs or JobPrograms(folders, instance, self._settings, users=users),
            logs=logs or JobLogs(folders, instance=instance, now=clock.now),
            instance=instance,
            clock=clock,
            cpu_ticks=cpu_ticks,
            settings=self._settings,
        )
        self._slots = RunSlots(store, folders, self._place.clock, instance)
        self._queue = RunQueue(self._place, self._slots, self._begin)
        self._intake = RunIntake(self._place, self._slots, self._queue, self._begin)
        self._history = RunHistory(self._place)
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    # --- Life

    async def serve(self) -> None:
        """Close what an earlier process left, then carry out runs until `drain` has ended."""
        await release_stale(self._place.store, LEASES, self._place.instance)
        await self.recover()
        self.recovered.set()
        async with asyncio.TaskGroup() as group:
            self._group = self._intake.group = group
            beside = [
                group.create_task(self._queue.serve(group)),
                group.create_task(self._bury_the_dead()),
            ]
            await self._closing.wait()
            for task in beside:
                task.cancel()
            await self._slots.quiet.wait()

    async def recover(self) -> list[Run]:
        """Close the runs that an earlier process of this instance left open."""
        return await close_left_over_runs(self._place)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new runs, wait for active ones within their grace, then end the rest."""
        self._closing.set()
        self._intake.close()
        active, quiet = self._slots.runs(), self._slots.quiet
        grace_s = max((run.job.stopping_wait_s for run in active), default=timeout_s)
        if not await within(self._place.clock, min(timeout_s, grace_s), quiet):
            for run in self._slots.runs():
                run.end(_SHUT_DOWN)
            await quiet.wait()

    def apply(self, diff: JobsDiff) -> None:
        """Follow a deployment: what waits for a job may begin, or never will."""
        self._queue.remove(diff.jobs_removed)
        self._queue.define((*diff.jobs_added, *diff.jobs_changed))

    # --- Starting and ending

    async def start(self, job: Job, *, trigger: str, arguments: str = "") -> Run:
        """Accept a run: it is durable when this returns, and starts in the background.

        A job that queues lets it wait if it must; the row then says `queued`.

        Raises BadRequestError (arguments), ConflictError (running, no room to wait, jobs are
        stopped), NotFoundError (nothing to run), UnavailableError (the store or the disk refuses).
        """
        split_arguments(arguments)
        may_wait = job.policy.on_busy is OnBusy.QUEUE
        run = await self._accept(may_wait)(job, trigger, arguments, self._place.store.create_run)
        assert run is not None
        return run

    async def start_tick(
        self, job: Job, due_at: datetime, trigger: str, *, may_wait: bool = False
    ) -> Run | None:
        """Accept the run of a tick, in one commit with it; None if the tick is recorded already.

        Raises like `start`; nothing is recorded then: the caller decides what becomes of it.
        """

        async def fire(new: NewRun) -> Run | None:
            fired = await self._place.store.fire(job_timer(job.name), due_at, run=new)
            return fired.run if fired else None

        return await self._accept(may_wait)(job, trigger, "", fire)

    async def cancel(self, job: Job, public_id: str, *, grace_s: float | None = None) -> None:
        """End a run that waits, or goes on: SIGTERM, the job's grace unless given, SIGKILL.

        One that another instance carries out is ended there, a moment later.
        """
        grace_s = job.stopping_wait_s if grace_s is None else grace_s
        if self._end_here(job.name, public_id, grace_s):
            return
        run = await self.find(job, public_id)
        if run is None:
            raise NotFoundError(f"Job {job.name} has no run {public_id}.")
        if run.state is RunState.QUEUED and await self._queue.withdraw(run, _BY_REQUEST):
            return
        run = await self.find(job, public_id) or run
        if is_final(run.state):
            raise ConflictError(f"Run {public_id} has already ended: {run.state.value}.")
        if not self._end_here(job.name, public_id, grace_s):
            await self._ask_its_instance(run, grace_s)

    async def cancel_by_order(self, order: Mapping[str, Any]) -> str:
        """Carry out another instance's order to cancel a run; return what is to be answered."""
        name, public_id = str(order.get("job")), str(order.get("run"))
        ended = self._end_here(name, public_id, float(order.get("grace_s", 0.0)))
        return "done" if ended else f"run {public_id} of job {name} does not go on here"

    async def end_all(self, job: Job, reason: str, *, grace_s: float) -> None:
        """End everything of a job that waits or goes on here, and return when it has ended."""
        await self._queue.withdraw_all(job.name, reason)
        for active in self._slots.runs(job.name):
            active.end(_cancelled(reason), grace_s=grace_s)
        await self.ended(job)

    async def ended(self, job: Job) -> None:
        """Return when no run of the job is in progress here."""
        await self._slots.empty(job)

    async def forget(self, job: Job) -> None:
        """Remove the history of a job that was deleted: the next job of this name is another."""
        await self._history.forget(job)

    # --- Looking

    def active(self, job: Job) -> Run | None:
        """Return the run that is in progress here, the newest if there are several."""
        active = self._slots.runs(job.name)
        return active[-1].run if active else None

    def goes_on(self, run: Run) -> bool:
        """Tell whether a run waits or is in progress here; it costs no call of the store."""
        here = [active.run.id for active in self._slots.runs(run.name)]
        return run.id in here or self._queue.holds(run)

    async def latest(self, job: Job) -> Run | None:
        """Return the newest run."""
        return await self._history.latest(job)

    async def history(self, job: Job) -> list[Run]:
        """Return the runs that are kept, newest first."""
        return await self._history.runs(job)

    async def find(self, job: Job, public_id: str) -> Run | None:
        """Return one run."""
        return await self._place.store.find_run(RunKind.TRIGGERED, job.name, public_id)

    # --- In the background

    def _accept(self, may_wait: bool) -> Accept:
        return self._intake.let_wait if may_wait else self._intake.let_begin

    def _begin(self, job: Job, slot: Slot, run: Run) -> None:
        """Carry out an accepted run in its place, in the background."""
        assert self._group is not None
        active = slot.run = TriggeredRun(self._place, job, run)
        if self._closing.is_set():  # the drain began while the row was being made
            active.end(_SHUT_DOWN)
        name = f"run {job.name} {run.public_id}"
        self._group.create_task(self._carry_out(active, slot), name=name)

    def _end_here(self, name: str, public_id: str, grace_s: float) -> bool:
        for active in self._slots.runs(name):
            if active.run.public_id == public_id:
                active.end(_cancelled(_BY_REQUEST), grace_s=grace_s)
                return True
        return False

    async def _ask_its_instance(self, run: Run, grace_s: float) -> None:
        alive = {member.instance for member in await self._place.store.members() if member.alive}
        if run.instance not in alive:
            raise ConflictError(
                f"Run {run.public_id} is carried out by instance {run.instance}, which does not "
                "answer; its runs are closed as aborted as soon as that is sure."
            )
        order = {"job": run.name, "run": run.public_id, "grace_s": grace_s}
        await self._place.store.send_command(CANCEL_VERB, target=run.instance, args=order)

    async def _carry_out(self, active: TriggeredRun, slot: Slot) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._prune(active))
                active.run = await active.carry_out()
        finally:
            await self._slots.leave(slot)
            active.left.set()
            self._queue.look()
        tell(self.on_finished, active.run)

    async def _bury_the_dead(self) -> None:
        while True:
            await self._place.clock.sleep(DEAD_LOOK_S)
            try:
                await close_runs_of_the_dead(self._place)
            except SchedulerError as error:
                _log.warning("runs of dead instances are not looked for: %s", error)

    async def _prune(self, active: TriggeredRun) -> None:
        await active.begun.wait()  # the program first
        await self._history.prune(active.job, active.run)


def _cancelled(reason: str) -> Verdict:
    return Verdict(RunState.CANCELLED, reason, f"WebJob run was {reason}")
