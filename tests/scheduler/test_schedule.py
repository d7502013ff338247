"""When schedules fire: against brute force, over daylight saving, at scale."""

# ruff: noqa: DTZ001 - wall clocks have no tzinfo
from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from scheduler.schedule import (
    CronSchedule,
    IntervalSchedule,
    Schedule,
    ScheduleError,
    parse_job,
    parse_timer,
    span_text,
    zone_name,
)

BERLIN = "Europe/Berlin"
ZONES = [BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"]


def utc(*numbers: int) -> datetime:
    """Return an instant."""
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc]


def local(schedule: Schedule, after: datetime, count: int) -> list[str]:
    """Return instants as the zone's wall clock shows them."""
    zone = ZoneInfo(schedule.zone)
    found = schedule.occurrences(after, count)
    return [f"{instant.astimezone(zone):%d %H:%M%z}"[:-2] for instant in found]


# --- The wall clock


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 0 0 13 * Fri", utc(2026, 1, 1), utc(2026, 2, 13)),
        ("0 */5 * * * *", utc(2026, 1, 1, 10, 5), utc(2026, 1, 1, 10, 10)),
        ("*/5 * * * *", utc(2026, 1, 1, 10, 5, 0, 1), utc(2026, 1, 1, 10, 10)),
        ("* * * * * *", utc(2026, 1, 1, 10, 5, 0, 999999), utc(2026, 1, 1, 10, 5, 1)),
        ("59 59 23 31 12 *", utc(2026, 12, 31, 23, 59, 59), utc(2027, 12, 31, 23, 59, 59)),
        ("0 0 0 31 * *", utc(2026, 1, 31), utc(2026, 3, 31)),
        ("0 0 0 29 2 *", utc(2026, 1, 1), utc(2028, 2, 29)),
        ("0 0 0 29 2 Mon", utc(2073, 1, 1), utc(2112, 2, 29)),
    ],
)
def test_the_next_instant_is_the_first_that_fits_strictly_after(
    text: str, after: datetime, expected: datetime
) -> None:
    """Day of month and day of week must both fit; fractions of a second are dropped."""
    assert parse_timer(text).next_after(after) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_a_date_that_never_comes_is_none_at_once(zone: str) -> None:
    """30 February is a schedule that never fires, not an error."""
    schedule = parse_job("0 0 0 30 2 *", zone=zone)
    assert schedule.next_after(utc(2026, 1, 1)) is None
    assert schedule.occurrences(utc(2026, 1, 1), 5) == []


def test_the_end_of_time_is_no_error() -> None:
    """Where datetime ends, schedules do."""
    assert parse_timer("0 0 0 1 1 *").next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert parse_timer("9999999.00:00:00").next_after(utc(2026, 1, 1)) is None


def test_instants_in_any_zone_are_understood() -> None:
    """What counts is the instant, the answer is in UTC."""
    there = datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("Asia/Kolkata"))
    found = parse_timer("0 0 * * * *").next_after(there)
    assert found == utc(2026, 7, 1, 7)
    assert found.tzinfo is UTC


def fits(sets: tuple[set[int], ...], instant: datetime) -> bool:
    """Tell whether every number of a time is in its field."""
    numbers = (instant.second, instant.minute, instant.hour, instant.day, instant.month)
    return all(number in values for number, values in zip(numbers, sets, strict=False)) and (
        instant.isoweekday() % 7 in sets[5]
    )


def labels(sets: tuple[set[int], ...], first: date, days: int) -> Iterator[datetime]:
    """Yield every wall-clock time in a few days that fits, by trying all."""
    times = list(product(sorted(sets[2]), sorted(sets[1]), sorted(sets[0])))
    dates = [first + timedelta(days=number) for number in range(days)]
    midnights = [datetime(day.year, day.month, day.day) for day in dates]
    return (
        midnight.replace(hour=hour, minute=minute, second=second)
        for midnight in midnights
        if fits((set(range(60)), set(range(60)), set(range(24)), *sets[3:]), midnight)
        for hour, minute, second in times
    )


