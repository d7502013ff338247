"""The timer of a triggered job: what its tick does, by webjobs.md 2.3 and the job's policy.

The run itself belongs to `scheduler/triggered.py`, which records the tick in one commit with it. A
tick that starts no run is recorded here, so that the history tells of every one.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from scheduler import ticks
from scheduler.errors import BadRequestError, ConflictError, DisabledError, NotFoundError
from scheduler.job_policy import Misfire, Overlap
from scheduler.job_settings import JobSettings
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
        self._misfire = job.policy.misfire
        self._schedule = job.schedule
        self._desk = desk

    def inherit(self, before: Timer) -> None:
        """Take nothing over: the store knows all that counts."""

    async def arm(self, *, startup: bool) -> Plan | None:  # noqa: ARG002 - a start is no tick
        """Return the first plan; at once if missed ticks are made good."""
        if self._is_switched_off():
            return None
        now = self._desk.outlets.clock.now()
        plan = await self._begin(await self._last(), now)
        self._say("info", ticks.scheduling_text(self._schedule, plan, now))
        return plan

    async def fire(self, plan: Plan) -> Plan | None:
        """Start the run and return the next plan, without waiting for the run's end."""
        if self._is_switched_off():
            return None
        clock = self._desk.outlets.clock
        begun = clock.now()
        if self._misfire is Misfire.ALL:
            following = await self._fire_each(plan, begun)
        else:
            following = await self._fire_one(plan, begun)
        self._say("info", ticks.next_text(following, clock.now()))
        return following

    async def _fire_one(self, plan: Plan, begun: datetime) -> Plan | None:
        """Run this tick for all that have passed meanwhile."""
        if plan.late(begun) and not ticks.is_made_good(self._misfire, begun - plan.due):
            await self._miss(plan.due - _HAIR, begun)
        else:
            await self._start(plan)
            await self._miss(plan.due, begun)
        now = self._desk.outlets.clock.now()
        return await self._desk.reckon(lambda: ticks.after_tick(self._schedule, plan, now))

    async def _fire_each(self, plan: Plan, begun: datetime) -> Plan | None:
        """Run this tick; the next one may have passed as well, and is run then."""
        if plan.late(begun):  # the machine slept: not more than the limit of what it slept through
            return await self._begin(plan.due - _HAIR, begun)
        await self._start(plan)
        now = self._desk.outlets.clock.now()
        start = await self._desk.reckon(
            lambda: ticks.start_job(self._schedule, plan.due, now, self._misfire)
        )
        return start.plan

    async def _begin(self, last: datetime | None, now: datetime) -> Plan | None:
        """Return the plan after `last`, and record what is missed for good."""
        if self._misfire is Misfire.ALL and last is not None:
            last = await self._shorten(last, now)
        begin = await self._desk.reckon(
            lambda: ticks.start_job(self._schedule, last, now, self._misfire)
        )
        if begin.missed_after is not None:
            await self._miss(begin.missed_after, now)
        return begin.plan

    async def _shorten(self, last: datetime, now: datetime) -> datetime:
        """Return an instant behind which there are no more missed ticks than are made good."""
        oldest = now
        for _ in range(self._job.policy.misfire_limit):
            before = partial(self._schedule.last_before, oldest, last)
            found = await self._desk.reckon(before)
            if found is None:
                return last
            oldest = found
        await self._miss(last, oldest - _HAIR)
        return oldest - _HAIR

    async def _start(self, plan: Plan) -> None:
        outlets, policy = self._desk.outlets, self._job.policy
        made_good = plan.reason is ticks.Reason.PAST_DUE and self._misfire is Misfire.ALL
        may_wait = made_good or policy.overlap is Overlap.QUEUE
        text = ticks.trigger_text(self._schedule)
        try:
            run = await outlets.start_tick(self._job, plan.due, text, may_wait=may_wait)
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
        return JobSettings.of(self._job, self._desk.outlets.settings()).schedule_disabled

    def _say(self, level: str, message: str) -> None:
        self._desk.outlets.scheduler_log(self._job, level, message)
