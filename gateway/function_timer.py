"""The timer of a function: what its tick does, by the rules of functions.md 8.

A tick is recorded in the store before anything runs; what is past due after a restart is told by a
status that is saved after each run. When to wake is the business of `timer_trigger.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scheduler import ticks
from scheduler.errors import BusyError, UnavailableError
from scheduler.events import DataEvent
from scheduler.functions import TimerTrigger
from scheduler.ticks import Reason, TimerStatus

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.timer_desk import Desk, Timer
    from scheduler.functions import Function, Job
    from scheduler.run import Run
    from scheduler.ticks import Plan

_log = logging.getLogger("taak.timers")


class FunctionTimer:
    """A function with a timerTrigger. `status` is what its next run is told about the last one."""

    kind = "function"

    def __init__(self, function: Function, desk: Desk) -> None:
        assert isinstance(function.trigger, TimerTrigger)
        self.name = function.name
        self.id = ticks.function_timer(function.name)
        self.status: TimerStatus | None = None
        self.definition: Function | Job = function
        self._function = function
        self._trigger = function.trigger
        self._desk = desk
        self._recorded: tuple[datetime, Run] | None = None  # a tick of ours that is still to be run

    def inherit(self, before: Timer) -> None:
        """Go on where the former definition's timer was: new code alone moves no tick."""
        if isinstance(before, FunctionTimer):
            self.status = before.status

    async def arm(self, *, startup: bool) -> Plan | None:
        """Return the first plan, and save the status that explains it."""
        now = self._desk.outlets.clock.now()
        known = self.status or await self._load()
        run_on_startup = startup and self._trigger.run_on_startup
        begin = await self._desk.reckon(
            lambda: ticks.start(self._trigger.schedule, known, now, run_on_startup=run_on_startup)
        )
        if begin.status != known:
            await self._save(begin.status)
        self.status = begin.status
        return begin.plan

    async def fire(self, plan: Plan) -> Plan | None:
        """Run the tick to its end and return the next plan: runs never overlap."""
        clock, schedule = self._desk.outlets.clock, self._trigger.schedule
        run = await self._record(plan)
        if run is None:
            return await self._leave(plan)
        started = clock.now()
        await self._invoke(plan, run, started)
        self._recorded = None
        self.status = await self._desk.reckon(
            lambda: ticks.after_run(schedule, self.status, plan, started)
        )
        await self._save_or_warn(self.status)
        await self._desk.miss(self.id, schedule, plan.due, started)
        return ticks.following(self.status, clock.now())

    async def _record(self, plan: Plan) -> Run | None:
        """Return the run of this tick, or None if the tick is not ours to run."""
        if self._recorded is not None and self._recorded[0] == plan.due:
            return self._recorded[1]
        outlets = self._desk.outlets
        run = await outlets.record_tick(self._function, plan.due)
        if run is None and await self._was_cut_off(plan):
            run = await outlets.record_again(self._function)
        if run is not None:
            self._recorded = (plan.due, run)
        return run

    async def _was_cut_off(self, plan: Plan) -> bool:
        """Tell whether a recorded tick was begun by us in an earlier life, and never ended.

        Where others share the store it may be theirs, and running now.
        """
        if plan.reason is not Reason.PAST_DUE or self.status is None:
            return False
        if self.status.has_done(plan.due):
            return False
        return not (await self._desk.outlets.store.capabilities()).shared

    async def _leave(self, plan: Plan) -> Plan | None:
        """Leave a tick to whoever has recorded it, and look at what became of the one before."""
        self.status = await self._load() or self.status
        now = self._desk.outlets.clock.now()
        schedule = self._trigger.schedule
        return await self._desk.reckon(lambda: ticks.after_tick(schedule, plan, now))

    async def _invoke(self, plan: Plan, run: Run, started: datetime) -> None:
        past_due = plan.reason is Reason.PAST_DUE or plan.late(started)
        if past_due or plan.reason is Reason.STARTUP:
            _log.info(
                "Trigger Details of Functions.%s: UnscheduledInvocationReason: %s, "
                "OriginalSchedule: %s",
                self.name,
                (Reason.PAST_DUE if past_due else plan.reason).value,
                plan.due.isoformat(),
            )
        status = self.status if self._trigger.use_monitor else None
        text = ticks.payload(self._trigger.schedule, status, past_due=past_due)
        event = DataEvent("timertrigger", "json", text)
        try:
            await self._desk.outlets.fire_function(run, self._function, event)
        except (BusyError, UnavailableError):
            raise  # nothing has run: the tick is tried again
        except Exception:  # noqa: BLE001 - whatever one run does wrong, the next tick comes
            _log.exception("the tick of %s at %s broke", self.id, plan.due.isoformat())
        self._desk.tally.fired += 1

    async def _load(self) -> TimerStatus | None:
        if not self._trigger.use_monitor:
            return None
        value = await self._desk.outlets.store.get_config(ticks.status_key(self.name))
        return TimerStatus.from_json(value.value) if value is not None else None

    async def _save(self, status: TimerStatus) -> None:
        if self._trigger.use_monitor:
            store = self._desk.outlets.store
            await store.put_config(ticks.status_key(self.name), status.to_json())

    async def _save_or_warn(self, status: TimerStatus) -> None:
        """Save what a run has changed; that it cannot be saved must not run the tick again."""
        try:
            await self._save(status)
        except UnavailableError as error:
            _log.warning("the status of %s is not saved until its next run: %s", self.id, error)