def as_text(sets: Iterable[set[int]]) -> str:
    """Return fields as an expression."""
    return " ".join(",".join(map(str, sorted(values))) for values in sets)


def some(low: int, high: int, most: int = 4) -> st.SearchStrategy[set[int]]:
    """Make a few numbers of a field, or all."""
    every = st.just(set(range(low, high + 1)))
    return st.one_of(st.sets(st.integers(low, high), min_size=1, max_size=most), every)


FIELDS = st.tuples(
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    some(0, 23),
    some(1, 31),
    some(1, 12),
    some(0, 6),
)


@trials(60)
@given(sets=FIELDS, start=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)))
def test_the_next_instant_agrees_with_trying_every_day(
    sets: tuple[set[int], ...], start: datetime
) -> None:
    """In UTC, over a window of 400 days."""
    found = parse_job(as_text(sets)).next_after(start.replace(tzinfo=UTC))
    window = labels(sets, start.date(), 400)
    expected = next((label for label in window if label > start), None)
    if expected is not None:
        assert found == expected.replace(tzinfo=UTC)
    else:
        assert found is None or found.date() >= start.date() + timedelta(days=400)


# --- Daylight saving


def test_spring_a_skipped_time_moves_forward_by_the_gap() -> None:
    """Daily 02:30 in Berlin fires at 03:30 on 28 March 2027, once."""
    schedule = parse_timer("0 30 2 * * *", zone=BERLIN)
    assert local(schedule, utc(2027, 3, 26, 12), 3) == ["27 02:30+01", "28 03:30+02", "29 02:30+02"]


def test_spring_a_skipped_time_that_meets_another_fires_once() -> None:
    """02:30 moves to 03:30, where the schedule fires anyway."""
    schedule = parse_timer("0 30 2,3 * * *", zone=BERLIN)
    assert local(schedule, utc(2027, 3, 28), 3) == ["28 03:30+02", "29 02:30+02", "29 03:30+02"]


def test_spring_a_moved_time_may_come_after_one_that_stands() -> None:
    """02:45 becomes 03:45, and 03:15 still comes before it."""
    schedule = parse_timer("0 15,45 2,3 * * *", zone=BERLIN)
    assert local(schedule, utc(2027, 3, 28), 3) == ["28 03:15+02", "28 03:45+02", "29 02:15+02"]


def test_spring_an_interval_goes_on_by_elapsed_time() -> None:
    """Every half hour stays every half hour."""
    schedule = parse_timer("0 */30 * * * *", zone=BERLIN)
    assert local(schedule, utc(2027, 3, 28, 0, 15), 3) == [
        "28 01:30+01",
        "28 03:00+02",
        "28 03:30+02",
    ]


def test_autumn_a_repeated_time_fires_the_first_time_only() -> None:
    """Daily 02:30 in Berlin fires once on 25 October 2026, in summer time."""
    schedule = parse_timer("0 30 2 * * *", zone=BERLIN)
    assert local(schedule, utc(2026, 10, 24, 12), 2) == ["25 02:30+02", "26 02:30+01"]


def test_autumn_a_start_between_the_two_passes_takes_the_first_as_done() -> None:
    """At 02:15 the second time, 02:30 has been: the next one is tomorrow."""
    schedule = parse_timer("0 30 2 * * *", zone=BERLIN)
    assert local(schedule, utc(2026, 10, 25, 1, 15), 1) == ["26 02:30+01"]


def test_autumn_an_interval_runs_through_both_passes() -> None:
    """Every 30 minutes: four times between 02:00 and 02:59."""
    schedule = parse_timer("0 */30 * * * *", zone=BERLIN)
    assert local(schedule, utc(2026, 10, 24, 23, 45), 6) == [
        "25 02:00+02",
        "25 02:30+02",
        "25 02:00+01",
        "25 02:30+01",
        "25 03:00+01",
        "25 03:30+01",
    ]


