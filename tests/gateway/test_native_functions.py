from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from management_fakes import (
    START,
    FakePlatform,
    a_function,
    http,
    management,
)

from scheduler.deployment import Deployment, DeploymentState
from scheduler.errors import BusyError
from scheduler.events import DataEvent, Ending, HttpEvent, HttpReply, Outcome
from scheduler.function_logs import LogLine
from scheduler.functions import HostSettings, Problem

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


def a_line(text, invocation="i-1"):
    """Return a line of the log of `hello`."""
    return LogLine(START, "hello", invocation, "stdout", "INFO", text)


async def test_http_function_shows_its_address(platform):
    """Route, methods, level and full address of an HTTP function are told."""
    async with management(platform) as client:
        shape = await (await client.get("/v1/functions/HELLO")).json()
    assert shape["name"] == "hello"
    assert shape["trigger"] == "http"
    assert shape["methods"] == ["GET", "POST"]
    assert shape["auth_level"] == "function"
    assert shape["url"] == "http://127.0.0.1:7071/api/hello/{name?}"
    assert shape["workers"] == {"total": 3, "busy": 1, "spare": 2, "waiting": 4}
    assert shape["counts"] == {"calls": 7, "failures": 1, "cold_starts": 2}
    assert shape["limits"]["queue_depth"] == 1000
    assert shape["state"] == "ready"


async def test_timer_shows_its_next_five_times(platform):
    """A timer has a schedule, its canonical form and five instants to come."""
    async with management(platform) as client:
        shape = await (await client.get("/v1/functions/nightly")).json()
    assert shape["schedule"] == "0 0 3 * * *"
    assert shape["time_zone"] == "UTC"
    assert len(shape["next"]) == 5
    assert all(moment.endswith("T03:00:00Z") for moment in shape["next"])


async def test_disabled_function_says_why(platform):
    """A function that is switched off is listed with the reason."""
    async with management(platform) as client:
        shape = await (await client.get("/v1/functions/byhand")).json()
    assert (shape["state"], shape["reason"]) == ("disabled", "by an app setting")


async def test_function_in_error_is_listed(platform):
    """A manifest mistake of the live release makes a row in state error, with file and line."""
    problem = Problem("bad/function.json", "a text is expected", 7, "route", owner="bad")
    platform.deploy(a_function("hello", http("hello")), problems=(problem,))
    async with management(platform) as client:
        items = (await (await client.get("/v1/functions")).json())["items"]
        one = await (await client.get("/v1/functions/Bad")).json()
    assert [(item["name"], item["state"]) for item in items] == [
        ("hello", "ready"),
        ("bad", "error"),
    ]
    assert one["reason"] == "bad/function.json:7: route: a text is expected"
    assert one["problems"] == [
        {
            "where": "bad/function.json",
            "line": 7,
            "field": "route",
            "message": "a text is expected",
            "warning": False,
        }
    ]


async def test_refused_deployment_shows_its_problems_beside_what_serves(platform):
    """The last good release serves, and the newest mistake is seen at the function it hurts."""
    problem = Problem("hello/__init__.py", "SyntaxError", 3, owner="hello")
    platform.deployments.newest = [
        Deployment(
            id="d9",
            state=DeploymentState.REFUSED,
            reason="files changed",
            started_at=START,
            problems=(problem,),
        )
    ]
    async with management(platform) as client:
        shape = await (await client.get("/v1/functions/hello")).json()
    assert shape["state"] == "ready"
    assert [each["message"] for each in shape["problems"]] == ["SyntaxError"]


async def test_unknown_function_is_a_404_problem(platform):
    """A name that means nothing is told with the name."""
    async with management(platform) as client:
        answer = await client.get("/v1/functions/nobody")
        assert answer.status == 404
        assert "nobody" in (await answer.json(content_type=None))["detail"]


