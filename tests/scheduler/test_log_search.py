"""Searching a log: what matches is found, and no pattern and no log takes more than its share."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from job_fakes import START

from scheduler import log_search
from scheduler.errors import BadRequestError, UnavailableError
from scheduler.log_line import Level, segment_block
from scheduler.log_search import Found, LogSearch, Question
from scheduler.log_segments import segments_in
from scheduler.log_writer import SegmentWriter

pytestmark = pytest.mark.real  # each search is a process


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder of a log of a thousand lines; every tenth is an error."""
    made: Path = tmp_path_factory.mktemp("log")
    writer = SegmentWriter(made, limit_bytes=1 << 30, segment_bytes=4000)
    for number in range(1000):
        level = Level.ERR if number % 10 == 0 else Level.OUT
        at = START + timedelta(seconds=number, milliseconds=500)
        writer.append(segment_block(at, "a1b2c3", level, [f"line {number} of INFO"]), 1)
    return made


def search(folder: Path, question: Question, **options: float) -> Found:
    """Return what a search finds."""
    return asyncio.run(LogSearch(**options).search(segments_in(folder), question))


def numbers(found: Found) -> list[int]:
    """Return which lines were found."""
    assert found.complete
    return [line.number for line in found.lines]


def test_a_text_is_looked_for_as_it_is(folder):
    """Signs of a regular expression in a text are only signs, and heads are no text."""
    assert numbers(search(folder, Question(text="line 77 "))) == [77]
    assert numbers(search(folder, Question(text="line .7"))) == []
    assert numbers(search(folder, Question(text="2026"))) == []


def test_a_pattern_finds_its_lines(folder):
    """Python's own syntax; anchors are those of the line's text."""
    assert numbers(search(folder, Question(regex=r"^line (7|99)\b"))) == [7, 99]


def test_streams_and_times_narrow_it(folder):
    """Stderr only, from a moment on, in a range of lines."""
    since = START + timedelta(seconds=970)
    assert numbers(search(folder, Question(stream="stderr", since=since))) == [970, 980, 990]
    found = search(folder, Question(stream="stderr", from_line=15, to_line=41))
    assert numbers(found) == [20, 30, 40]


def test_the_newest_are_found_from_the_end(folder):
    """`tail` of a search: the last ones, in their order."""
    assert numbers(search(folder, Question(text="line", limit=3, newest=True))) == [997, 998, 999]


def test_a_search_goes_on_where_it_ended(folder):
    """Page by page everything is found once."""
    found = search(folder, Question(stream="stderr", limit=60))
    rest = search(folder, Question(stream="stderr", limit=60, from_line=found.next or 0))
    assert numbers(found) + numbers(rest) == list(range(0, 1000, 10))
    assert rest.next is None


def test_a_catastrophic_pattern_costs_its_own_seconds(tmp_path):
    """It is killed, what was found before is there, and the answer says that it is not all."""
    writer = SegmentWriter(tmp_path, limit_bytes=1 << 30)
    for text in ("aab", "a" * 60 + "!"):
        writer.append(segment_block(START, "a1b2c3", Level.OUT, [text]), 1)
    found = search(tmp_path, Question(regex=r"^(a|aa)+b?$"), search_s=2.0)
    assert [line.text for line in found.lines] == ["aab"]
    assert not found.complete
    assert found.next == 1
    assert "2 s" in found.reason or "processor" in found.reason


@pytest.mark.parametrize(("regex", "told"), [("(", "missing"), ("x" * 1001, "1000 is the limit")])
def test_a_pattern_that_is_none_is_refused(folder, regex, told):
    """The caller learns what is wrong with it."""
    with pytest.raises(BadRequestError, match=told):
        search(folder, Question(regex=regex))


def test_a_search_that_was_cut_off_goes_on_behind_what_it_saw(tmp_path):
    """Also where nothing was found: asking again does not begin at the beginning."""
    writer = SegmentWriter(tmp_path, limit_bytes=1 << 30, segment_bytes=1000)
    for number in range(50):
        text = "a" * 60 + "!" if number == 40 else f"line {number}"
        writer.append(segment_block(START, "a1b2c3", Level.OUT, [text]), 1)
    found = search(tmp_path, Question(regex=r"^(a|aa)+b$"), search_s=2.0)
    assert not found.complete
    assert found.lines == []
    assert found.next is not None
    assert 20 < found.next <= 40


def test_an_answer_is_bounded(folder, monkeypatch):
    """More than fits is cut off, and said to be."""
    monkeypatch.setattr(log_search, "ANSWER_BYTES", 500)
    found = search(folder, Question(text="line"))
    assert not found.complete
    assert "500 bytes" in found.reason


def test_too_many_searches_are_refused(folder):
    """They take turns; who waits too long is told to try again."""

    async def crowd() -> None:
        search = LogSearch(turn_s=0.01)
        search._turns = asyncio.Semaphore(0)
        with pytest.raises(UnavailableError, match="under way"):
            await search.search(segments_in(folder), Question(text="x"))

    asyncio.run(crowd())
