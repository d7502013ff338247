from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from management_fakes import FakePlatform, a_run, management

from gateway.kudu import hook_sender
from gateway.kudu.hook_book import HookBook
from gateway.kudu.hook_sender import Hooks, signature, without_defaults
from gateway.kudu.hooks import follow
from scheduler.errors import BadRequestError

pytestmark = pytest.mark.real
NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
EVENT = "TriggeredJobFinished"


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


@asynccontextmanager
async def receiver(status=200, headers=None, wait_s=0.0):
    """Serve an address that hooks can point to; give it and the requests that came."""
    came = []

    async def take(request):
        came.append((request.headers.copy(), await request.text(), request.path))
        await asyncio.sleep(wait_s)
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}/in", came


async def test_subscriptions(platform):
    """webjobs.md 7: 201 with every field; the same again is the same; another event is 409."""
    async with management(platform) as client:
        body = {"event": EVENT, "url": "http://u:p@localhost:1/x", "insecure_ssl": False}
        answer = await client.post("/api/hooks", json=body)
        hook = await answer.json()
        assert answer.status == 201
        assert list(hook) == [
            "id", "event", "url", "insecure_ssl",
            "last_status", "last_reason", "last_datetime", "last_context",
        ]  # fmt: skip
        again = await client.post("/api/hooks", json=body)
        assert (again.status, (await again.json())["id"]) == (201, hook["id"])
        assert (await client.post("/api/hooks", json={**body, "event": "Other"})).status == 409
        assert await (await client.get("/api/hooks")).json() == [hook]
        assert await (await client.get(f"/api/hooks/{hook['id']}")).json() == hook
        assert (await client.delete(f"/api/hooks/{hook['id']}")).status == 200
        assert (await client.get(f"/api/hooks/{hook['id']}")).status == 404
        assert (await client.delete(f"/api/hooks/{hook['id']}")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"event": "E"}, {"url": "http://h/"}, {"event": "E", "url": "/relative"},
        {"event": "E", "url": "ftp://h/"}, {"event": "E", "url": "http:///x"},
        {"event": 1, "url": "http://h/"}, {"event": "E", "url": "http://h:99999/"},
        {"event": "E", "url": "http://h/", "insecure_ssl": "no"},
        {"event": "E", "url": "http://h/" + "x" * 3000},
    ],
)  # fmt: skip
async def test_bad_subscriptions_are_400(platform, body):
    """What is no absolute http address, or of another type, is told."""
    async with management(platform) as client:
        answer = await client.post("/api/hooks", json=body)
        assert answer.status == 400
        assert (await answer.json())["Message"]


async def test_an_event_is_sent_and_its_outcome_noted(platform):
    """POST with indented JSON, without nulls; basic authentication from the address; last_*."""
    async with receiver(201) as (url, came), management(platform) as client:
        mine = {"event": "Mine", "url": url.replace("//", "//user:p%40ss@")}
        hook = await (await client.post("/api/hooks", json=mine)).json()
        await client.post("/api/hooks", json={"event": "Other", "url": f"{url}2"})
        answer = await client.post("/api/hooks/publish/Mine", json={"a": {"b": None, "c": 1}})
        assert answer.status == 200
        ((headers, text, path),) = came
        assert text == '{\n  "a": {\n    "c": 1\n  }\n}'
        assert headers["Authorization"] == "Basic dXNlcjpwQHNz"
        assert (headers["Content-Type"], path) == ("application/json; charset=utf-8", "/in")
        told = await (await client.get(f"/api/hooks/{hook['id']}")).json()
        assert (told["last_status"], told["last_reason"]) == ("Created", "Created")
        assert told["last_datetime"].endswith("Z")
        assert told["last_context"] == text


