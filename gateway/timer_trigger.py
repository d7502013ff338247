"""All timers: one task that sleeps until the first is due, one heap that knows which that is.

It sleeps by the monotonic clock and looks at the wall clock at least every 30 s. A clock put
forward makes ticks late, which the timers' own rules know; after a clock put back every plan is
made anew, and the store knows which ticks it has. What a tick does is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.function_timer import FunctionTimer
from gateway.job_timer import JobTimer
from gateway.timer_desk import Desk, Outlets, Tally, Timer
from gateway.timer_heap import Entry, Phase, TimerHeap
from scheduler import ticks
from scheduler.errors import BusyError, UnavailableError
from scheduler.functions import Function, Job, JobKind, TimerTrigger

if TYPE_CHECKING:
    from scheduler.catalog import Diff
    from scheduler.ticks import Plan

_log = logging.getLogger("taak.timers")

LOOK_AT_THE_WALL_S = 30.0
RETRY_S = 1.0
RETRY_AT_MOST_S = 30.0
#: A clock that is put back by less only makes the ticks wait so much longer.
_SET_BACK_S = 2.0
_LAUNCHED_AT_ONCE = 64
_ARMED_AT_ONCE = 64

Wait = Callable[[asyncio.Event, float], Awaitable[None]]


async def wait_in_loop(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set; it is set after so many seconds. No task is made for that."""
    alarm = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        alarm.cancel()


class _Reading(NamedTuple):
    """Both clocks at one moment."""

    wall: datetime
    monotonic: float


