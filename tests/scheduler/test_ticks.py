"""Which tick runs: the rules for functions and for triggered jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from scheduler import ticks
from scheduler.schedule import parse_job, parse_timer
from scheduler.ticks import JobStart, Plan, Reason, TimerStatus

HOURLY = parse_timer("0 0 * * * *")
FIVE_MINUTES = parse_timer("00:05:00")
NEVER = parse_timer("0 0 0 30 2 *")


def at(hour: int, minute: int = 0, second: int = 0, *, day: int = 5) -> datetime:
    """Return an instant of January 2026."""
    return datetime(2026, 1, day, hour, minute, second, tzinfo=UTC)


def begin(
    status: TimerStatus | None, now: datetime, *, run_on_startup: bool = False
) -> ticks.Start:
    """Start the hourly timer."""
    return ticks.start(HOURLY, status, now, run_on_startup=run_on_startup)


# --- Functions


def test_a_new_timer_waits_for_its_next_tick() -> None:
    """No status: nothing is past due, and the next tick is written down."""
    started = begin(None, at(10, 30))
    assert started.plan == Plan(at(11), at(11))
    assert started.status == TimerStatus(None, at(11), at(10, 30))


def test_a_restart_before_the_next_tick_changes_nothing() -> None:
    """The status stays as it is."""
    status = TimerStatus(at(10), at(11), at(10))
    assert begin(status, at(10, 59)) == ticks.Start(Plan(at(11), at(11)), status)


def test_however_many_ticks_were_missed_one_runs_at_once_and_is_past_due() -> None:
    """It is the tick that the status had promised."""
    status = TimerStatus(at(10), at(11), at(10))
    started = begin(status, at(18, 15))
    assert started.plan == Plan(at(11), at(18, 15), Reason.PAST_DUE)


def test_a_timer_that_never_ran_can_be_past_due() -> None:
    """LastUpdated says since when it waits."""
    status = TimerStatus(None, at(11), at(10, 30))
    assert begin(status, at(11, 1)).plan == Plan(at(11), at(11, 1), Reason.PAST_DUE)


def test_a_tick_at_this_very_instant_is_not_past_due() -> None:
    """Late begins after the instant."""
    status = TimerStatus(at(10), at(11), at(10))
    assert begin(status, at(11)).plan == Plan(at(11), at(11))


def test_a_changed_schedule_is_not_past_due() -> None:
    """Next was computed by another schedule: it says nothing about this one."""
    status = TimerStatus(at(10), at(10, 5), at(10))
    started = begin(status, at(18, 15))
    assert started.plan == Plan(at(19), at(19))
    assert started.status == TimerStatus(at(10), at(19), at(18, 15))
    assert begin(started.status, at(19, 30)).plan == Plan(at(19), at(19, 30), Reason.PAST_DUE)


@pytest.mark.parametrize("missing", [None, at(11)])
def test_a_schedule_that_never_fires_has_no_plan(missing: datetime | None) -> None:
    """Whatever the status said before."""
    status = TimerStatus(at(10), missing, at(10))
    started = ticks.start(NEVER, status, at(12), run_on_startup=False)
    assert (started.plan, started.status.next) == (None, None)


def test_run_on_startup_runs_at_every_start() -> None:
    """With a status or without one."""
    expected = Plan(at(10, 30), at(10, 30), Reason.STARTUP)
    assert begin(None, at(10, 30), run_on_startup=True).plan == expected
    status = TimerStatus(at(10), at(11), at(10))
    assert begin(status, at(10, 30), run_on_startup=True).plan == expected


def test_past_due_goes_before_run_on_startup() -> None:
    """One run, not two."""
    status = TimerStatus(at(10), at(11), at(10))
    started = begin(status, at(12), run_on_startup=True)
    assert started.plan == Plan(at(11), at(12), Reason.PAST_DUE)


def test_a_status_from_the_future_is_made_anew() -> None:
    """The clock was wrong when it was written; the timer must not wait for that time."""
    status = TimerStatus(at(10, day=20), at(11, day=20), at(10, day=20))
    assert begin(status, at(10, 30)).plan == Plan(at(11), at(11))


def test_the_next_tick_is_the_first_after_the_start_of_the_run() -> None:
    """A run of two hours: the tick within it runs at once when it ends, the other is dropped."""
    status = ticks.after_run(HOURLY, None, Plan(at(10), at(10)), started=at(10, 0, 1))
    assert status == TimerStatus(at(10, 0, 1), at(11), at(10, 0, 1), done=at(10))
    assert ticks.following(status, at(12, 30)) == Plan(at(11), at(12, 30))
    assert ticks.following(status, at(10, 30)) == Plan(at(11), at(11))


def test_an_interval_goes_by_the_start_of_the_run() -> None:
    """Five minutes after the last start, not after the last due instant."""
    status = ticks.after_run(FIVE_MINUTES, None, Plan(at(10), at(10)), started=at(10, 0, 2))
    assert status.next == at(10, 5, 2)


def test_a_run_that_began_early_does_not_bring_its_tick_again() -> None:
    """The clock was set back by a second between the wake-up and the run."""
    status = ticks.after_run(HOURLY, None, Plan(at(10), at(10)), started=at(9, 59, 59))
    assert status.next == at(11)


def test_what_has_been_done_is_remembered_over_a_clock_that_is_put_back() -> None:
    """A tick that was run before the clock was put back is not taken for one that was cut off."""
    late = ticks.after_run(HOURLY, None, Plan(at(12), at(12)), started=at(12))
    early = ticks.after_run(HOURLY, late, Plan(at(11), at(11)), started=at(11))
    assert early == TimerStatus(at(11), at(12), at(11), done=at(12))
    assert early.has_done(at(12))
    assert not early.has_done(at(13))
    assert not TimerStatus(None, at(11), at(10)).has_done(at(11))


@pytest.mark.parametrize(
    "status",
    [
        TimerStatus(None, at(11), at(10)),
        TimerStatus(at(10), None, at(10)),
        TimerStatus(at(10) + timedelta(microseconds=1), at(11), at(10), done=at(10)),
    ],
)
def test_a_status_survives_the_store(status: TimerStatus) -> None:
    """To the microsecond, never included."""
    assert TimerStatus.from_json(status.to_json()) == status


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", '"x"', '{"Last":"x","Next":"x","LastUpdated":"x"}'),
        '{"Last":null,"Next":null,"LastUpdated":null}',
        json.dumps(dict.fromkeys(["Last", "Next", "LastUpdated"], "0001-01-01T00:00:00")),
        '{"Last":1,"Next":2,"LastUpdated":3}',
    ],
)
def test_a_broken_status_is_no_status(text: str) -> None:
    """It must not stop a schedule for good."""
    assert TimerStatus.from_json(text) is None


def test_a_status_of_the_azure_host_is_understood() -> None:
    """Local time with an offset and seven digits."""
    status = TimerStatus.from_json(
        '{"Last":"2026-01-05T11:00:00.0012345+01:00","Next":"2026-01-05T12:00:00+01:00",'
        '"LastUpdated":"2026-01-05T11:00:00.0012345+01:00"}'
    )
    assert status is not None
    assert status.next == at(11)
    assert status.last == at(10) + timedelta(microseconds=1234)


def test_the_payload_is_what_the_timer_object_is_read_from() -> None:
    """functions.md 8; times are those of the schedule's own clock."""
    schedule = parse_timer("0 0 * * * *", zone="Europe/Berlin")
    text = ticks.payload(schedule, TimerStatus(None, at(11), at(10)), past_due=True)
    assert json.loads(text) == {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {
            "Last": "0001-01-01T00:00:00",
            "Next": "2026-01-05T12:00:00+01:00",
            "LastUpdated": "2026-01-05T11:00:00+01:00",
        },
        "IsPastDue": True,
    }


