"""Which tick of a schedule is run, and when: the rules of timers, without a clock or a store.

A tick's identity is (timer id, scheduled instant); the store records each once, over all instances.
Functions follow functions.md 8 (a status of their own says what is past due), triggered jobs
webjobs.md 2.3 (their newest run says it). Who waits and who runs is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from scheduler.functions import key
from scheduler.job_policy import Misfire
from scheduler.schedule import Schedule, span_text

#: The words of a function's runs by its timer.
TIMER = "timer"
#: A job's tick that nobody was up for is made good if it is no older than this.
CATCH_UP = timedelta(minutes=10)
#: A tick that is this late although nothing was running: the machine slept, or its clock jumped.
DOWNTIME = timedelta(minutes=1)

_ROUNDING = timedelta(seconds=1)
_NEVER_RUN = "0001-01-01T00:00:00"
_NEVER_RUNS = "9999-12-31T23:59:59.9999999"


def function_timer(name: str) -> str:
    """Return the name under which the store keeps a function's ticks."""
    return f"function/{key(name)}"


def job_timer(name: str) -> str:
    """Return the name under which the store keeps a triggered job's ticks."""
    return f"job/triggered/{key(name)}"


def status_key(name: str) -> str:
    """Return the setting in which the store keeps the status of a function's timer."""
    return f"timer/{key(name)}"


class Reason(Enum):
    """Why a tick is run; the values are what Azure's logs call it."""

    SCHEDULED = "Schedule"
    PAST_DUE = "IsPastDue"
    STARTUP = "RunOnStartup"


@dataclass(frozen=True, slots=True)
class Plan:
    """The next thing that a timer does: the tick due at `due` is run at `at`."""

    due: datetime
    at: datetime
    reason: Reason = Reason.SCHEDULED

    def late(self, now: datetime) -> bool:
        """Tell whether nobody was there at the time: that is downtime, not load."""
        return now - self.at > DOWNTIME


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """What is remembered of a function's timer. None stands for never.

    `done` is ours, the rest is Azure's: the latest tick whose run has ended. A tick that is in the
    store's records and later than that was cut off by a crash.
    """

    last: datetime | None
    next: datetime | None
    last_updated: datetime
    done: datetime | None = None

    def has_done(self, due: datetime) -> bool:
        """Tell whether the run of a recorded tick has ended."""
        return self.done is not None and due <= self.done

    def to_json(self) -> str:
        """Return the text that the store keeps."""
        done = _time_text(self.done, "UTC") or _NEVER_RUN
        return json.dumps({**_status(self, "UTC"), "Done": done})

    @classmethod
    def from_json(cls, text: str) -> TimerStatus | None:
        """Read the store's text; None if it is broken, which is as good as no status at all."""
        try:
            value = json.loads(text)
            last, following = _instant(value["Last"]), _instant(value["Next"])
            updated = _instant(value["LastUpdated"])
            done = _instant(value.get("Done", _NEVER_RUN))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return None
        return cls(last, following, updated, done) if updated is not None else None


@dataclass(frozen=True, slots=True)
class Start:
    """What a function's timer does first, and the status from now on."""

    plan: Plan | None
    status: TimerStatus


def start(
    schedule: Schedule, status: TimerStatus | None, now: datetime, *, run_on_startup: bool
) -> Start:
    """Decide how a function's timer begins.

    One run at once if a tick passed while nobody was up, however many did; that has priority over
    a run at every start. A schedule that has changed since is not past due, and neither is one
    whose status comes from a future that the clock has left again.
    """
    if status is None:
        status = TimerStatus(None, schedule.next_after(now), now)
    elif _is_foreign(schedule, status, now):
        status = replace(status, next=schedule.next_after(now), last_updated=now)
    elif status.next is not None and now > status.next:
        return Start(Plan(status.next, now, Reason.PAST_DUE), status)
    if run_on_startup:
        return Start(Plan(now, now, Reason.STARTUP), status)
    return Start(following(status, now), status)


def _is_foreign(schedule: Schedule, status: TimerStatus, now: datetime) -> bool:
    """Tell whether another schedule, or another time, has written this status."""
    since = max(status.last or status.last_updated, status.last_updated)
    if since > now:
        return True
    expected = schedule.next_after(since)
    if expected is None or status.next is None:
        return expected is not status.next
    return abs(expected - status.next) >= _ROUNDING


