"""The timers of a platform, in virtual time: what fires when, over restarts, jumps and failures."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from gateway import timer_heap
from gateway.timer_desk import Outlets
from gateway.timer_heap import Entry, Phase, TimerHeap
from gateway.timer_trigger import Timers, wait_in_loop
from scheduler.catalog import Diff
from scheduler.errors import BusyError, ConflictError, UnavailableError
from scheduler.events import DataEvent
from scheduler.functions import (
    AppDefinition,
    Bundle,
    BundleKind,
    Function,
    HostSettings,
    Job,
    JobKind,
    Limits,
    OtherTrigger,
    TimerTrigger,
)
from scheduler.job_policy import JobPolicy, Misfire, Overlap
from scheduler.run import Run, RunKind, RunState
from scheduler.schedule import Schedule, parse_job, parse_timer
from scheduler.store.port import Store
from scheduler.ticks import TIMER, TimerStatus, function_timer, job_timer, status_key

START = datetime(2026, 1, 5, 10, 0, 30, tzinfo=UTC)
BUNDLE = Bundle("b", BundleKind.FUNCTION, "digest", Path("/nowhere"))
EMPTY = AppDefinition(digest="", root=Path("/nowhere"), host=HostSettings(), functions=(), jobs=())


def at(minute: int, second: int = 0, *, hour: int = 10) -> datetime:
    """Return an instant of the day on which the tests begin."""
    return START.replace(hour=hour, minute=minute, second=second)


async def settle(rounds: int = 60) -> None:
    """Let every task go as far as it can without time passing."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class FakeClock:
    """Two clocks that a test moves: together by `pass_time`, the wall alone by `step`."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._time = 0.0
        self._step = 0.0
        self._waiters: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.longest_wait_s = 0.0

    def now(self) -> datetime:
        """Return the wall clock."""
        return self._start + timedelta(seconds=self._time + self._step)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._time

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has passed."""
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, as it is after so many seconds."""
        self.longest_wait_s = max(self.longest_wait_s, seconds)
        heapq.heappush(self._waiters, (self._time + seconds, next(self._numbers), event.set))
        await event.wait()

    def step(self, seconds: float) -> None:
        """Put the wall clock forward, or back."""
        self._step += seconds

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, waking whoever waits at their moments."""
        end = self._time + seconds
        await settle()
        while self._waiters and self._waiters[0][0] <= end:
            due, _, wake = heapq.heappop(self._waiters)
            self._time = max(self._time, due)
            wake()
            if not self._waiters or self._waiters[0][0] > due:
                await settle()
        self._time = end
        await settle()


class FakeStore:
    """What timers use of the store, in memory; it can be made to fail."""

    def __init__(self) -> None:
        self.ticks: dict[tuple[str, datetime], str] = {}
        self.config: dict[str, str] = {}
        self.shared = False
        self.failing = False
        self.calls = 0

    def _call(self) -> None:
        self.calls += 1
        if self.failing:
            raise UnavailableError("disk full")

    async def fire(self, timer_id: str, due_at: datetime, *, outcome: str = "fired") -> object:
        """Record a tick; None if it is recorded."""
        self._call()
        if (timer_id, due_at) in self.ticks:
            return None
        self.ticks[timer_id, due_at] = str(outcome)
        return object()

    async def last_tick(self, timer_id: str) -> object:
        """Return the tick with the latest due instant."""
        self._call()
        instants = [due for name, due in self.ticks if name == timer_id]
        return SimpleNamespace(due_at=max(instants)) if instants else None

    async def get_config(self, key: str) -> object:
        """Return a setting."""
        self._call()
        return SimpleNamespace(value=self.config[key], rev=1) if key in self.config else None

    async def put_config(self, key: str, value: str) -> int:
        """Set a setting."""
        self._call()
        self.config[key] = value
        return 1

    async def capabilities(self) -> object:
        """Tell whether others use the store."""
        return SimpleNamespace(shared=self.shared)

    def of(self, timer_id: str, outcome: str) -> list[datetime]:
        """Return the ticks with an outcome."""
        found = [
            due for (name, due), word in self.ticks.items() if (name, word) == (timer_id, outcome)
        ]
        return sorted(found)


@dataclass
class Shot:
    """One run that a timer has started."""

    name: str
    due: datetime
    begun: datetime
    trigger: str
    payload: dict[str, Any] = field(default_factory=dict)