def test_without_a_monitor_the_payload_has_no_status() -> None:
    """Null, which the library makes {} of."""
    value = json.loads(ticks.payload(HOURLY, None, past_due=False))
    assert (value["ScheduleStatus"], value["IsPastDue"]) == (None, False)


# --- Jobs


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        (None, at(10, 30), JobStart(Plan(at(11), at(11)))),
        (at(10), at(10, 30), JobStart(Plan(at(11), at(11)))),
        (at(9, 59), at(10), JobStart(Plan(at(10), at(10)))),
        (at(9, 30), at(10, 7), JobStart(Plan(at(10), at(10, 7), Reason.PAST_DUE))),
        (at(9, 30), at(10, 10), JobStart(Plan(at(10), at(10, 10), Reason.PAST_DUE))),
        (at(9, 30), at(10, 11), JobStart(Plan(at(11), at(11)), missed_after=at(9, 30))),
        (at(7, 30), at(10, 1), JobStart(Plan(at(11), at(11)), missed_after=at(7, 30))),
        (at(9, day=20), at(10, 30), JobStart(Plan(at(11), at(11)))),
    ],
)
def test_a_job_makes_good_a_missed_tick_of_ten_minutes_at_most(
    last: datetime | None, now: datetime, expected: JobStart
) -> None:
    """The oldest missed tick decides; a later one that is recent does not help."""
    assert ticks.start_job(HOURLY, last, now) == expected