async def test_invoke_makes_the_request_of_the_route(platform):
    """An HTTP function gets a request: route parameters, query, headers, body."""
    body = {"path": "Ann%20B", "query": {"q": "1 2"}, "headers": {"X-A": "b"}, "body": '{"a":1}'}
    async with management(platform) as client:
        answer = await client.post("/v1/functions/hello/invoke", json=body | {"path": "Ann B"})
        outcome = await answer.json()
    assert outcome["ending"] == "succeeded"
    assert (outcome["status"], outcome["body"]) == (200, "hello")
    name, event, trigger = platform.dispatcher.calls[0]
    assert (name, trigger) == ("hello", "manual")
    assert isinstance(event, HttpEvent)
    assert event.method == "POST"
    assert event.url == "http://127.0.0.1:7071/api/hello/Ann%20B?q=1+2"
    assert event.route_params == (("name", "Ann B"),)
    assert dict(event.headers) == {"x-a": "b", "content-type": "application/json"}
    assert event.body == b'{"a":1}'


@pytest.mark.parametrize(
    ("route", "path", "url", "params"),
    [
        ("hello/{name?}", "", "/api/hello", ()),
        ("hello/{name?}", "hello/bob", "/api/hello/bob", (("name", "bob"),)),
        ("items/{id:int}", "items/7", "/api/items/7", (("id", "7"),)),
        ("items/{id:int}", "7", "/api/items/7", (("id", "7"),)),
        ("files/{*rest}", "a/b", "/api/files/a/b", (("rest", "a/b"),)),
        ("plain", "", "/api/plain", ()),
    ],
)
async def test_invoke_fits_the_path_to_the_route(platform, route, path, url, params):
    """The whole path, or what follows the route's fixed part, is accepted."""
    platform.deploy(a_function("hello", http(route, "GET")))
    async with management(platform) as client:
        answer = await client.post("/v1/functions/hello/invoke", json={"path": path})
        assert answer.status == 200, await answer.text()
    event = platform.dispatcher.calls[0][1]
    assert event.url == f"http://127.0.0.1:7071{url}"
    assert event.route_params == params


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("items/{id:int}", {}, "has parameters (id)"),
        ("items/{id:int}", {"path": "seven"}, "does not fit the route"),
        ("plain", {"path": "other"}, "does not fit the route"),
        ("plain", {"input": 7}, "'input': text is expected"),
        ("plain", {"query": ["a"]}, "'query': an object of texts"),
        ("plain", {"headres": {}}, "did you mean 'headers'?"),
        ("plain", ["x"], "a JSON object is expected"),
    ],
)
async def test_invoke_refuses_what_it_cannot_mean(platform, route, body, words):
    """400 says which field is wrong and what is expected."""
    platform.deploy(a_function("hello", http(route)))
    async with management(platform) as client:
        answer = await client.post("/v1/functions/hello/invoke", json=body)
        assert answer.status == 400
        assert words in (await answer.json(content_type=None))["detail"]
    assert platform.dispatcher.calls == []


async def test_invoke_of_broken_json_is_told(platform):
    """A body that is no JSON is the caller's mistake."""
    async with management(platform) as client:
        answer = await client.post("/v1/functions/hello/invoke", data=b"{")
        assert answer.status == 400


async def test_invoke_of_timer_and_manual_trigger(platform):
    """A timer gets a timer object, any other trigger the input as text; no body is fine."""
    async with management(platform) as client:
        await client.post("/v1/functions/nightly/invoke")
        await client.post("/v1/functions/byhand/invoke", json={"input": "payload"})
    first, second = (call[1] for call in platform.dispatcher.calls)
    assert isinstance(first, DataEvent)
    assert first.kind == "timertrigger"
    assert json.loads(first.data)["IsPastDue"] is False
    assert second == DataEvent("manualtrigger", "string", "payload")