class Timers:
    """The timers of all functions and triggered jobs.

    `set`, `apply` and `stop` may be called at any time, before `run` too, from the loop's thread.
    """

    def __init__(self, outlets: Outlets, *, wait: Wait = wait_in_loop) -> None:
        self._desk = Desk(outlets=outlets)
        self._clock = outlets.clock
        self._wait = wait
        self._entries: dict[str, Entry] = {}
        self._heap = TimerHeap()
        self._to_arm: list[Entry] = []
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def tally(self) -> Tally:
        """Return what the timers have done since the start."""
        return self._desk.tally

    @property
    def armed(self) -> int:
        """Return how many timers have a next tick."""
        return sum(entry.plan is not None for entry in self._entries.values())

    def next_due(self, timer_id: str) -> datetime | None:
        """Return the instant of a timer's next tick; None if it has none, or not yet."""
        entry = self._entries.get(timer_id)
        return entry.plan.due if entry and entry.plan else None

    def set(self, functions: Iterable[Function], jobs: Iterable[Job]) -> None:
        """Make these all the timers there are; what is as it was is not touched."""
        wanted = {timer.id: timer for timer in self._timers(functions, jobs)}
        for timer_id in self._entries.keys() - wanted.keys():
            self._remove(timer_id)
        for timer in wanted.values():
            entry = self._entries.get(timer.id)
            if entry is None or entry.timer.definition != timer.definition:
                self._put(timer)

    def apply(self, diff: Diff) -> None:
        """Follow a deployment, touching the timers of what it has changed only."""
        functions = (*diff.functions_added, *diff.functions_changed)
        jobs = (*diff.jobs_added, *diff.jobs_changed)
        wanted = {timer.id: timer for timer in self._timers(functions, jobs)}
        functions = (*diff.functions_changed, *diff.functions_removed)
        jobs = (*diff.jobs_changed, *diff.jobs_removed)
        former = {ticks.function_timer(function.name) for function in functions}
        former |= {ticks.job_timer(job.name) for job in _triggered(jobs)}
        for timer_id in former - wanted.keys():
            self._remove(timer_id)
        for timer in wanted.values():
            self._put(timer)

    async def run(self) -> None:
        """Fire until `stop`, then until what has been fired is done."""
        async with asyncio.TaskGroup() as group:
            before = self._read()
            while not self._stopping.is_set():
                self._wake.clear()
                self._start_arming(group)
                await self._launch_due(group)
                if not self._wake.is_set():
                    await self._wait(self._wake, self._seconds_to_sleep())
                before = self._look_at_the_wall(before)

    def stop(self) -> None:
        """Fire nothing any more; `run` returns when the runs that are under way have ended."""
        self._stopping.set()
        self._wake.set()

    # --- What there is

    def _timers(self, functions: Iterable[Function], jobs: Iterable[Job]) -> Iterator[Timer]:
        for function in functions:
            if isinstance(function.trigger, TimerTrigger) and not function.disabled:
                yield FunctionTimer(function, self._desk)
        for job in _triggered(jobs):
            if job.schedule is not None:
                yield JobTimer(job, self._desk)
            elif job.schedule_error:
                self._desk.outlets.scheduler_log(job, "error", job.schedule_error)

    def _put(self, timer: Timer) -> None:
        entry = self._entries.get(timer.id)
        if entry is None:
            entry = self._entries[timer.id] = Entry(timer)
            self._arm_soon(entry)
            return
        entry.startup = True
        if entry.phase is Phase.WAITING:
            self._replace(entry, timer)
        else:
            entry.successor = timer
            if entry.phase is Phase.LEAVING:
                entry.to(Phase.FIRING)

    def _replace(self, entry: Entry, timer: Timer) -> None:
        timer.inherit(entry.timer)
        entry.timer, entry.successor = timer, None
        self._arm_soon(entry)

    def _remove(self, timer_id: str) -> None:
        entry = self._entries.get(timer_id)
        if entry is None:
            return
        if entry.phase is Phase.WAITING:
            self._forget(entry)
        elif entry.phase is not Phase.LEAVING:
            entry.successor = None
            entry.to(Phase.LEAVING)

    def _forget(self, entry: Entry) -> None:
        entry.to(Phase.GONE)
        self._heap.drop(entry)
        del self._entries[entry.timer.id]

    # --- Arming

    def _arm_soon(self, entry: Entry) -> None:
        entry.to(Phase.ARMING)
        entry.plan = None
        self._heap.drop(entry)
        self._to_arm.append(entry)
        self._wake.set()

    def _start_arming(self, group: asyncio.TaskGroup) -> None:
        if self._to_arm:
            todo = iter(self._to_arm)
            for _ in range(min(_ARMED_AT_ONCE, len(self._to_arm))):
                group.create_task(self._arm_each(todo))
            self._to_arm = []

    async def _arm_each(self, todo: Iterator[Entry]) -> None:
        for entry in todo:
            await self._arm(entry)

    async def _arm(self, entry: Entry) -> None:
        if entry.phase is Phase.LEAVING or entry.successor is not None:
            self._settle(entry, None)
            return
        try:
            plan = await entry.timer.arm(startup=entry.startup)
        except Exception as error:  # noqa: BLE001 - one timer's trouble is no other's
            retry_at = self._retry_at(entry, error)
            self._settle(entry, None)
            if entry.phase is Phase.WAITING:
                self._push(entry, retry_at)  # without a plan: it is armed then
        else:
            entry.failures = 0
            self._settle(entry, plan)

    # --- Firing

    async def _launch_due(self, group: asyncio.TaskGroup) -> None:
        launched = 0
        while not self._stopping.is_set():
            entry = self._heap.pop(self._clock.now())
            if entry is None:
                return
            if entry.plan is None:
                self._arm_soon(entry)
                continue
            entry.to(Phase.FIRING)
            group.create_task(self._fire(entry, entry.plan))
            launched += 1
            if launched % _LAUNCHED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _fire(self, entry: Entry, plan: Plan) -> None:
        if not entry.failures:
            self._note_lateness(entry.timer, plan)
        try:
            following = await entry.timer.fire(plan)
        except Exception as error:  # noqa: BLE001 - one timer's trouble is no other's
            following = replace(plan, at=self._retry_at(entry, error))
        else:
            entry.failures = 0
        self._settle(entry, following)

    def _note_lateness(self, timer: Timer, plan: Plan) -> None:
        seconds = (self._clock.now() - plan.at).total_seconds()
        self.tally.note_lateness(seconds)
        self._desk.outlets.observe_lag(timer.kind, timer.name, seconds)

    def _retry_at(self, entry: Entry, error: Exception) -> datetime:
        entry.failures += 1
        self.tally.retried += 1
        delay_s = min(RETRY_AT_MOST_S, RETRY_S * 2 ** min(entry.failures - 1, 10))
        trace = None if isinstance(error, (BusyError, UnavailableError)) else error
        text = "the timer %s is tried again in %.0f s: %s"
        _log.warning(text, entry.timer.id, delay_s, error, exc_info=trace)
        return self._clock.now() + timedelta(seconds=delay_s)

    def _settle(self, entry: Entry, plan: Plan | None) -> None:
        """End the work on a timer; only now what was decided about it meanwhile is done."""
        if entry.phase is Phase.LEAVING:
            self._forget(entry)
        elif entry.successor is not None:
            self._replace(entry, entry.successor)
        else:
            entry.plan = plan
            entry.to(Phase.WAITING)
            if plan is not None:
                self._push(entry, plan.at)

    # --- The clocks

    def _push(self, entry: Entry, at: datetime) -> None:
        if self._heap.push(entry, at):
            self._wake.set()

    def _seconds_to_sleep(self) -> float:
        first_at = self._heap.first_at
        if first_at is None:
            return LOOK_AT_THE_WALL_S
        seconds = (first_at - self._clock.now()).total_seconds()
        return min(max(seconds, 0.0), LOOK_AT_THE_WALL_S)

    def _read(self) -> _Reading:
        return _Reading(self._clock.now(), self._clock.monotonic())

    def _look_at_the_wall(self, before: _Reading) -> _Reading:
        now = self._read()
        elapsed_s = now.monotonic - before.monotonic
        back_s = elapsed_s - (now.wall - before.wall).total_seconds()
        if back_s > _SET_BACK_S:
            _log.warning("the clock was put back by %.0f s: all timers are planned anew", back_s)
            self._plan_anew()
        return now

    def _plan_anew(self) -> None:
        for entry in self._entries.values():
            if entry.phase is Phase.WAITING:
                entry.startup = False
                self._arm_soon(entry)
            elif entry.phase is Phase.FIRING and entry.successor is None:
                entry.startup = False
                entry.successor = entry.timer


def _triggered(jobs: Iterable[Job]) -> Iterator[Job]:
    return (job for job in jobs if job.kind is JobKind.TRIGGERED)