class Range:
    """Timers with everything around them faked; `shots` is what they have fired."""

    def __init__(self, clock: FakeClock | None = None, store: FakeStore | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = store or FakeStore()
        self.shots: list[Shot] = []
        self.lines: list[tuple[str, str, str]] = []
        self.settings: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.lags: list[tuple[str, str, float]] = []
        self.during: Callable[[Shot], Awaitable[None]] | None = None
        self.refuse: Exception | None = None
        self.waited: list[datetime] = []  # ticks whose run may have to wait
        self.timers = Timers(
            Outlets(
                store=cast("Store", self.store),
                clock=self.clock,
                record_tick=self._record_tick,
                record_again=self._record_again,
                fire_function=self._fire_function,
                start_tick=self._start_tick,
                latest_run=self._latest_run,
                scheduler_log=lambda job, level, text: self.lines.append((job.name, level, text)),
                settings=lambda: self.settings,
                observe_lag=lambda *lag: self.lags.append(lag),
            ),
            wait=self.clock.wait,
        )

    async def _record_tick(self, function: Function, due: datetime) -> Run | None:
        if await self.store.fire(function_timer(function.name), due) is None:
            return None
        return replace(self.run_of(function.name, self.clock.now()), arguments=due.isoformat())

    async def _record_again(self, function: Function) -> Run | None:
        name = function_timer(function.name)
        due = max(due for timer_id, due in self.store.ticks if timer_id == name)
        return replace(self.run_of(function.name, self.clock.now()), arguments=due.isoformat())

    async def _fire_function(self, run: Run, function: Function, event: DataEvent) -> None:
        if self.refuse is not None:
            raise self.refuse
        assert (event.kind, event.data_type) == ("timertrigger", "json")
        due = datetime.fromisoformat(run.arguments)
        await self._shoot(Shot(function.name, due, self.clock.now(), TIMER, json.loads(event.data)))

    async def _start_tick(
        self, job: Job, due: datetime, trigger: str, *, may_wait: bool = False
    ) -> Run | None:
        if self.refuse is not None:
            raise self.refuse
        if await self.store.fire(job_timer(job.name), due) is None:
            return None
        if may_wait:
            self.waited.append(due)
        await self._shoot(Shot(job.name, due, self.clock.now(), trigger))
        return self.run_of(job.name, self.clock.now())

    async def _latest_run(self, job: Job) -> Run | None:
        return self.runs.get(job.name)

    async def _shoot(self, shot: Shot) -> None:
        self.shots.append(shot)
        if self.during is not None:
            await self.during(shot)

    def run_of(self, name: str, started: datetime) -> Run:
        """Note a run of a job as its newest."""
        self.runs[name] = Run(
            id=1,
            public_id="202601051000000000",
            kind=RunKind.TRIGGERED,
            name=name,
            trigger="",
            state=RunState.RUNNING,
            instance="here",
            created_at=started,
            started_at=started,
        )
        return self.runs[name]

    def dues(self) -> list[datetime]:
        """Return the instants that were fired."""
        return [shot.due for shot in self.shots]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Range]:
        """Let the timers run; at the end they are stopped, as a platform is."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.timers.run())
            try:
                await settle()
                yield self
            finally:
                self.timers.stop()


def function(name: str, text: str = "0 * * * * *", **trigger: Any) -> Function:
    """Return a function with a timer."""
    schedule = parse_timer(text, zone=trigger.pop("zone", "UTC"))
    return Function(
        name=name,
        bundle=BUNDLE,
        directory=name,
        script_file="x.py",
        entry_point="main",
        trigger=TimerTrigger(text, schedule, **trigger),
        trigger_name="timer",
        bindings=(),
        limits=Limits(),
    )


def job(name: str, text: str | None = "0 * * * * *", **more: Any) -> Job:
    """Return a triggered job with a schedule."""
    schedule: Schedule | None = parse_job(text) if text else None
    more.setdefault("kind", JobKind.TRIGGERED)
    return Job(
        name=name,
        bundle=BUNDLE,
        directory=name,
        live_folder=Path("/nowhere"),
        script="run.sh",
        schedule=schedule,
        **more,
    )


def diff(**changes: Any) -> Diff:
    """Return a deployment's changes."""
    return Diff(previous=EMPTY, current=EMPTY, **changes)


@pytest.fixture
def range_() -> Range:
    """Return timers with a clock at 10:00:30."""
    return Range()


# --- Functions


async def test_a_function_fires_at_its_instants_with_its_status(range_: Range) -> None:
    """Every minute on the minute; the payload tells of the run before."""
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(120)
    assert range_.dues() == [at(1), at(2)]
    assert [shot.begun for shot in range_.shots] == [at(1), at(2)]
    assert {shot.trigger for shot in range_.shots} == {"timer"}
    assert range_.shots[1].payload == {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {
            "Last": "2026-01-05T10:01:00+00:00",
            "Next": "2026-01-05T10:02:00+00:00",
            "LastUpdated": "2026-01-05T10:01:00+00:00",
        },
        "IsPastDue": False,
    }
    assert range_.store.of(function_timer("tick"), "fired") == [at(1), at(2)]
    assert range_.timers.tally.fired == 2


