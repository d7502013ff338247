"""Logs over HTTP: tails, ranges, searches and followers of runs and jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from management_fakes import FakePlatform, a_run, management

from scheduler.functions import JobKind
from scheduler.journal import Journal
from scheduler.log_line import Level
from scheduler.log_segments import remove, segments_in
from scheduler.run import RunState

pytestmark = pytest.mark.real  # an HTTP server answers
MAIL = "/v1/jobs/continuous/mail/log"


@pytest.fixture
def platform(tmp_path) -> FakePlatform:
    """Return a platform with one of each kind."""
    made = FakePlatform(tmp_path)
    made.deploy_samples()
    return made


@pytest.fixture
def mail(platform) -> Journal:
    """Return the log of a continuous job."""
    journal: Journal = platform.logs.continuous(platform.catalog.job(JobKind.CONTINUOUS, "mail"))
    return journal


def fill(journal: Journal, count: int) -> None:
    """Write lines, every tenth to stderr."""
    for number in range(count):
        journal.output(Level.OUT if number % 10 else Level.ERR, [f"line {number}"])


async def get(platform: FakePlatform, path: str, **headers: str) -> Any:
    """Return an answer with its text."""
    async with management(platform) as client:
        answer = await client.get(path, headers=headers)
        return answer.status, await answer.text(), answer.headers


def words(text: str) -> list[str]:
    """Return the texts of lines."""
    return [line.partition("] ")[2] for line in text.splitlines()]


async def test_the_tail_and_a_range_of_lines(platform, mail):
    """Lines count from 0, the last one asked for is not given."""
    fill(mail, 500)
    _, text, headers = await get(platform, f"{MAIL}?tail=2")
    assert words(text) == ["line 498", "line 499"]
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    _, text, _ = await get(platform, f"{MAIL}?from_line=100&to_line=103")
    assert words(text) == ["line 100", "line 101", "line 102"]
    _, text, _ = await get(platform, f"{MAIL}?from_line=499")
    assert words(text) == ["line 499"]
    _, text, _ = await get(platform, f"{MAIL}s")
    assert len(words(text)) == 200


async def test_json_lines_have_all_facts(platform, mail):
    """Accept or format asks for them; seq is the number of the line."""
    fill(mail, 11)
    mail.error("boom")
    accept = {"Accept": "application/x-ndjson"}
    for path, headers in ((f"{MAIL}?tail=2", accept), (f"{MAIL}?tail=2&format=json", {})):
        _, text, got = await get(platform, path, **headers)
        assert got["Content-Type"].startswith("application/x-ndjson")
        out, system = map(json.loads, text.splitlines())
        assert (out["seq"], out["stream"], out["level"], out["text"]) == (
            10, "stderr", "error", "line 10"
        )  # fmt: skip
        assert (system["stream"], system["text"]) == ("system", "boom")
        assert out["at"].endswith("Z")


async def test_bytes_of_a_log(platform, mail):
    """206 with the range that is given; 416 beyond the end; what is no range is ignored."""
    fill(mail, 50)
    _, whole, _ = await get(platform, f"{MAIL}?from_line=0")
    size = len(whole)
    for asked, first, last in (
        ("bytes=0-9", 0, 9), ("bytes=100-", 100, size - 1), ("bytes=-7", size - 7, size - 1),
        (f"bytes=10-{size * 2}", 10, size - 1),
    ):  # fmt: skip
        status, text, headers = await get(platform, MAIL, Range=asked)
        assert status == 206
        assert headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert text == whole[first : last + 1]
    status, _, headers = await get(platform, MAIL, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    status, _, _ = await get(platform, MAIL, Range="lines=1-2")
    assert status == 200


async def test_a_search(platform, mail):
    """By text, by pattern, by stream; the answer says where to go on."""
    fill(mail, 100)
    _, text, _ = await get(platform, f"{MAIL}?q=line%2042")
    assert words(text) == ["line 42"]
    _, text, headers = await get(platform, f"{MAIL}?stream=stderr&from_line=0&limit=2")
    assert words(text) == ["line 0", "line 10"]
    assert headers["x-taak-next-line"] == "11"
    _, text, _ = await get(platform, f"{MAIL}?regex=7%24&tail=2&format=json")
    *lines, end = map(json.loads, text.splitlines())
    assert [line["seq"] for line in lines] == [87, 97]
    assert end == {"end": {"complete": True, "reason": "", "next_line": None}}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("tail=1&from_line=2", "either tail"),
        ("q=a&regex=b", "either q or regex"),
        ("stream=both", "none of stdout, stderr, system"),
        ("regex=(&tail=1", "regex"),
        ("follow=1&regex=a", "follow does not go with regex"),
        ("follow=1&to_line=5", "follow does not go with to_line"),
        ("format=xml", "none of text, json"),
        ("tail=-1", "tail"),
        ("from_line=x", "from_line"),
        ("since=now", "ISO 8601"),
    ],
)
async def test_bad_queries_are_told(platform, mail, query, told):
    """Nothing is guessed."""
    fill(mail, 1)
    status, text, _ = await get(platform, f"{MAIL}?{query}")
    assert status == 400
    assert told in text


async def test_what_was_removed_is_told(platform, mail, monkeypatch):
    """As a line in a text, as an object among JSON lines, as an event to a follower."""
    monkeypatch.setattr(mail._segments, "_full", 500)
    fill(mail, 100)
    folder = platform.logs.folder(platform.catalog.job(JobKind.CONTINUOUS, "mail"))
    remove(segments_in(folder)[1:-1])
    first, last = (one.line for one in segments_in(folder))
    assert first == 0
    _, text, _ = await get(platform, f"{MAIL}?from_line=0")
    assert "lines (" in text
    assert "were removed here]" in text
    _, text, _ = await get(platform, f"{MAIL}?from_line=0&format=json")
    gaps = [item["gap"] for item in map(json.loads, text.splitlines()) if "gap" in item]
    assert [gap["to"] for gap in gaps] == [last]
    async with management(platform) as client, asyncio.timeout(10):
        answer = await client.get(f"{MAIL}?from_line=50&follow=1")
        async for raw in answer.content:
            if raw.startswith(b"event: gap"):
                break
        gap = json.loads((await answer.content.readline()).removeprefix(b"data: "))
        assert (gap["from"], gap["to"]) == (50, last)


async def events(answer: Any) -> AsyncIterator[tuple[str, str]]:
    """Yield the id and the data of each event."""
    mark = ""
    async for raw in answer.content:
        key, _, value = raw.decode().rstrip("\r\n").partition(": ")
        if key == "id":
            mark = value
        elif key == "data":
            yield mark, value.partition("] ")[2]


async def test_a_follower_resumes_without_loss_or_repetition(platform, mail):
    """Last-Event-ID is the last line that was seen."""
    fill(mail, 5)
    async with management(platform) as client, asyncio.timeout(10):
        answer = await client.get(f"{MAIL}?follow=1&tail=1")
        stream = events(answer)
        seen = [await anext(stream)]
        fill(mail, 2)
        seen += [await anext(stream), await anext(stream)]
        assert seen == [("4", "line 4"), ("5", "line 0"), ("6", "line 1")]
        answer.close()
        mail.info("meanwhile")
        answer = await client.get(f"{MAIL}?follow=1", headers={"Last-Event-ID": "5"})
        stream = events(answer)
        assert [await anext(stream), await anext(stream)] == [
            ("6", "line 1"), ("7", "meanwhile")
        ]  # fmt: skip


async def test_a_follower_may_want_only_some_lines(platform, mail):
    """Stream and q are kept to for what comes, too."""
    fill(mail, 21)
    async with management(platform) as client, asyncio.timeout(10):
        answer = await client.get(f"{MAIL}?follow=1&stream=stderr&q=2&from_line=0")
        stream = events(answer)
        assert await anext(stream) == ("20", "line 20")
        mail.output(Level.OUT, ["out 2"])
        mail.output(Level.ERR, ["err 1", "err 2"])
        assert await anext(stream) == ("23", "err 2")


@pytest.fixture
def runs(platform) -> tuple[Journal, Journal]:
    """Return the logs of two runs of one job, of which the second is under way."""
    older, newer = "202601051000000001", "202601051000000002"
    job = platform.catalog.job(JobKind.TRIGGERED, "report")
    platform.triggered.runs["report"] = [
        a_run(2, name="report", public_id=newer, state=RunState.RUNNING, ended_at=None),
        a_run(1, name="report", public_id=older),
    ]
    return platform.logs.run(job, older), platform.logs.run(job, newer)


async def test_a_follower_of_a_job_goes_from_run_to_run(platform, runs):
    """What it saw last names the run: after a reconnect the rest of that one comes first."""
    for at, journal in enumerate(runs):
        journal.output(Level.OUT, [f"{at} a", f"{at} b"])
    headers = {"Last-Event-ID": "202601051000000001-0"}
    async with management(platform) as client, asyncio.timeout(20):
        path = "/v1/jobs/triggered/report/log?follow=1"
        answer = await client.get(path, headers=headers)
        stream = events(answer)
        assert [await anext(stream) for _ in range(3)] == [
            ("202601051000000001-1", "0 b"),
            ("202601051000000002-0", "1 a"),
            ("202601051000000002-1", "1 b"),
        ]


async def test_following_as_json_lines(platform, mail):
    """A client without an event stream reader gets an object a line."""
    fill(mail, 1)
    async with management(platform) as client, asyncio.timeout(10):
        answer = await client.get(f"{MAIL}?follow=1", headers={"Accept": "application/x-ndjson"})
        assert json.loads(await answer.content.readline())["seq"] == 0
        mail.info("more")
        assert json.loads(await answer.content.readline())["text"] == "more"
