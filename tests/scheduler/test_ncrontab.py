"""The two dialects of NCRONTAB, expanded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from scheduler.ncrontab import Dialect, ScheduleError, parse_crontab


def canonical(text: str, dialect: Dialect = Dialect.JOB) -> str:
    """Return the canonical text."""
    return parse_crontab(text, dialect).canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 */15 * * * *", "0 0,15,30,45 * * * *"),
        ("*/10 * * * * *", "0,10,20,30,40,50 * * * * *"),
        ("0 0 22-2 * * *", "0 0 2-22 * * *"),
        ("0 0 0 * * 5-1", "0 0 0 * * 1-5"),
        ("0 0 0 * * MON-fri", "0 0 0 * * 1-5"),
        ("0 0 0 * * Wednes", "0 0 0 * * 3"),
        ("0 0 0 1 J *", "0 0 0 1 1 *"),
        ("0 0 0 1 ju *", "0 0 0 1 6 *"),
        ("0 0 0 1 July *", "0 0 0 1 7 *"),
        ("0 0 0 * * t", "0 0 0 * * 2"),
        ("0 0 0 13 * Fri", "0 0 0 13 * 5"),
        ("0 0 9-17/2 * * *", "0 0 9,11,13,15,17 * * *"),
        ("0 30/10 * * * *", "0 30,40,50 * * * *"),
        ("0 */100 * * * *", "0 0 * * * *"),
        ("0 5/1 * * * *", "0 5 * * * *"),
        ("0 5/0 * * * *", "0 5 * * * *"),
        ("0 */0 * * * *", "0 * * * * *"),
        ("0 */-3 * * * *", "0 * * * * *"),
        ("0 1,2,3,7,9,10 * * * *", "0 1-3,7,9-10 * * * *"),
        ("0 0-59 0-23 1-31 1-12 0-6", "0 * * * * *"),
        ("  0  007  *  *  *  * ", "0 7 * * * *"),
        ("0 0 0 30 2 *", "0 0 0 30 2 *"),
    ],
)
def test_an_expression_is_expanded_to_its_canonical_text(text: str, expected: str) -> None:
    """webjobs.md 2.1, line by line."""
    assert canonical(text) == expected


def test_functions_take_a_step_of_one_literally() -> None:
    """NCrontab 3 mended what NCrontab 2 did with `5/1`."""
    assert canonical("0 5/1 * * * *", Dialect.TIMER) == "0 5-59 * * * *"


def test_functions_may_leave_the_seconds_out_and_webjobs_may_not() -> None:
    """Five fields occur in real apps; a WebJob with five is told where to put the sixth."""
    assert canonical("*/5 * * * *", Dialect.TIMER) == "0 0,5,10,15,20,25,30,35,40,45,50,55 * * * *"
    with pytest.raises(ScheduleError, match=r"it has 5 fields.*'0 \*/5 \* \* \* \*'"):
        canonical("*/5 * * * *")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has 0 fields; 6 fields are needed"),
        ("00:05:00", "it has 1 field;.*only functions take a time span"),
        ("@daily", "'@daily' are not known, '0 0 0 "),
        ("0 0 0 1 1 * 2026", "it has 7 fields.*no field for the year"),
        ("0 0 0 * * 7", r"day of week \(field 6 of 6\) '7': 7 is not within 0-6; Sunday is 0"),
        ("0 60 * * * *", r"minute \(field 2 of 6\) '60': 60 is not within 0-59"),
        ("0 0 24 * * *", r"hour \(field 3 of 6\).*0-23"),
        ("0 0 0 0 * *", r"day of month \(field 4 of 6\).*1-31"),
        ("0 0 0 1 13 *", r"month \(field 5 of 6\).*1-12"),
        ("0 0 0 ? * *", "'\\?' is not known; write '\\*'"),
        ("0 0 0 L * *", "no L, W or #"),
        ("0 0 0 * * 5#2", "no L, W or #"),
        ("0 0 0 * * Xday", "'Xday' is not a number within 0-6, or a name such as Monday or Mon"),
        ("0 1-2-3 * * * *", "'2-3' is not a number"),
        ("0 1/2/3 * * * *", "the step '2/3'"),
        ("0 */ * * * *", "the step ''"),
        ("0 ,5 * * * *", "a value is missing"),
        ("0 5, * * * *", "a value is missing"),
        ("0 -5 * * * *", "a value is missing"),
        ("0 5- * * * *", "a value is missing"),
        ("0 ** * * * *", "is not a number"),
        ("0 \u0661 * * * *", "is not a number"),
        (f"0 {'9' * 9999} * * * *", "is not within"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_its_cure(text: str, message: str) -> None:
    """The author reads what is wrong, where, what is allowed and what to write."""
    with pytest.raises(ScheduleError, match=message):
        canonical(text)


def test_the_field_is_counted_as_its_author_counts() -> None:
    """Who wrote five fields is not told of a sixth."""
    with pytest.raises(ScheduleError, match=r"hour \(field 2 of 5\)"):
        canonical("0 25 * * *", Dialect.TIMER)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("0 30 2 * * *", False),
        ("0 0,30 2,3 * * *", False),
        ("0 30 * * * *", True),
        ("0 */15 2 * * *", True),
        ("0 0 1-3 * * *", True),
        ("0 0 2 */2 1-6 Mon-Fri", False),
    ],
)
def test_a_mark_in_seconds_minutes_or_hours_makes_an_interval(text: str, interval: bool) -> None:
    """Days, months and weekdays do not count."""
    assert parse_crontab(text, Dialect.TIMER).interval is interval


@pytest.mark.parametrize(
    ("text", "subminute"),
    [
        ("* * * * * *", True),
        ("0,30 * * * * *", True),
        ("5 * * * * *", False),
        ("*/60 * * * * *", False),
        ("0,30 0 * * * *", False),
    ],
)
def test_more_than_one_second_of_every_minute_is_subminute(text: str, subminute: bool) -> None:
    """Only `X * * * * *` switches the monitor off."""
    assert parse_crontab(text, Dialect.TIMER).subminute is subminute


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("0 0 0 30 2 *", False),
        ("0 0 0 31 2,4,6,9,11 *", False),
        ("0 0 0 29 2 0", True),
        ("0 0 0 31 4,5 *", True),
        ("0 0 0 30-31 2 *", False),
    ],
)
def test_dates_that_never_come_are_known_without_a_search(text: str, possible: bool) -> None:
    """30 February parses, and is known never to fire."""
    assert parse_crontab(text, Dialect.TIMER).possible is possible


_NUMBERS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@trials(100)
@given(
    st.tuples(*(st.sets(st.integers(low, high), min_size=1, max_size=8) for low, high in _NUMBERS))
)
def test_the_canonical_text_means_what_it_was_made_from(fields: tuple[set[int], ...]) -> None:
    """It reads back to the same numbers, in both dialects."""
    text = " ".join(",".join(map(str, values)) for values in fields)
    expected = tuple(tuple(sorted(values)) for values in fields)
    for dialect in Dialect:
        parsed = parse_crontab(text, dialect)
        assert parsed.values == expected
        assert parse_crontab(parsed.canonical, dialect).values == expected


@trials(100)
@given(st.text(alphabet="0123456789*/-, ?LW#monJAN@:.", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error ever comes out of a text."""
    for dialect in Dialect:
        try:
            parsed = parse_crontab(text, dialect)
        except ScheduleError:
            continue
        assert all(parsed.values)