async def test_the_status_is_saved_before_and_after_a_run(range_: Range) -> None:
    """What is past due after a restart depends on it."""
    range_.timers.set([function("tick")], [])
    async with range_.running():
        saved = TimerStatus.from_json(range_.store.config[status_key("tick")])
        assert saved == TimerStatus(None, at(1), START)
        await range_.clock.pass_time(30)
        saved = TimerStatus.from_json(range_.store.config[status_key("tick")])
        assert saved == TimerStatus(at(1), at(2), at(1), done=at(1))


async def test_after_downtime_one_run_is_past_due_and_the_rest_is_missed() -> None:
    """Down from 10:01:30 to 10:05:30: 10:02 runs at once, the others are recorded as missed."""
    store = FakeStore()
    first = Range(store=store)
    first.timers.set([function("tick")], [])
    async with first.running():
        await first.clock.pass_time(60)
    second = Range(FakeClock(at(5, 30)), store)
    second.timers.set([function("tick")], [])
    async with second.running():
        await second.clock.pass_time(30)
    assert [(shot.due, shot.payload["IsPastDue"]) for shot in second.shots] == [
        (at(2), True),
        (at(6), False),
    ]
    assert store.of(function_timer("tick"), "missed") == [at(3), at(4), at(5)]
    assert second.timers.tally.missed == 3
    assert second.timers.tally.recent_missed[0] == (function_timer("tick"), at(3))


async def test_without_a_monitor_nothing_is_saved_and_nothing_is_past_due() -> None:
    """use_monitor False."""
    store = FakeStore()
    for begun in (START, at(5, 30)):
        now = Range(FakeClock(begun), store)
        now.timers.set([function("tick", use_monitor=False)], [])
        async with now.running():
            await now.clock.pass_time(30)
        assert [shot.payload["ScheduleStatus"] for shot in now.shots] == [None]
        assert not now.shots[0].payload["IsPastDue"]
    assert store.config == {}


async def test_run_on_startup_runs_at_once_and_the_schedule_goes_on(range_: Range) -> None:
    """At every start of the platform."""
    range_.timers.set([function("tick", "0 0 * * * *", run_on_startup=True)], [])
    async with range_.running():
        assert range_.dues() == [START]
        await range_.clock.pass_time(3570)
        assert range_.dues() == [START, at(0, hour=11)]


async def test_runs_never_overlap_and_the_tick_within_a_run_follows_it(range_: Range) -> None:
    """A run of 150 s: the first tick it covers runs when it ends, the second is missed."""

    async def work(shot: Shot) -> None:
        await range_.clock.sleep(150 if shot.due == at(1) else 1)

    range_.during = work
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(280)
    assert [(shot.due, shot.begun) for shot in range_.shots] == [
        (at(1), at(1)),
        (at(2), at(3, 30)),
        (at(4), at(4)),
        (at(5), at(5)),
    ]
    assert [shot.payload["IsPastDue"] for shot in range_.shots] == [False] * 4
    assert range_.store.of(function_timer("tick"), "missed") == [at(3)]


async def test_an_interval_counts_from_the_start_of_the_run(range_: Range) -> None:
    """Every 90 s, from the time it was deployed."""
    range_.timers.set([function("tick", "00:01:30")], [])
    async with range_.running():
        await range_.clock.pass_time(270)
    assert range_.dues() == [at(2), at(3, 30), at(5)]


async def test_a_run_that_fails_leaves_the_next_tick_alone(
    range_: Range, caplog: pytest.LogCaptureFixture
) -> None:
    """No retry: the next tick comes as usual."""

    async def fail(_shot: Shot) -> None:
        raise RuntimeError("a bug of ours")

    range_.during = fail
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(90)
    assert range_.dues() == [at(1), at(2)]
    assert "a bug of ours" in caplog.text


async def test_a_tick_that_finds_no_worker_is_tried_again(range_: Range) -> None:
    """Busy means that nothing has run: the tick is recorded once and runs a little later."""
    range_.refuse = BusyError("the queue is full")
    range_.timers.set([function("tick", "0 0 * * * *")], [])
    async with range_.running():
        await range_.clock.pass_time(3575)
        range_.refuse = None
        await range_.clock.pass_time(30)
    assert range_.dues() == [at(0, hour=11)]
    assert range_.timers.tally.retried >= 2
    assert range_.store.of(function_timer("tick"), "fired") == [at(0, hour=11)]