def after_run(
    schedule: Schedule, status: TimerStatus | None, plan: Plan, started: datetime
) -> TimerStatus:
    """Return the status after a run: the next tick is the first one after its start.

    A run that began a moment early (the clock was set back by a hair) counts as begun in time,
    else its tick would come again.
    """
    last = max(started, plan.due)
    # The clock may have been put back: then later ticks than this one have been run before.
    before = status.done if status is not None else None
    done = max(before, plan.due) if before is not None else plan.due
    return TimerStatus(last, schedule.next_after(last), last, done)


def following(status: TimerStatus, now: datetime) -> Plan | None:
    """Return the plan that a status means: at once if the run before went on beyond the tick."""
    return Plan(status.next, max(status.next, now)) if status.next is not None else None


def payload(schedule: Schedule, status: TimerStatus | None, *, past_due: bool) -> str:
    """Return what the function's timer object is read from. Times are the schedule's wall clock."""
    return json.dumps(
        {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": _status(status, schedule.zone) if status else None,
            "IsPastDue": past_due,
        }
    )


def _status(status: TimerStatus, zone: str) -> dict[str, str]:
    return {
        "Last": _time_text(status.last, zone) or _NEVER_RUN,
        "Next": _time_text(status.next, zone) or _NEVER_RUNS,
        "LastUpdated": _time_text(status.last_updated, zone),
    }


def _time_text(instant: datetime | None, zone: str) -> str:
    return instant.astimezone(ZoneInfo(zone)).isoformat() if instant else ""


def _instant(text: str) -> datetime | None:
    if text in (_NEVER_RUN, _NEVER_RUNS):
        return None
    instant = datetime.fromisoformat(text)
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JobStart:
    """What a job's timer does next; ticks in (missed_after, now) were missed for good."""

    plan: Plan | None
    missed_after: datetime | None = None


def start_job(
    schedule: Schedule,
    last: datetime | None,
    now: datetime,
    misfire: Misfire = Misfire.RECENT,
) -> JobStart:
    """Decide how a job's timer goes on; `last` is when it last ran, or was last decided about.

    If the oldest tick since is made good, it is run at once: for all of them, or (Misfire.ALL)
    before the others.
    """
    if last is None or last > now:  # a run from the future: the clock has been set back
        return JobStart(_at_its_time(schedule.next_after(now)))
    due = schedule.next_after(last)
    if due is None or due >= now:
        return JobStart(_at_its_time(due))
    if is_made_good(misfire, now - due):
        return JobStart(Plan(due, now, Reason.PAST_DUE))
    return JobStart(_at_its_time(schedule.next_after(now)), missed_after=last)


def is_made_good(misfire: Misfire, age: timedelta) -> bool:
    """Tell whether a tick that nobody was up for is run all the same."""
    if misfire is Misfire.RECENT:
        return age <= CATCH_UP
    return misfire is not Misfire.SKIP


def after_tick(schedule: Schedule, plan: Plan, now: datetime) -> Plan | None:
    """Return the plan after a tick that is not ours, or a job's that is started or given up."""
    return _at_its_time(schedule.next_after(max(plan.due, now)))


def _at_its_time(due: datetime | None) -> Plan | None:
    return Plan(due, due) if due is not None else None


def between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants in (after, until]."""
    instant = schedule.next_after(after)
    while instant is not None and instant <= until:
        yield instant
        instant = schedule.next_after(instant)


# --- What logs and the history say, in the words that tools look for (webjobs.md 1.7)


def trigger_text(schedule: Schedule) -> str:
    """Return the trigger of a job's run by its schedule."""
    return f"Schedule - {schedule.canonical}"


def scheduling_text(schedule: Schedule, plan: Plan | None, now: datetime) -> str:
    """Return the line for a schedule that was read."""
    return f"Scheduling WebJob with {schedule.canonical} {_expected(plan, now)}"


def next_text(plan: Plan | None, now: datetime) -> str:
    """Return the line for a tick that is done."""
    text = _expected(plan, now)
    return text[0].upper() + text[1:]


def missed_text(schedule: Schedule, count: int, most_recent: datetime) -> str:
    """Return the line for ticks that nobody was up for."""
    return f"Missed {count} schedules, most recent at {wall_text(schedule, most_recent)}"


def wall_text(schedule: Schedule, instant: datetime) -> str:
    """Return an instant as the schedule's wall clock shows it, the way Kudu's logs write it."""
    return f"{instant.astimezone(ZoneInfo(schedule.zone)):%m/%d/%Y %H:%M:%S}"


def _expected(plan: Plan | None, now: datetime) -> str:
    if plan is None:
        return "next schedule expected never: no date fits it"
    return f"next schedule expected in {span_text(max(plan.at - now, timedelta(0)))}"