async def test_outcome_of_a_failure_and_of_bytes(platform):
    """User code's failure is a 200 with its error; bytes that are no text go as base64."""
    platform.dispatcher.outcome = Outcome(Ending.FAILED, error="ValueError: boom", detail="trace")
    async with management(platform) as client:
        outcome = await (await client.post("/v1/functions/hello/invoke")).json()
        assert (outcome["ending"], outcome["error"]) == ("failed", "ValueError: boom")
        assert outcome["status"] is None
        platform.dispatcher.outcome = Outcome(Ending.SUCCEEDED, HttpReply(200, (), b"\xff\x00"))
        outcome = await (await client.post("/v1/functions/hello/invoke")).json()
        assert (outcome["body"], outcome["body_base64"]) == (None, "/wA=")


async def test_overload_is_a_429_with_retry_after(platform):
    """A full queue is told to the operator as to any caller."""
    platform.dispatcher.outcome = BusyError("1000 calls wait (queue_depth)", retry_after_s=2)
    async with management(platform) as client:
        answer = await client.post("/v1/functions/hello/invoke")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")


async def test_logs_are_the_last_lines(platform):
    """The query `tail` bounds the lines; 0 is none."""
    for number in range(5):
        platform.dispatcher.logs.add(a_line(f"line {number}"))
    async with management(platform) as client:
        items = (await (await client.get("/v1/functions/hello/logs?tail=2")).json())["items"]
        assert [item["text"] for item in items] == ["line 3", "line 4"]
        assert items[0]["invocation_id"] == "i-1"
        none = await (await client.get("/v1/functions/hello/logs?tail=0")).json()
        assert none == {"items": []}
        assert (await client.get("/v1/functions/hello/logs?tail=1001")).status == 400


async def test_followed_logs_have_each_line_once(platform):
    """A stream begins with the tail and goes on with what comes; nothing twice, nothing lost."""
    platform.dispatcher.logs.add(a_line("before"))
    async with management(platform) as client:
        answer = await client.get("/v1/functions/hello/logs?follow=1")
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["X-Accel-Buffering"] == "no"
        texts = []
        async with asyncio.timeout(5):
            async for raw in answer.content:
                if raw.startswith(b"data: "):
                    texts.append(json.loads(raw[6:])["text"])
                    if len(texts) == 3:
                        break
                    platform.dispatcher.logs.add(a_line(f"after {len(texts)}"))
        answer.close()
    assert texts == ["before", "after 1", "after 2"]


async def test_empty_route_prefix(platform):
    """With an empty prefix addresses begin at the root."""
    definition = replace(platform.catalog.definition, host=HostSettings(route_prefix=""))
    platform.catalog.swap(definition)
    async with management(platform) as client:
        shape = await (await client.get("/v1/functions/hello")).json()
    assert shape["url"] == "http://127.0.0.1:7071/hello/{name?}"


async def test_schedules_are_listed_with_their_last_tick(platform):
    """Functions and jobs that have a schedule, with next and last instants."""
    tick = type("Tick", (), {"due_at": datetime(2026, 1, 5, 3, tzinfo=UTC)})
    platform.store.ticks["function/nightly"] = tick
    async with management(platform) as client:
        items = (await (await client.get("/v1/schedules")).json())["items"]
    assert [(item["name"], item["kind"], item["last"]) for item in items] == [
        ("nightly", "function", "2026-01-05T03:00:00Z"),
        ("report", "triggered", None),
    ]
    assert len(items[1]["next"]) == 5


async def test_schedule_preview(platform):
    """An expression is shown in its canonical form with n instants in a zone."""
    query = {"expression": "0 30 9 * * Mon", "n": "2", "time_zone": "Europe/Amsterdam"}
    async with management(platform) as client:
        shape = await (await client.get("/v1/schedules:preview", params=query)).json()
        assert len(shape["next"]) == 2
        assert shape["time_zone"] == "Europe/Amsterdam"
        job = {"expression": "*/5 * * * *", "dialect": "job"}
        answer = await client.get("/v1/schedules:preview", params=job)
        assert answer.status == 400  # a job's schedule has six fields
        assert "*/5 * * * *" in (await answer.json(content_type=None))["detail"]
        for bad in ({}, {"expression": "x", "dialect": "cron"}, {"expression": "", "n": "2"}):
            assert (await client.get("/v1/schedules:preview", params=bad)).status == 400