async def test_a_store_that_fails_costs_no_tick(
    range_: Range, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing runs unrecorded; when the store is back the tick runs, and a log line tells why."""
    range_.timers.set([function("tick", "0 0 * * * *")], [job("nightly", "0 0 * * * *")])
    async with range_.running():
        range_.store.failing = True
        await range_.clock.pass_time(3640)
        assert range_.shots == []
        range_.store.failing = False
        await range_.clock.pass_time(35)
    assert range_.dues() == [at(0, hour=11)] * 2
    assert "tried again in 1 s: disk full" in caplog.text


async def test_a_store_that_fails_at_the_start_delays_the_start(range_: Range) -> None:
    """Arming is tried again like firing."""
    range_.store.failing = True
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(10)
        assert range_.timers.armed == 0
        range_.store.failing = False
        await range_.clock.pass_time(80)
    assert range_.dues() == [at(1), at(2)]


async def test_a_tick_recorded_by_another_instance_is_not_run_here(range_: Range) -> None:
    """The store decides; this instance goes on with the next one."""
    range_.store.shared = True
    range_.store.ticks[function_timer("tick"), at(1)] = "fired"
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(90)
    assert range_.dues() == [at(2)]


@pytest.mark.parametrize(("shared", "again"), [(False, [at(1)]), (True, [])])
async def test_a_tick_whose_run_was_cut_off_by_a_crash_runs_again(
    shared: bool, again: list[datetime]
) -> None:
    """At least once, and recorded once; where others share the store it may be theirs."""
    store = FakeStore()
    store.shared = shared
    store.ticks[function_timer("tick"), at(1)] = "fired"
    store.config[status_key("tick")] = TimerStatus(None, at(1), START).to_json()
    range_ = Range(FakeClock(at(1, 20)), store)
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(10)
    assert range_.dues() == again
    assert len(store.ticks) == 1


async def test_a_schedule_that_never_fires_sleeps_for_ever(range_: Range) -> None:
    """30 February is no error and no load."""
    range_.timers.set([function("never", "0 0 0 30 2 *")], [])
    async with range_.running():
        await range_.clock.pass_time(3600)
        assert range_.timers.next_due(function_timer("never")) is None
    assert range_.shots == []


async def test_disabled_functions_and_other_triggers_have_no_timer(range_: Range) -> None:
    """They are called by hand only."""
    disabled = replace(function("off"), disabled="AzureWebJobs.off.Disabled")
    other = replace(function("hand"), trigger=OtherTrigger("manualTrigger"))
    range_.timers.set([disabled, other], [])
    async with range_.running():
        await range_.clock.pass_time(300)
    assert range_.shots == []


# --- Jobs


async def test_a_job_is_started_at_its_instants_and_its_log_says_so(range_: Range) -> None:
    """Trigger and log lines in Kudu's words."""
    range_.timers.set([], [job("report", "0 */2 * * * *")])
    async with range_.running():
        await range_.clock.pass_time(90)
    text = ",".join(str(minute) for minute in range(0, 60, 2))
    assert [(shot.due, shot.trigger) for shot in range_.shots] == [
        (at(2), f"Schedule - 0 {text} * * * *")
    ]
    assert range_.lines == [
        (
            "report",
            "info",
            f"Scheduling WebJob with 0 {text} * * * * next schedule expected in 00:01:30",
        ),
        ("report", "info", "WebJob invoked"),
        ("report", "info", "Next schedule expected in 00:02:00"),
    ]


async def test_a_tick_during_a_run_is_skipped_and_recorded(range_: Range) -> None:
    """Not queued: the next tick is the next instant."""
    range_.timers.set([], [job("report")])
    async with range_.running():
        range_.refuse = ConflictError("Cannot start a new run since job is already running.")
        await range_.clock.pass_time(60)
        range_.refuse = None
        await range_.clock.pass_time(60)
    assert range_.dues() == [at(2)]
    assert range_.store.of(job_timer("report"), "skipped") == [at(1)]
    assert range_.timers.tally.skipped == 1
    assert any(level == "warn" and "already running" in text for _, level, text in range_.lines)


@pytest.mark.parametrize(
    ("last", "fired", "missed"),
    [
        (at(0, hour=9), [at(0)], []),
        (at(0, hour=8), [], [at(0, hour=9), at(0)]),
        (at(0, 10), [], []),
        (None, [], []),
    ],
)
async def test_a_job_catches_up_once_if_the_oldest_missed_tick_is_recent(
    range_: Range, last: datetime | None, fired: list[datetime], missed: list[datetime]
) -> None:
    """webjobs.md 2.3, at 10:00:30 with a tick at every full hour."""
    if last is not None:
        range_.run_of("report", last)
    range_.timers.set([], [job("report", "0 0 * * * *")])
    async with range_.running():
        await settle()
    assert range_.dues() == fired
    assert range_.store.of(job_timer("report"), "missed") == missed
    warned = [text for _, level, text in range_.lines if level == "warn"]
    expected = ["Missed 2 schedules, most recent at 01/05/2026 10:00:00"] if missed else []
    assert warned == expected


@pytest.mark.parametrize(
    ("misfire", "fired", "missed"),
    [
        (Misfire.SKIP, [], [at(0, hour=7), at(0, hour=8), at(0, hour=9), at(0)]),
        (Misfire.ONCE, [at(0, hour=7)], [at(0, hour=8), at(0, hour=9), at(0)]),
        (Misfire.ALL, [at(0, hour=8), at(0, hour=9), at(0)], [at(0, hour=7)]),
    ],
)
async def test_a_job_chooses_what_is_made_good(
    range_: Range, misfire: Misfire, fired: list[datetime], missed: list[datetime]
) -> None:
    """At 10:00:30, with a tick at every full hour and the last run at 6: in their order, once."""
    range_.run_of("report", at(0, hour=6))
    policy = JobPolicy(misfire=misfire, misfire_limit=3)
    range_.timers.set([], [job("report", "0 0 * * * *", policy=policy)])
    async with range_.running():
        await range_.clock.pass_time(60)
    assert range_.dues() == fired
    assert range_.store.of(job_timer("report"), "missed") == missed
    assert range_.waited == (fired if misfire is Misfire.ALL else [])


async def test_a_machine_that_slept_makes_good_as_the_job_chose(range_: Range) -> None:
    """Three hours at once: of the missed ticks the newest two, each its own run."""
    policy = JobPolicy(misfire=Misfire.ALL, misfire_limit=2)
    range_.timers.set([], [job("report", "0 0 * * * *", policy=policy)])
    async with range_.running():
        range_.clock.step(4 * 3600)
        await range_.clock.pass_time(60)
    assert range_.dues() == [at(0, hour=13), at(0, hour=14)]
    missed = [at(0, hour=11), at(0, hour=12)]
    assert range_.store.of(job_timer("report"), "missed") == missed


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_a_tick_may_wait_if_the_job_says_so(range_: Range, overlap: Overlap) -> None:
    """Else it is skipped where there is no place."""
    range_.timers.set([], [job("report", policy=JobPolicy(overlap=overlap))])
    async with range_.running():
        await range_.clock.pass_time(60)
    assert range_.waited == ([at(1)] if overlap is Overlap.QUEUE else [])


async def test_a_job_s_own_setting_switches_its_schedule_off(range_: Range) -> None:
    """WEBJOBS_DISABLE_SCHEDULE in "taak": {"environment": …} is for this job alone."""
    off = job("off", environment={"WEBJOBS_DISABLE_SCHEDULE": "true"})
    range_.timers.set([], [off, job("on")])
    async with range_.running():
        await range_.clock.pass_time(60)
    assert [shot.name for shot in range_.shots] == ["on"]


async def test_a_skipped_tick_is_not_made_good_by_a_deployment(range_: Range) -> None:
    """Kudu does, by accident: it asks the runs alone."""
    range_.run_of("report", at(0, hour=9))
    range_.store.ticks[job_timer("report"), at(0)] = "skipped"
    range_.timers.set([], [job("report", "0 0 * * * *")])
    async with range_.running():
        await settle()
    assert range_.shots == []


async def test_schedules_can_be_switched_off_by_a_setting(range_: Range) -> None:
    """WEBJOBS_DISABLE_SCHEDULE stops jobs, also one that waits already; functions go on."""
    range_.timers.set([function("tick")], [job("report")])
    async with range_.running():
        await range_.clock.pass_time(30)
        range_.settings["WEBJOBS_DISABLE_SCHEDULE"] = "1"
        range_.timers.apply(diff(jobs_added=(job("other"),)))
        await range_.clock.pass_time(120)
    assert [shot.name for shot in range_.shots].count("report") == 1
    assert [shot.name for shot in range_.shots].count("other") == 0
    assert [shot.name for shot in range_.shots].count("tick") == 3


async def test_a_schedule_that_does_not_parse_is_told_in_the_job_s_log(range_: Range) -> None:
    """The job stays runnable by hand; a continuous one has no schedule at all."""
    range_.timers.set(
        [],
        [
            job("bad", None, schedule_error="'x' is no schedule: it has 1 field"),
            job("daemon", kind=JobKind.CONTINUOUS),
        ],
    )
    async with range_.running():
        await range_.clock.pass_time(120)
    assert range_.lines == [("bad", "error", "'x' is no schedule: it has 1 field")]
    assert range_.shots == []


# --- The clock


async def test_it_looks_at_the_wall_every_thirty_seconds(range_: Range) -> None:
    """However far away the next tick is."""
    range_.timers.set([function("yearly", "0 0 0 1 1 *")], [])
    async with range_.running():
        await range_.clock.pass_time(600)
    assert range_.clock.longest_wait_s == 30


async def test_a_clock_put_forward_is_downtime(range_: Range) -> None:
    """Three hours vanish: the function runs once, past due; the job's ticks are missed."""
    range_.timers.set([function("tick", "0 0 * * * *")], [job("report", "0 0 * * * *")])
    async with range_.running():
        range_.clock.step(3 * 3600)
        await range_.clock.pass_time(30)
    assert [(shot.name, shot.due, shot.payload["IsPastDue"]) for shot in range_.shots] == [
        ("tick", at(0, hour=11), True)
    ]
    assert range_.store.of(function_timer("tick"), "missed") == [at(0, hour=12), at(0, hour=13)]
    missed = [at(0, hour=hour) for hour in (11, 12, 13)]
    assert range_.store.of(job_timer("report"), "missed") == missed
    assert range_.timers.next_due(job_timer("report")) == at(0, hour=14)


async def test_a_clock_put_back_fires_nothing_twice(range_: Range) -> None:
    """Ten minutes come again: their ticks have been recorded."""
    range_.timers.set([function("tick")], [job("report")])
    async with range_.running():
        await range_.clock.pass_time(180)
        assert len(range_.shots) == 6
        range_.clock.step(-600)
        await range_.clock.pass_time(60)
        fired = [(shot.name, shot.due) for shot in range_.shots]
        assert len(fired) == len(set(fired))
        await range_.clock.pass_time(600)
    fired = [(shot.name, shot.due) for shot in range_.shots]
    assert len(fired) == len(set(fired))
    assert ("tick", at(4)) in fired
    assert ("report", at(4)) in fired


async def test_a_clock_that_was_years_ahead_does_not_silence_the_timers() -> None:
    """A machine that boots in 2050 and then learns the time."""
    range_ = Range(FakeClock(START.replace(year=2050)))
    range_.timers.set([function("tick", "0 0 * * * *")], [job("report", "0 0 * * * *")])
    async with range_.running():
        await range_.clock.pass_time(3600)
        assert len(range_.shots) == 2
        range_.clock.step((START.replace(year=2026) - START.replace(year=2050)).total_seconds())
        await range_.clock.pass_time(3600)
    assert [shot.due.year for shot in range_.shots] == [2050, 2050, 2026, 2026]


async def test_a_run_under_way_when_the_clock_is_put_back_is_planned_anew(range_: Range) -> None:
    """It began in a time that has yet to come."""

    async def work(_shot: Shot) -> None:
        await range_.clock.sleep(100)

    range_.during = work
    range_.timers.set([function("tick", "0 */5 * * * *")], [])
    async with range_.running():
        await range_.clock.pass_time(290)
        range_.clock.step(-86400)
        await range_.clock.pass_time(120)
        due = range_.timers.next_due(function_timer("tick"))
        assert due is not None
        assert due - range_.clock.now() <= timedelta(minutes=5)


# --- Deployments


async def test_a_deployment_touches_only_what_it_changes(range_: Range) -> None:
    """One of many: no other timer is armed again."""
    functions = [function(f"f{number}", "0 0 * * * *") for number in range(50)]
    range_.timers.set(functions, [])
    async with range_.running():
        await range_.clock.pass_time(1)
        before = range_.store.calls
        range_.timers.apply(diff(functions_changed=(function("f7", "0 30 * * * *"),)))
        await settle()
        assert range_.timers.next_due(function_timer("f7")) == at(30)
        assert range_.timers.next_due(function_timer("f8")) == at(0, hour=11)
        assert range_.store.calls - before == 1


async def test_new_code_with_the_old_schedule_moves_no_tick(range_: Range) -> None:
    """An interval is not begun anew by every save of a file."""
    range_.timers.set([function("tick", "00:02:00")], [])
    async with range_.running():
        await range_.clock.pass_time(60)
        changed = replace(function("tick", "00:02:00"), entry_point="other")
        range_.timers.apply(diff(functions_changed=(changed,)))
        await range_.clock.pass_time(60)
    assert range_.dues() == [at(2, 30)]


async def test_setting_what_is_there_already_changes_nothing(range_: Range) -> None:
    """`set` compares definitions."""
    range_.timers.set([function("tick")], [job("report")])
    async with range_.running():
        calls = range_.store.calls
        range_.timers.set([function("tick")], [job("report")])
        await settle()
        assert range_.store.calls == calls
        range_.timers.set([], [job("report")])
        assert range_.timers.next_due(function_timer("tick")) is None


async def test_what_is_removed_or_loses_its_schedule_fires_no_more(range_: Range) -> None:
    """Whether it is gone, disabled, or has another trigger now."""
    range_.timers.set([function("a"), function("b"), function("c")], [job("d"), job("e")])
    async with range_.running():
        range_.timers.apply(
            diff(
                functions_removed=(function("a"),),
                functions_changed=(
                    replace(function("b"), disabled="by its owner"),
                    replace(function("c"), trigger=OtherTrigger("manualTrigger")),
                ),
                jobs_removed=(job("d"),),
                jobs_changed=(job("e", None),),
            )
        )
        await range_.clock.pass_time(300)
    assert range_.shots == []


async def test_a_continuous_job_of_the_same_name_takes_no_schedule_away(range_: Range) -> None:
    """The two kinds are apart."""
    range_.timers.set([], [job("report")])
    async with range_.running():
        daemon = job("report", kind=JobKind.CONTINUOUS)
        range_.timers.apply(diff(jobs_removed=(daemon,)))
        await range_.clock.pass_time(30)
    assert range_.dues() == [at(1)]


async def test_a_function_replaced_during_its_run_does_not_overlap_itself(range_: Range) -> None:
    """The new definition begins when the old one's run has ended."""

    async def work(shot: Shot) -> None:
        await range_.clock.sleep(90 if len(range_.shots) == 1 else 0)

    range_.during = work
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(40)
        range_.timers.apply(diff(functions_removed=(function("tick"),)))
        range_.timers.apply(diff(functions_added=(function("tick", "*/10 * * * * *"),)))
        await range_.clock.pass_time(75)
        assert [shot.due for shot in range_.shots] == [at(1)]
        await range_.clock.pass_time(16)
    assert [shot.begun for shot in range_.shots[1:]] == [at(2, 40)]


async def test_a_function_removed_during_its_run_ends_and_is_gone(range_: Range) -> None:
    """Its run is not cut off."""

    async def work(_shot: Shot) -> None:
        await range_.clock.sleep(90)

    range_.during = work
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(40)
        range_.timers.apply(diff(functions_removed=(function("tick"),)))
        await range_.clock.pass_time(300)
    assert range_.dues() == [at(1)]
    assert range_.timers.armed == 0


# --- The end


async def test_stop_fires_nothing_more_and_waits_for_what_runs(range_: Range) -> None:
    """D10: timers stop first; `run` returns when the last run has ended."""

    async def work(_shot: Shot) -> None:
        await range_.clock.sleep(90)

    range_.during = work
    range_.timers.set([function("tick")], [])
    async with asyncio.TaskGroup() as group:
        running = group.create_task(range_.timers.run())
        await range_.clock.pass_time(40)
        range_.timers.stop()
        await range_.clock.pass_time(60)
        assert not running.done()
        await range_.clock.pass_time(60)
        assert running.done()
    assert range_.dues() == [at(1)]
    saved = TimerStatus.from_json(range_.store.config[status_key("tick")])
    assert saved is not None
    assert saved.last == at(1)


# --- Many


@pytest.mark.real
async def test_many_timers_are_armed_without_holding_up_the_loop() -> None:
    """performance.md: never more than 20 ms at a stretch; here with room for a busy machine."""
    range_ = Range()
    range_.timers.set(
        [function(f"f{n}", f"{n % 60} {n // 60 % 60} {n // 3600} * * *") for n in range(1000)], []
    )
    longest = 0.0
    async with range_.running():
        while range_.timers.armed < 1000:
            begun = time.thread_time()  # what others on this machine take does not count
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - begun)
    assert longest < 0.1