def test_a_job_whose_schedule_never_fires_has_no_plan() -> None:
    """It can still be run by hand."""
    assert ticks.start_job(NEVER, at(1), at(10)) == JobStart(None)
    assert ticks.start_job(NEVER, None, at(10)) == JobStart(None)


def test_after_a_job_s_tick_the_next_is_counted_from_now() -> None:
    """Ticks that passed meanwhile are not run, and an early one does not come again."""
    plan = Plan(at(10), at(10))
    assert ticks.after_tick(HOURLY, plan, at(12, 30)) == Plan(at(13), at(13))
    assert ticks.after_tick(HOURLY, plan, at(9, 59, 59)) == Plan(at(11), at(11))


def test_instants_between_two_are_listed_with_the_end_and_without_the_beginning() -> None:
    """(after, until]."""
    assert list(ticks.between(HOURLY, at(10), at(12))) == [at(11), at(12)]
    assert list(ticks.between(NEVER, at(10), at(12))) == []


def test_logs_use_the_words_that_tools_look_for() -> None:
    """webjobs.md 1.7."""
    schedule = parse_job("0 */15 * * * *", zone="Europe/Berlin")
    plan = Plan(at(10, 15), at(10, 15))
    now = at(10, 3, 59) + timedelta(milliseconds=250)
    assert ticks.trigger_text(schedule) == "Schedule - 0 0,15,30,45 * * * *"
    assert ticks.scheduling_text(schedule, plan, now) == (
        "Scheduling WebJob with 0 0,15,30,45 * * * * next schedule expected in 00:11:00.7500000"
    )
    assert ticks.next_text(plan, at(10)) == "Next schedule expected in 00:15:00"
    assert ticks.next_text(plan, at(11)) == "Next schedule expected in 00:00:00"
    assert ticks.missed_text(schedule, 3, at(10)) == (
        "Missed 3 schedules, most recent at 01/05/2026 11:00:00"
    )
    assert "never" in ticks.next_text(None, at(10))


def test_names_of_timers_mind_no_case() -> None:
    """A function that is renamed in case only keeps its ticks."""
    assert ticks.function_timer("Nightly") == ticks.function_timer("nightly")
    assert ticks.job_timer("Report") == ticks.job_timer("REPORT") != ticks.function_timer("report")
    assert ticks.status_key("Nightly") == "timer/nightly"