async def test_finished_runs_are_published(platform):
    """Success and Failed alike: the run object, without what is not set."""
    async with receiver() as (url, came), management(platform) as client:
        await client.post("/api/hooks", json={"event": EVENT, "url": url})
        platform.triggered.on_finished = []
        follow(platform.bundle)
        platform.triggered.on_finished[0](a_run(1))
        platform.triggered.on_finished[0](a_run(2, name="deleted"))
        await asyncio.gather(*platform.spawned)
        ((_, text, _),) = came
    run = json.loads(text)
    assert (run["status"], run["job_name"]) == ("Success", "report")
    assert run["url"].startswith("http://127.0.0.1:7072/api/triggeredwebjobs/report/history/")
    assert "error_url" not in run


async def test_gone_unsubscribes_and_others_do_not(platform):
    """410 removes the hook; a redirect is not followed, a dead address is noted."""
    async with (
        receiver(410) as (gone, _),
        receiver(307, {"Location": "/elsewhere"}) as (moved, came),
        management(platform) as client,
    ):
        for url in (gone, moved, "http://127.0.0.1:9/"):
            await client.post("/api/hooks", json={"event": "E", "url": url})
        await client.post("/api/hooks/publish/E", json={})
        hooks = await (await client.get("/api/hooks")).json()
        assert [hook["last_status"] for hook in hooks] == ["TemporaryRedirect", "Failed"]
        assert len(came) == 1
        assert "127.0.0.1" in hooks[1]["last_reason"]


async def test_slow_hooks_end_after_their_time(platform, monkeypatch):
    """Who does not answer in time is noted, and the others are told meanwhile."""
    monkeypatch.setattr(hook_sender, "TIMEOUT_S", 0.1)
    async with receiver(wait_s=5) as (slow, _), receiver() as (fast, came):
        book = platform.bundle.hooks.book
        for url in (slow, fast):
            book.add({"event": "E", "url": url}, NOW)
        await platform.bundle.hooks.publish("E", {"x": 1})
        assert [hook.last_status for hook in book] == ["Failed", "OK"]
        assert "no answer within" in next(iter(book)).last_reason
        assert len(came) == 1


async def test_signed_variants(platform):
    """Ours: with a secret each request proves who sent it and when; the secret is never shown."""
    async with receiver() as (url, came), management(platform) as client:
        body = {"event": "E", "url": url, "secret": "s3cret"}
        answer = await client.post("/api/hooks", json=body)
        assert "s3cret" not in await answer.text()
        await client.post("/api/hooks/publish/E", json={"x": 1})
        ((headers, text, _),) = came
    told = headers["x-taak-signature"]
    assert told == signature("s3cret", headers["x-taak-timestamp"], text.encode())
    assert told != signature("other", headers["x-taak-timestamp"], text.encode())


def test_subscriptions_last_and_are_bounded(tmp_path, caplog):
    """The file is the owner's alone; a broken one is kept aside; there is a most."""
    path = tmp_path / "site" / "deployments" / "hooks"
    book = HookBook(path)
    first = book.add({"event": "E", "url": "http://h/"}, NOW)
    assert book.add({"event": "E", "url": "http://h/2"}, NOW).id != first.id
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(HookBook(path)) == list(book)
    for number in range(98):
        book.add({"event": "E", "url": f"http://h/more{number}"}, NOW)
    with pytest.raises(BadRequestError, match="100 hooks"):
        book.add({"event": "E", "url": "http://h/last"}, NOW)
    path.write_text("[{")
    assert list(HookBook(path)) == []
    assert (path.parent / "hooks.broken").read_text() == "[{"
    assert "cannot be read" in caplog.text


async def test_events_beyond_the_bound_are_dropped(tmp_path, monkeypatch, caplog):
    """More than can wait are told in the log, not kept."""
    monkeypatch.setattr(hook_sender, "MAX_WAITING", 0)
    hooks = Hooks(HookBook(tmp_path / "hooks"))
    hooks.book.add({"event": "E", "url": "http://127.0.0.1:9/"}, NOW)
    await hooks.publish("E", {})
    assert "dropped" in caplog.text


def test_without_defaults():
    """Nulls and dates that are not set go, at any depth; false and zero stay."""
    told = {"a": None, "d": "0001-01-01T00:00:00", "l": [{"n": None, "z": 0}], "f": False}
    assert without_defaults(told) == {"l": [{"z": 0}], "f": False}