@pytest.mark.real
async def test_a_herd_fires_completely(range_: Range) -> None:
    """500 functions with one instant: each once, and the next instant is planned."""
    range_.timers.set([function(f"f{n}") for n in range(500)], [])
    async with range_.running():
        await settle(2000)
        await range_.clock.pass_time(30)
        await settle(2000)
        assert len(range_.shots) == 500
        assert {shot.due for shot in range_.shots} == {at(1)}
        assert range_.timers.armed == 500
    assert range_.timers.tally.max_lateness_s == 0
    assert len(range_.lags) == 500


async def test_missed_ticks_are_counted_to_a_bound() -> None:
    """A schedule of every second and a day of downtime: the count stops, the newest is named."""
    store = FakeStore()
    yesterday = START - timedelta(days=1)
    status = TimerStatus(yesterday, yesterday + timedelta(seconds=1), yesterday)
    store.config[status_key("tick")] = status.to_json()
    range_ = Range(store=store)
    range_.timers.set([function("tick", "* * * * * *")], [])
    async with range_.running():
        await settle(300)
    assert range_.timers.tally.missed == 1000
    missed = store.of(function_timer("tick"), "missed")
    assert len(missed) == 20
    assert missed[-1] == START


async def test_lateness_is_measured_from_the_instant(range_: Range) -> None:
    """A loop that was busy for 0.4 s fires that much late, and says so."""
    range_.timers.set([function("tick")], [])
    async with range_.running():
        await range_.clock.pass_time(29)
        range_.clock.step(1.4)
        await range_.clock.pass_time(1)
    assert range_.timers.tally.last_lateness_s == pytest.approx(1.4)
    ((kind, name, seconds),) = range_.lags
    assert (kind, name, seconds) == ("function", "tick", range_.timers.tally.last_lateness_s)


