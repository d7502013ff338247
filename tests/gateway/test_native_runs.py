from __future__ import annotations

from datetime import UTC, datetime

import pytest
from management_fakes import START, FakePlatform, a_run, management

from scheduler.function_logs import LogLine
from scheduler.functions import JobKind
from scheduler.run import RunKind, RunState
from scheduler.store.port import RunFilter

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    platform.store.runs = [a_run(number) for number in range(1, 6)]
    return platform


async def test_pages_go_on_where_the_last_one_ended(platform):
    """The cursor of a page begins the next; null is the end."""
    seen, path = [], "/v1/runs?limit=2"
    async with management(platform) as client:
        while True:
            page = await (await client.get(path)).json()
            seen += [run["id"] for run in page["items"]]
            if page["cursor"] is None:
                break
            path = f"/v1/runs?limit=2&cursor={page['cursor']}"
    assert seen == [5, 4, 3, 2, 1]


async def test_filters_reach_the_store(platform):
    """Every filter is parsed into the store's own value; instants become UTC."""
    query = (
        "kind=triggered&name=report&state=timed-out&trigger=Schedule"
        "&since=2026-01-05T10:00:00%2B01:00&until=2026-01-06"
    )
    async with management(platform) as client:
        assert (await client.get(f"/v1/runs?{query}")).status == 200
        assert (await client.get("/v1/runs?since=2026-01-05T10:00:00+01:00")).status == 200
    first, second = platform.store.asked
    assert first == RunFilter(
        kind=RunKind.TRIGGERED,
        name="report",
        state=RunState.TIMED_OUT,
        trigger="Schedule",
        since=datetime(2026, 1, 5, 9, tzinfo=UTC),
        until=datetime(2026, 1, 6, tzinfo=UTC),
    )
    assert second.since == datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "a number 1 to 200"),
        ("limit=201", "'201' is not a number 1 to 200"),
        ("limit=ten", "limit"),
        ("limit=%D9%A1", "limit"),
        ("cursor=-1", "cursor"),
        ("state=done", "none of queued, initializing, running"),
        ("kind=http", "none of function, triggered, continuous"),
        ("since=yesterday", "no ISO 8601 instant"),
        ("stat=failed", "did you mean 'state'?"),
        ("x=1", "known: kind, name, state"),
    ],
)
async def test_bad_queries_are_told_with_what_would_be_right(platform, query, words):
    """400 names the parameter, the value and the limit; a misspelt name is not ignored."""
    async with management(platform) as client:
        answer = await client.get(f"/v1/runs?{query}")
        assert answer.status == 400
        assert words in (await answer.json(content_type=None))["detail"]


async def test_one_run(platform):
    """A run by its number; others are 404, no numbers 400."""
    async with management(platform) as client:
        run = await (await client.get("/v1/runs/3")).json()
        assert (run["id"], run["state"], run["exit_code"]) == (3, "success", 0)
        assert run["ended_at"] == "2026-01-05T13:00:02.500000Z"
        assert (await client.get("/v1/runs/99")).status == 404
        assert (await client.get("/v1/runs/abc")).status == 400


async def test_log_of_a_run_survives_its_job(platform):
    """The output of a run is served even when the job is no longer deployed."""
    run = a_run(1, name="gone")
    platform.store.runs = [run]
    log = platform.folders.output_log(run, run.public_id)
    log.parent.mkdir(parents=True)
    log.write_text("héllo\n")
    async with management(platform) as client:
        answer = await client.get("/v1/runs/1/log")
        assert (answer.content_type, await answer.text()) == ("text/plain", "héllo\n")
        followed = await client.get("/v1/runs/1/log?follow=1")
        assert "event: end" in await followed.text()


async def test_log_of_an_invocation(platform):
    """A function's run has the lines of its invocation only, however the id is written."""
    call = "0123456789abcdef0123456789abcdef"
    dashed = "01234567-89ab-cdef-0123-456789abcdef"
    platform.store.runs = [a_run(1, kind=RunKind.FUNCTION, name="hello", public_id=call)]
    for invocation, text in ((dashed, "mine"), ("other", "not mine"), (call, "mine too")):
        line = LogLine(START, "hello", invocation, "stdout", "INFO", text)
        platform.dispatcher.logs.add(line)
    async with management(platform) as client:
        assert await (await client.get("/v1/runs/1/log")).text() == "mine\nmine too\n"


async def test_followed_log_ends_with_the_run(platform):
    """The stream of an ended run is its log and an event `end`; ids are line numbers."""
    run = platform.store.runs[0]
    log = platform.folders.output_log(run, run.public_id)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"one\r\ntwo\nno end")
    async with management(platform) as client:
        body = await (await client.get("/v1/runs/1/log?follow=1")).text()
    assert body.split("\n\n") == [
        "retry: 2000",
        "id: 0\ndata: one",
        "id: 1\ndata: two",
        "id: 2\ndata: no end",
        "id: 2\nevent: end\ndata: ",
        "",
    ]


async def test_stream_resumes_behind_the_last_event(platform):
    """A client that comes back with Last-Event-ID gets what it has not seen."""
    run = platform.store.runs[0]
    log = platform.folders.output_log(run, run.public_id)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"one\ntwo\n")
    async with management(platform) as client:
        path = "/v1/runs/1/log?follow=1"
        body = await (await client.get(path, headers={"Last-Event-ID": "0"})).text()
        assert "data: two" in body
        assert "data: one" not in body
        assert (await client.get(path, headers={"Last-Event-ID": "x"})).status == 400


async def test_cancel(platform):
    """An active run of a triggered job can be cancelled; an ended one is a conflict."""
    run = a_run(9, state=RunState.RUNNING, ended_at=None)
    platform.store.runs.append(run)
    platform.triggered.runs["report"] = [run]
    async with management(platform) as client:
        assert (await client.post("/v1/runs/9/cancel")).status == 200
        assert platform.triggered.cancelled == [run.public_id]
        answer = await client.post("/v1/runs/1/cancel")
        assert answer.status == 409
        assert "has ended already" in (await answer.json(content_type=None))["detail"]


async def test_cancel_of_a_continuous_run_says_what_to_do(platform):
    """Only runs of triggered jobs are cancelled; the hint names the other verb."""
    platform.store.runs = [
        a_run(1, kind=RunKind.CONTINUOUS, name="mail", state=RunState.RUNNING, ended_at=None)
    ]
    async with management(platform) as client:
        answer = await client.post("/v1/runs/1/cancel")
        assert answer.status == 409
        assert "/v1/jobs/continuous/mail/stop" in (await answer.json(content_type=None))["detail"]


def test_kind_words():
    """The job kinds that runs share have the same words."""
    assert RunKind.TRIGGERED.value == JobKind.TRIGGERED.value
