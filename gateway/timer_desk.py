"""What all timers of a platform share: what they reach, what they count, their turns at computing.

It holds no timer and no rule.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from scheduler import ticks
from scheduler.errors import UnavailableError
from scheduler.store.port import TickOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from scheduler.clock import Clock
    from scheduler.events import DataEvent
    from scheduler.functions import Function, Job
    from scheduler.run import Run
    from scheduler.schedule import Schedule
    from scheduler.store.port import Store
    from scheduler.ticks import Plan

_log = logging.getLogger("taak.timers")
_T = TypeVar("_T")

#: So many missed ticks of one gap are counted; of these, the latest are recorded one by one.
MISSED_COUNTED = 1000
MISSED_RECORDED = 20
_SLICE_S = 0.005
_SLICE_TURNS = 50
#: Cron's grain: nothing is missed within it.
_GRAIN = timedelta(seconds=1)
_HAIR = timedelta(microseconds=1)


class StartTick(Protocol):
    """Records a job's tick with its run and starts it, or lets it wait if it may.

    None if the tick is recorded already, ConflictError if there is no place for the run.
    """

    async def __call__(
        self, job: Job, due_at: datetime, trigger: str, *, may_wait: bool = False
    ) -> Run | None:
        """Return the run."""


class Timer(Protocol):
    """What has ticks: a function or a triggered job. One call at a time."""

    id: str
    name: str
    kind: str
    definition: Function | Job

    def inherit(self, before: Timer) -> None:
        """Take over from the timer of the same thing's former definition."""

    async def arm(self, *, startup: bool) -> Plan | None:
        """Return the first plan; `startup`: the platform or the definition is new."""

    async def fire(self, plan: Plan) -> Plan | None:
        """Carry out a plan and return the next one. If it raises, the plan is tried again."""


@dataclass(frozen=True, kw_only=True)
class Outlets:
    """What a timer reaches. All calls may raise UnavailableError: then the tick is tried again.

    Attributes:
        store: records ticks, keeps statuses.
        clock: the time that schedules live by.
        record_tick: records a function's tick with its run: (function, due_at); None if the tick is
            recorded already.
        record_again: makes a further attempt at a function's newest tick; None if it has ended.
        fire_function: carries out a function's run to its end: (run, function, event).
        start_tick: records a job's tick with its run and starts it.
        latest_run: returns the newest run of a job.
        scheduler_log: takes a line of a job's scheduler log: (job, level, message), where level is
            "info", "warn" or "error".
        settings: returns the app settings of now.
        observe_lag: notes how late a tick was begun: (kind, name, seconds).
    """

    store: Store
    clock: Clock
    record_tick: Callable[[Function, datetime], Awaitable[Run | None]]
    record_again: Callable[[Function], Awaitable[Run | None]]
    fire_function: Callable[[Run, Function, DataEvent], Awaitable[None]]
    start_tick: StartTick
    latest_run: Callable[[Job], Awaitable[Run | None]]
    scheduler_log: Callable[[Job, str, str], None]
    settings: Callable[[], Mapping[str, str]]
    observe_lag: Callable[[str, str, float], None] = lambda _kind, _name, _seconds: None


@dataclass
class Tally:
    """What the timers have done since the start."""

    fired: int = 0
    skipped: int = 0
    missed: int = 0
    retried: int = 0
    last_lateness_s: float = 0.0
    max_lateness_s: float = 0.0
    recent_missed: deque[tuple[str, datetime]] = field(default_factory=lambda: deque(maxlen=100))

    def note_lateness(self, seconds: float) -> None:
        """Note how late a tick was begun."""
        self.last_lateness_s = seconds
        self.max_lateness_s = max(self.max_lateness_s, seconds)


class Reckoner:
    """Computes next instants without holding up the loop, however many timers ask at once.

    They take turns, and between two slices the loop may do something else. The slices are measured
    with the real clock whatever the timers live by: it is the loop's time that is shared out.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._spent_s = 0.0
        self._turns = 0

    async def __call__(self, compute: Callable[[], _T]) -> _T:
        """Return what `compute` returns."""
        async with self._turn:
            if self._spent_s >= _SLICE_S or self._turns >= _SLICE_TURNS:
                self._spent_s, self._turns = 0.0, 0
                await asyncio.sleep(0)
            begun = time.perf_counter()
            try:
                return compute()
            finally:
                self._spent_s += time.perf_counter() - begun
                self._turns += 1


@dataclass(frozen=True, slots=True)
class Missed:
    """Ticks that nobody was up for. `count` stops at MISSED_COUNTED."""

    count: int
    newest: datetime


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The shared things, and the book of missed ticks."""

    outlets: Outlets
    tally: Tally = field(default_factory=Tally)
    reckon: Reckoner = field(default_factory=Reckoner)

    async def miss(
        self, timer_id: str, schedule: Schedule, after: datetime, until: datetime
    ) -> Missed | None:
        """Count and record the ticks in (after, until], which will not be made good."""
        if until - after < _GRAIN:
            return None
        recent: deque[datetime] = deque(maxlen=MISSED_RECORDED)
        count = await self._count(schedule, after, until, recent)
        if not count:
            return None
        self.tally.missed += count
        self.tally.recent_missed.extend((timer_id, due) for due in recent)
        number = f"at least {count}" if count >= MISSED_COUNTED else str(count)
        _log.warning("ticks missed by %s: %s, most recent %s", timer_id, number, recent[-1])
        await self._record(timer_id, recent)
        return Missed(count, recent[-1])

    async def _count(
        self, schedule: Schedule, after: datetime, until: datetime, recent: deque[datetime]
    ) -> int:
        instants = ticks.between(schedule, after, until)
        count = 0
        while count < MISSED_COUNTED:
            chunk = await self.reckon(lambda: list(islice(instants, _SLICE_TURNS)))
            recent.extend(chunk)
            count += len(chunk)
            if len(chunk) < _SLICE_TURNS:
                return count
        newest = await self.reckon(lambda: schedule.last_before(until + _HAIR, recent[-1]))
        if newest is not None:
            recent.append(newest)
        return count

    async def _record(self, timer_id: str, recent: deque[datetime]) -> None:
        try:
            for due in recent:
                await self.outlets.store.fire(timer_id, due, outcome=TickOutcome.MISSED)
        except UnavailableError as error:
            _log.warning("missed ticks of %s are not recorded: %s", timer_id, error)