async def test_the_real_wait_ends_with_the_event_or_the_time() -> None:
    """Without a task of its own."""
    event = asyncio.Event()
    await wait_in_loop(event, 0.001)
    assert event.is_set()
    await wait_in_loop(event, 60)


# --- Restarts and jumps, at random


@trials(30)
@given(
    text=st.sampled_from(["0 * * * * *", "*/20 * * * * *", "0 */3 * * * *"]),
    lives=st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 300), st.integers(-900, 900)),
        min_size=1,
        max_size=4,
    ),
)
def test_over_restarts_and_clock_jumps_no_tick_is_run_twice(
    text: str, lives: list[tuple[int, int, int]]
) -> None:
    """Each life: so long down, so long up, and a jump of the clock in its middle."""
    asyncio.run(_live(text, lives))


async def _live(text: str, lives: list[tuple[int, int, int]]) -> None:
    store = FakeStore()
    wall = START
    fired: list[tuple[str, datetime]] = []
    for down, up, jump in lives:
        range_ = Range(FakeClock(wall + timedelta(seconds=down)), store)
        range_.timers.set([function("tick", text)], [job("report", text)])
        async with range_.running():
            await range_.clock.pass_time(up / 2)
            range_.clock.step(jump)
            await range_.clock.pass_time(up / 2)
        fired += [(shot.name, shot.due) for shot in range_.shots]
        assert all(shot.begun >= shot.due for shot in range_.shots)
        wall = range_.clock.now()
    assert len(fired) == len(set(fired))


