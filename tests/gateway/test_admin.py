from __future__ import annotations

import asyncio

import pytest
from management_fakes import FakePlatform, a_function, admin, http

from scheduler.errors import BusyError, UnavailableError
from scheduler.events import DataEvent, Ending, HttpEvent, Outcome
from scheduler.functions import Problem
from scheduler.run import RunState

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


async def settle(platform):
    """Wait for what runs in the background."""
    async with asyncio.timeout(5):
        await asyncio.gather(*platform.spawned)


async def test_ping_needs_no_key(platform):
    """GET and POST answer 200, not to be stored, without a key and in any case."""
    async with admin(platform, {}) as client:
        for verb in ("GET", "POST"):
            answer = await client.request(verb, "/admin/Host/ping")
            assert (answer.status, "no-store" in answer.headers["Cache-Control"]) == (200, True)


async def test_everything_else_needs_the_master_key(platform):
    """401 with an empty body; a function's or the host's function key is not enough."""
    host_key = platform.keys.host_keys().function_keys[0].value
    for headers in ({}, {"x-functions-key": "wrong"}, {"x-functions-key": host_key}):
        async with admin(platform, headers) as client:
            for path in ("/admin/host/status", "/admin/functions", "/admin/nothing"):
                answer = await client.get(path)
                assert (answer.status, await answer.read()) == (401, b"")


async def test_key_may_come_as_code(platform):
    """`?code=` works as for functions."""
    async with admin(platform, {}) as client:
        answer = await client.get(f"/admin/host/status?code={platform.keys.master}")
        assert answer.status == 200


async def test_host_status(platform):
    """Running when ready; problems of manifests are its errors."""
    async with admin(platform) as client:
        status = await (await client.get("/admin/host/status")).json()
        assert (status["state"], status["instanceId"]) == ("Running", "here")
        assert status["processUptime"] > 0
        assert "errors" not in status
        platform.not_ready = ["starting"]
        platform.deploy(problems=(Problem("x/function.json", "bad", owner="x"),))
        status = await (await client.get("/admin/host/status")).json()
        assert (status["state"], status["errors"]) == ("Initialized", ["x/function.json: bad"])


async def test_functions(platform):
    """The list and one function have the Azure host's fields."""
    async with admin(platform) as client:
        base = str(client.make_url("")).rstrip("/")
        shapes = await (await client.get("/admin/functions")).json()
        assert [shape["name"] for shape in shapes] == ["hello", "nightly", "byhand"]
        one = await (await client.get("/admin/functions/HELLO/")).json()
        assert (await client.get("/admin/functions/nobody")).status == 404
    assert one == shapes[0]
    assert one["href"] == f"{base}/admin/functions/hello"
    assert one["invoke_url_template"] == f"{base}/api/hello/{{name?}}"
    assert one["script_href"] == f"{base}/admin/vfs/hello/__init__.py"
    assert one["config_href"] == f"{base}/admin/vfs/hello/function.json"
    assert one["config"]["bindings"][0]["type"] == "httpTrigger"
    assert [shape["isDisabled"] for shape in shapes] == [False, False, True]
    assert shapes[1]["invoke_url_template"] is None


async def test_run_is_accepted_and_goes_on_in_the_background(platform):
    """202 with an empty body at once; the event carries the input."""
    async with admin(platform) as client:
        answer = await client.post("/admin/functions/byhand", json={"input": "payload"})
        assert (answer.status, await answer.read()) == (202, b"")
        assert (await client.post("/admin/functions/nightly", json={})).status == 202
        await settle(platform)
    (first, second) = (call[1] for call in platform.dispatcher.calls)
    assert first == DataEvent("manualtrigger", "string", "payload")
    assert isinstance(second, DataEvent)
    assert second.kind == "timertrigger"
    assert {call[2] for call in platform.dispatcher.calls} == {"manual"}
    assert [run.state for run in platform.store.runs] == [RunState.SUCCESS] * 2


async def test_a_run_that_cannot_be_recorded_is_not_accepted(platform):
    """sandbox.md 6, D1 and D9: accepted means durable, so a full disk answers 503."""
    platform.store.broken = UnavailableError("the disk is full")
    async with admin(platform) as client:
        answer = await client.post("/admin/functions/byhand", json={"input": "payload"})
        assert (answer.status, "the disk is full" in await answer.text()) == (503, True)
    assert platform.dispatcher.calls == []


async def test_http_function_may_be_given_a_request(platform):
    """An input of the shape that the portal sends becomes method, query, headers and body."""
    text = (
        '{"method":"post","queryStringParams":[{"name":"q","value":"1"}],'
        '"headers":[{"name":"X-A","value":"b"}],"body":"text"}'
    )
    async with admin(platform) as client:
        assert (await client.post("/admin/functions/hello", json={"input": text})).status == 202
        await settle(platform)
    event = platform.dispatcher.calls[0][1]
    assert isinstance(event, HttpEvent)
    assert (event.method, event.query, event.body) == ("POST", (("q", "1"),), b"text")
    assert dict(event.headers)["x-a"] == "b"


@pytest.mark.parametrize("body", [b"", b"text", b"[]", b'"x"'])
async def test_run_without_a_json_object_is_refused(platform, body):
    """400 says what is expected; nothing runs."""
    async with admin(platform) as client:
        answer = await client.post("/admin/functions/hello", data=body)
        assert (answer.status, '{"input"' in await answer.text()) == (400, True)
        assert (await client.post("/admin/functions/nobody", json={})).status == 404
    assert platform.spawned == []


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Ending.FAILED, error="ValueError: boom"),
        BusyError("1000 calls wait"),
        RuntimeError("our own boom"),
    ],
)
async def test_background_failure_is_logged_not_lost(platform, caplog, outcome):
    """Nobody waits for the outcome, so the log tells it."""
    platform.dispatcher.outcome = outcome
    async with admin(platform) as client:
        await client.post("/admin/functions/hello", json={})
        await settle(platform)
    assert "boom" in caplog.text or "1000 calls wait" in caplog.text


async def test_status_of_a_function(platform):
    """{} when it is well, its errors when not, 404 for a name that means nothing."""
    problem = Problem("bad/function.json", "no route", owner="bad")
    platform.deploy(a_function("hello", http("hello")), problems=(problem,))
    async with admin(platform) as client:
        assert await (await client.get("/admin/functions/hello/status")).json() == {}
        bad = await (await client.get("/admin/functions/bad/status")).json()
        assert bad == {"errors": ["bad/function.json: no route"]}
        assert (await client.get("/admin/functions/nobody/status")).status == 404
