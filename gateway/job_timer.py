"""The timer of a triggered job: what its tick does, by the rules of webjobs.md 2.3.

The run itself belongs to `scheduler/triggered.py`, which records the tick in one commit with it. A
tick that starts no run is recorded here, so that the history tells of every one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler import ticks
from scheduler.app_settings import is_true, lookup
from scheduler.errors import BadRequestError, ConflictError, DisabledError, NotFoundError
from scheduler.store.port import TickOutcome

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.timer_desk import Desk, Timer
    from scheduler.functions import Function, Job
    from scheduler.ticks import Plan

_HAIR = timedelta(microseconds=1)
_REFUSALS = (ConflictError, DisabledError, NotFoundError, BadRequestError)


class JobTimer:
    """A triggered job with a schedule."""

    kind = "triggered"

    def __init__(self, job: Job, desk: Desk) -> None:
        assert job.schedule is not None
        self.name = job.name
        self.id = ticks.job_timer(job.name)
        self.definition: Function | Job = job
        self._job = job
        self._schedule = job.schedule
        self._desk = desk

    def inherit(self, before: Timer) -> None:
        """Take nothing over: the store knows all that counts."""

    async def arm(self, *, startup: bool) -> Plan | None:  # noqa: ARG002 - a start is no tick
        """Return the first plan; one run at once if the oldest missed tick is recent."""
        if self._is_switched_off():
            return None
        now = self._desk.outlets.clock.now()
        last = await self._last()
        begin = await self._desk.reckon(lambda: ticks.start_job(self._schedule, last, now))
        if begin.missed_after is not None:
            await self._miss(begin.missed_after, now)
        self._say("info", ticks.scheduling_text(self._schedule, begin.plan, now))
        return begin.plan

    async def fire(self, plan: Plan) -> Plan | None:
        """Start the run and return the next plan, without waiting for the run's end."""
        if self._is_switched_off():
            return None
        clock = self._desk.outlets.clock
        begun = clock.now()
        if plan.late(begun) and begun - plan.due > ticks.CATCH_UP:
            await self._miss(plan.due - _HAIR, begun)
        else:
            await self._start(plan)
            await self._miss(plan.due, begun)
        now = clock.now()
        following = await self._desk.reckon(lambda: ticks.after_tick(self._schedule, plan, now))
        self._say("info", ticks.next_text(following, now))
        return following

    async def _start(self, plan: Plan) -> None:
        outlets = self._desk.outlets
        try:
            run = await outlets.start_tick(self._job, plan.due, ticks.trigger_text(self._schedule))
        except _REFUSALS as refusal:
            await self._skip(plan, refusal)
            return
        if run is not None:  # else somebody has recorded the tick before
            self._desk.tally.fired += 1
            self._say("info", "WebJob invoked")

    async def _skip(self, plan: Plan, refusal: Exception) -> None:
        store = self._desk.outlets.store
        if await store.fire(self.id, plan.due, outcome=TickOutcome.SKIPPED) is not None:
            self._desk.tally.skipped += 1
            local = ticks.wall_text(self._schedule, plan.due)
            self._say("warn", f"Skipped the schedule at {local}: {refusal}")

    async def _miss(self, after: datetime, until: datetime) -> None:
        missed = await self._desk.miss(self.id, self._schedule, after, until)
        if missed is not None:
            self._say("warn", ticks.missed_text(self._schedule, missed.count, missed.newest))

    async def _last(self) -> datetime | None:
        """Return when the job last ran, or a tick of it was last decided about.

        Kudu asks the runs alone, and so makes good a tick again that it had skipped for a run that
        was active.
        """
        outlets = self._desk.outlets
        run = await outlets.latest_run(self._job)
        tick = await outlets.store.last_tick(self.id)
        times = [(run.started_at or run.created_at) if run else None, tick.due_at if tick else None]
        return max((time for time in times if time is not None), default=None)

    def _is_switched_off(self) -> bool:
        settings = self._desk.outlets.settings()
        return is_true(lookup(settings, "WEBJOBS_DISABLE_SCHEDULE"))

    def _say(self, level: str, message: str) -> None:
        self._desk.outlets.scheduler_log(self._job, level, message)