def test_a_jump_of_half_an_hour_is_kept_apart_from_one_of_an_hour() -> None:
    """Lord Howe goes forward by 30 minutes at 02:00: 02:15 fires at 02:45."""
    schedule = parse_timer("0 15 2 * * *", zone="Australia/Lord_Howe")
    found = schedule.next_after(utc(2026, 10, 3, 12))
    assert found is not None
    assert f"{found.astimezone(ZoneInfo(schedule.zone)):%m-%d %H:%M %z}" == "10-04 02:45 +1100"


def instants(label: datetime, zone: ZoneInfo, interval: bool) -> set[datetime]:
    """Say with zoneinfo's own means when a wall-clock time fires."""
    first = label.replace(tzinfo=zone).astimezone(UTC)
    second = label.replace(tzinfo=zone, fold=1).astimezone(UTC)
    is_real = first.astimezone(zone).replace(tzinfo=None) == label
    return {first, second} if interval and is_real else {first}


JUMPS = [
    (BERLIN, date(2027, 3, 28)),
    (BERLIN, date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("UTC", date(2026, 12, 31)),
]


@trials(100)
@given(
    jump=st.sampled_from(JUMPS),
    seconds=st.sets(st.integers(0, 59), min_size=1, max_size=2),
    minutes=some(0, 59),
    hours=some(0, 5, most=3),
    minute=st.integers(0, 36 * 60),
    written_as_interval=st.booleans(),
)
def test_around_a_jump_schedules_agree_with_brute_force(
    jump: tuple[str, date],
    seconds: set[int],
    minutes: set[int],
    hours: set[int],
    minute: int,
    written_as_interval: bool,
) -> None:
    """Every instant of three days is found, in order, from any beginning."""
    name, day = jump
    zone = ZoneInfo(name)
    sets = (seconds, minutes, hours, set(range(1, 32)), set(range(1, 13)), set(range(7)))
    text = as_text(sets)
    if written_as_interval:
        low = min(hours)
        text = text.replace(f" {as_text([hours])} ", f" {as_text([hours])},{low}-{low} ", 1)
    schedule = parse_timer(text, zone=name)
    assert isinstance(schedule, CronSchedule)
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
    start = begin + timedelta(minutes=minute)
    window = labels(sets, day - timedelta(days=3), 7)
    fired = set[datetime]().union(*(instants(one, zone, schedule.interval) for one in window))
    end = begin + timedelta(days=3)
    expected = sorted(instant for instant in fired if start < instant < end)
    expected = expected[:25]  # more of the same proves nothing and costs time
    assert schedule.occurrences(start, len(expected)) == expected


@trials(40)
@given(
    sets=FIELDS,
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
)
def test_instants_strictly_increase(sets: tuple[set[int], ...], zone: str, start: datetime) -> None:
    """Nothing fires twice and time never goes back."""
    found = parse_job(as_text(sets), zone=zone).occurrences(start.replace(tzinfo=UTC), 20)
    assert all(one < two for one, two in pairwise(found))
    assert all(instant > start.replace(tzinfo=UTC) for instant in found)


@trials(40)
@given(
    text=st.sampled_from(["0 30 2 * * *", "*/7 * * * * *", "0 0 */3 * * Mon", "0 0 0 30 2 *"]),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    hours=st.integers(0, 500),
)
def test_the_last_instant_of_a_span_is_found_without_a_walk(
    text: str, zone: str, start: datetime, hours: int
) -> None:
    """It is in the span, and nothing comes between it and the end."""
    schedule = parse_timer(text, zone=zone)
    after = start.replace(tzinfo=UTC)
    until = after + timedelta(hours=hours)
    found = schedule.last_before(until, after)
    following = schedule.next_after(found or after)
    assert following is None or following >= until
    assert found is None or after < found < until


# --- Time spans


@pytest.mark.parametrize(
    ("text", "span", "canonical"),
    [
        ("00:05:00", timedelta(minutes=5), "00:05:00"),
        ("00:05", timedelta(minutes=5), "00:05:00"),
        ("23:59:59", timedelta(hours=23, minutes=59, seconds=59), "23:59:59"),
        ("24:00:00", timedelta(days=24), "24.00:00:00"),
        ("30:10:20", timedelta(days=30, hours=10, minutes=20), "30.10:20:00"),
        ("1.02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4), "1.02:03:04"),
        ("1:02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4), "1.02:03:04"),
        ("2.06:00", timedelta(days=2, hours=6), "2.06:00:00"),
        ("7", timedelta(days=7), "7.00:00:00"),
        ("00:00:00.5", timedelta(seconds=0.5), "00:00:00.5000000"),
        ("00:00:01.1234567", timedelta(seconds=1, microseconds=123456), "00:00:01.1234560"),
    ],
)
def test_a_time_span_is_read_as_dotnet_reads_it(text: str, span: timedelta, canonical: str) -> None:
    """Three numbers with a first above 23 are days, hours and minutes."""
    schedule = parse_timer(text)
    assert isinstance(schedule, IntervalSchedule)
    assert (schedule.span, schedule.canonical) == (span, canonical)
    assert schedule.next_after(utc(2026, 1, 1)) == utc(2026, 1, 1) + span
    assert schedule.subminute is (span < timedelta(minutes=1))
    assert span_text(span) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("00:60:00", "00:00:60", "24:00", "1.24:00:00", "25:60:00", "1.5", "abc", "1:2:3:4:5"),
        *("1..2:0", "00:00:00", "-00:05:00", "0", "1.", ":", "00:05:", "00:05:00.", "1.02"),
    ],
)
def test_what_is_no_time_span_is_refused_with_an_example(text: str) -> None:
    """The message shows how a span is written."""
    with pytest.raises(ScheduleError, match=r"'(1\.00:00:00|00:05:00)'"):
        parse_timer(text)


# --- Zones, sharing, speed


def test_a_windows_zone_becomes_the_iana_zone() -> None:
    """WEBSITE_TIME_ZONE holds Windows names."""
    assert parse_timer("0 0 8 * * *", zone="W. Europe Standard Time").zone == BERLIN


def test_an_unknown_zone_is_refused_with_a_proposal() -> None:
    """Who writes the town alone is told the rest."""
    with pytest.raises(
        ScheduleError, match=r"'Berlin' is no time zone.*did you mean Europe/Berlin"
    ):
        zone_name("Berlin")


def test_equal_texts_are_equal_schedules() -> None:
    """A definition that has not changed compares equal; zone and dialect count."""
    assert parse_timer("0 0 * * * *") == parse_timer("0 0 * * * *")
    assert parse_timer("0 0 * * * *") != parse_timer("0 0 * * * *", zone=BERLIN)
    assert parse_timer("0 5/1 * * * *") != parse_job("0 5/1 * * * *")


def test_threads_may_share_a_schedule() -> None:
    """A deployment is read in a thread while the loop asks for the next instant."""
    schedule = parse_timer("0 */5 * * * *")
    wrong: list[datetime | None] = []

    def ask(day: int) -> None:
        for minute in range(0, 60, 5):
            found = schedule.next_after(utc(2026, 1, day, 10, minute, 1))
            if found != utc(2026, 1, day, 10, minute) + timedelta(minutes=5):
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(day,)) for day in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.real
def test_ten_thousand_schedules_are_read_in_a_second_and_equal_ones_in_less() -> None:
    """performance.md: 10,000 different ones within 1.5 s, equal ones within 0.3 s."""
    begun = time.perf_counter()
    for number in range(10_000):
        parse_timer(f"{number % 60} {number // 60 % 60} {number // 3600} * * *")
    different = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(10_000):
        parse_timer("0 */5 * * * *")
    assert (different < 1.5, time.perf_counter() - begun < 0.3) == (True, True)