# --- The heap


def _entry(name: str) -> Entry:
    timer = SimpleNamespace(id=name, name=name, kind="function")
    return Entry(cast("Any", timer))


@trials(100)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000)), max_size=400))
def test_the_heap_gives_each_entry_at_its_last_time_and_stays_small(
    pushes: list[tuple[int, int]],
) -> None:
    """A later push replaces an earlier one."""
    heap = TimerHeap()
    entries = [_entry(str(number)) for number in range(10)]
    expected: dict[str, int] = {}
    for number, second in pushes:
        heap.push(entries[number], START + timedelta(seconds=second))
        expected[str(number)] = second
    assert len(heap._items) <= 2 * 10 + timer_heap._STALE_AT_MOST + 1
    order = []
    while (entry := heap.pop(START + timedelta(hours=1))) is not None:
        order.append(expected.pop(entry.timer.id))
    assert order == sorted(order)
    assert expected == {}


def test_the_heap_gives_nothing_before_its_time() -> None:
    """Nor what was dropped."""
    heap = TimerHeap()
    one, two = _entry("one"), _entry("two")
    assert heap.push(one, at(5))
    assert not heap.push(two, at(6))
    assert heap.pop(at(4)) is None
    heap.drop(one)
    assert heap.first_at == at(6)
    assert heap.pop(at(5, 59)) is None
    assert heap.pop(at(6)) is two


def test_every_phase_has_its_successors_and_the_last_has_none() -> None:
    """The table is total; an impossible change raises and leaves the phase as it was."""
    assert set(timer_heap.TRANSITIONS) == set(Phase)
    assert not timer_heap.TRANSITIONS[Phase.GONE]
    entry = _entry("one")
    with pytest.raises(AssertionError):
        entry.to(Phase.GONE)
    assert entry.phase is Phase.ARMING
