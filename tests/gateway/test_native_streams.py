from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from management_fakes import FakePlatform, management

from gateway.management import management_app
from gateway.native.growing_file import BLOCK_BYTES, GrowingFile
from gateway.native.streams import STOPPING, event, stream_file
from scheduler.functions import JobKind

pytestmark = pytest.mark.real


@pytest.fixture
def log(tmp_path):
    """Return the path of a log that does not exist yet."""
    return tmp_path / "job_log.txt"


def texts(source, **how):
    """Return the texts of the next lines."""
    return [line.text for line in source.read_lines(**how)]


def test_event_on_the_wire():
    """A line break makes two data lines; a lone carriage return cannot tear the event."""
    assert event("a\nb", name="n", mark="7") == b"id: 7\nevent: n\ndata: a\ndata: b\n\n"
    assert event("50%\r100%") == b"data: 50%\ndata: 100%\n\n"


def test_lines_come_when_they_are_complete(log):
    """A half line waits for its end; the offset after a line is where a client resumes."""
    source = GrowingFile(log)
    assert texts(source) == []
    log.write_bytes(b"one\r\ntw")
    assert source.read_lines() == [("one", 5)]
    assert texts(source) == []
    with log.open("ab") as file:
        file.write(b"o\n")
    assert source.read_lines() == [("two", 9)]
    source.close()


def test_whole_gives_the_rest(log):
    """At the end of a run the last line comes also without an end."""
    log.write_bytes(b"one\ntwo")
    source = GrowingFile(log)
    assert texts(source, whole=True) == ["one", "two"]
    source.close()


def test_rotated_file_is_read_to_its_end_first(log):
    """When the log is moved away, the rest of the old file comes before the new one."""
    log.write_bytes(b"old 1\n")
    source = GrowingFile(log)
    assert texts(source) == ["old 1"]
    with log.open("ab") as file:
        file.write(b"old 2\n")
    log.rename(log.with_name("job_prev_log.txt"))
    log.write_bytes(b"new 1\n")
    assert texts(source) == ["old 2"]
    assert source.read_lines() == [("new 1", 6)]
    source.close()


def test_emptied_file_starts_again(log):
    """An offset beyond the end is of an older file: reading starts at 0."""
    log.write_bytes(b"a\n")
    source = GrowingFile(log, 500)
    assert texts(source) == ["a"]
    source.close()


def test_endless_line_goes_out_in_pieces(log):
    """A line longer than a block neither blocks the stream nor fills the memory."""
    log.write_bytes(b"x" * (BLOCK_BYTES + 10) + b"\nend\n")
    source = GrowingFile(log)
    assert [len(text) for text in texts(source)] == [BLOCK_BYTES]
    assert [len(text) for text in texts(source)] == [10, 3]
    source.close()


def test_file_that_vanished_is_waited_for(log):
    """Between two files there is nothing to read, and no error."""
    log.write_bytes(b"a\n")
    source = GrowingFile(log)
    assert texts(source) == ["a"]
    log.unlink()
    assert texts(source) == []
    log.write_bytes(b"b\n")
    assert texts(source) == ["b"]
    source.close()


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
    """A write to a client that is gone ends the stream quietly and lets go of the file."""
    platform = FakePlatform(tmp_path)

    class Gone(web.StreamResponse):
        async def write(self, data):
            raise ConnectionResetError

    async def open_gone(_request):
        return Gone()

    monkeypatch.setattr("gateway.native.streams.open_stream", open_gone)
    path = tmp_path / "log"
    path.write_text("a line\n")
    request = make_mocked_request("GET", "/", app=management_app(platform.bundle))
    assert isinstance(await stream_file(request, path, start=0), Gone)


def test_application_has_its_stop_sign(tmp_path):
    """The event that ends streams is set when the application shuts down."""
    app = management_app(FakePlatform(tmp_path).bundle)
    asyncio.run(app.on_shutdown[0](app))  # type: ignore[arg-type]
    assert app[STOPPING].is_set()
