from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from management_fakes import FakePlatform, management

from gateway.management import management_app
from gateway.native.log_follow import Source, follow
from gateway.native.log_query import LogQuery
from gateway.native.streams import STOPPING, event
from scheduler.functions import JobKind
from scheduler.log_reader import LogReader

pytestmark = pytest.mark.real


def test_event_on_the_wire():
    """A line break makes two data lines; a lone carriage return cannot tear the event."""
    assert event("a\nb", name="n", mark="7") == b"id: 7\nevent: n\ndata: a\ndata: b\n\n"
    assert event("50%\r100%") == b"data: 50%\ndata: 100%\n\n"


async def test_open_stream_ends_with_the_listener(tmp_path):
    """A follower of a continuous job sees new lines, and does not hold up the shutdown."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    path = platform.folders.job_log(platform.catalog.job(JobKind.CONTINUOUS, "mail"))
    path.parent.mkdir(parents=True)
    path.write_text("old\nlast\n")
    async with management(platform) as client, asyncio.timeout(5):
        answer = await client.get("/v1/jobs/continuous/mail/logs?tail=1&follow=1")
        seen = []
        async for raw in answer.content:
            if raw.startswith(b"data: "):
                seen.append(raw)
                if len(seen) == 2:
                    break
                with path.open("a") as file:
                    file.write("fresh\n")
        assert seen == [b"data: last\n", b"data: fresh\n"]
        client.app[STOPPING].set()
        assert await answer.content.read() == b"\n"


async def test_client_that_leaves_is_no_failure(tmp_path, monkeypatch):
    """A write to a client that is gone ends the stream quietly."""
    platform = FakePlatform(tmp_path)

    class Gone(web.StreamResponse):
        async def write(self, data):
            raise ConnectionResetError

    async def open_gone(_request):
        return Gone()

    monkeypatch.setattr("gateway.native.log_follow.open_stream", open_gone)
    path = tmp_path / "log"
    path.write_text("a line\n")
    request = make_mocked_request("GET", "/?follow=1", app=management_app(platform.bundle))
    source = Source(reader=LogReader(None, path))
    assert isinstance(await follow(request, source, LogQuery.of(request)), Gone)


def test_application_has_its_stop_sign(tmp_path):
    """The event that ends streams is set when the application shuts down."""
    app = management_app(FakePlatform(tmp_path).bundle)
    asyncio.run(app.on_shutdown[0](app))  # type: ignore[arg-type]
    assert app[STOPPING].is_set()
