"""Zone names and the jumps of wall clocks."""

# ruff: noqa: DTZ001 - stretches are UTC without tzinfo
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from scheduler import zones
from scheduler.zones import iana_name, similar_names, stretches


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("w. europe standard time", "Europe/Berlin"),
        (" Pacific Standard Time ", "America/Los_Angeles"),
        ("India Standard Time", "Asia/Kolkata"),
        ("Coordinated Universal Time", "UTC"),
    ],
)
def test_a_zone_is_found_by_its_iana_or_windows_name_in_any_case(text: str, name: str) -> None:
    """Azure's settings name zones as Windows does, people write them as they like."""
    assert iana_name(text) == name


@pytest.mark.parametrize(
    "text", ["", "Berlin", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "localtime", "Europe"]
)
def test_what_is_no_zone_is_none(text: str) -> None:
    """Neither a directory nor this machine's own zone is a name."""
    assert iana_name(text) is None


def test_every_windows_name_leads_to_a_zone_that_exists() -> None:
    """The table is complete enough, and none of its zones is misspelt."""
    assert len(zones._WINDOWS) >= 135
    assert set(zones._WINDOWS.values()) <= available_timezones()


def test_a_town_alone_is_told_its_full_name() -> None:
    """The fix is in the message, not in a manual."""
    assert similar_names("Berlin") == ["Europe/Berlin"]
    assert "Europe/Berlin" in similar_names("Europe/Berln")


def test_the_jumps_of_a_year_are_found_to_the_second() -> None:
    """Berlin in 2026: forward on 29 March, back on 25 October, both at 01:00 UTC."""
    winter, summer, autumn = stretches("Europe/Berlin", 2026)
    assert (winter.end, summer.end) == (datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1))
    assert (summer.before, summer.offset, summer.after) == (
        timedelta(hours=1),
        timedelta(hours=2),
        timedelta(hours=1),
    )
    assert autumn.end == datetime(2027, 1, 1)
    assert autumn.after == autumn.offset


def test_a_zone_that_leaves_out_a_day_has_a_jump_of_a_day() -> None:
    """Samoa had no 30 December 2011."""
    before, after = stretches("Pacific/Apia", 2011)[-2:]
    assert after.offset - before.offset == timedelta(days=1)


@trials(100)
@given(
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
    ),
    instant=st.datetimes(datetime(1975, 1, 1), datetime(2060, 1, 1)),
)
def test_stretches_cover_a_year_and_say_the_offset_of_every_instant(
    zone: str, instant: datetime
) -> None:
    """They are the zone's rules, cut to pieces."""
    pieces = stretches(zone, instant.year)
    assert pieces[0].start == datetime(instant.year, 1, 1)
    assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
    (piece,) = [piece for piece in pieces if piece.start <= instant < piece.end]
    assert instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset() == piece.offset
