"""The data listener from outside, on both of its ways, with a dispatcher that answers by hand.

Every test runs twice: through the fast lane in front of aiohttp, and through aiohttp alone. Both
must say the same.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from data_listener import MASTER, TIMEOUT_S, Answer, Listener, running

from scheduler.errors import BusyError, UnavailableError
from scheduler.events import Ending, HttpReply, Outcome

pytestmark = pytest.mark.real


@pytest.fixture(params=["lane", "general"])
async def listener(request: Any, tmp_path: Path) -> AsyncIterator[Listener]:
    """A listener with a few functions, once with the fast lane and once without."""
    async with running(tmp_path, lane=request.param == "lane") as each:
        yield each


# -- what reaches the function


async def test_a_call(listener: Listener) -> None:
    """The function sees method, absolute url, headers, query and body; the client its answer."""
    answer = await listener.get(
        "/api/open?a=1&a=2&b=", "X-Twice: 1", "x-twice: 2", method="POST", body="hello"
    )
    assert (answer.status, answer.body) == (200, b"done")
    assert answer.headers["x-a"] == "b"
    assert answer.headers["x-site"] == "s"
    (event,) = listener.dispatcher.events
    assert (event.method, event.url) == ("POST", "http://h:1/api/open?a=1&a=2&b=")
    assert event.query == (("a", "1"), ("a", "2"), ("b", ""))
    assert [v for k, v in event.headers if k.lower() == "x-twice"] == ["1", "2"]
    assert event.body == b"hello"


async def test_an_absolute_target(listener: Listener) -> None:
    """A proxy's form of the target is the same request: also in the url, also for admin."""
    await listener.get("http://other:99/api/open?a=1")
    assert listener.dispatcher.events[0].url == "http://h:1/api/open?a=1"
    assert (await listener.get("http://other/admin/host/ping")).body == b"admin /admin/host/ping"
    assert (await listener.get("/ADMIN/x")).body == b"admin /ADMIN/x"
    assert (await listener.get("/administrator")).status == 404


@pytest.mark.parametrize(
    "chunks",
    [("5\r\nhello\r\n0\r\n\r\n",), ("2;x=y\r\nhe\r\n", "3\r\nllo\r\n", "0\r\nT: x\r\n\r\n")],
)
async def test_a_chunked_body_is_delivered(listener: Listener, chunks: tuple[str, ...]) -> None:
    """Upstream drops bodies without a Content-Length; we deliver them (functions.md 7.4)."""
    head = "POST /api/open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
    raw = await listener.exchange(head + "Connection: close\r\n\r\n", *chunks)
    assert Answer(raw).status == 200
    assert listener.dispatcher.events[0].body == b"hello"


async def test_a_body_is_not_unpacked(listener: Listener) -> None:
    """get_body() is what was sent, also when it is gzip, or says so and is none."""
    packed = gzip.compress(b"hello").decode("latin-1")
    for body in (packed, "no gzip"):
        answer = await listener.get("/api/open", "Content-Encoding: gzip", method="POST", body=body)
        assert answer.status == 200
        assert listener.dispatcher.events[-1].body == body.encode("latin-1")


# -- keys


async def test_keys(listener: Listener) -> None:
    """Header before query, the first value only, the name `code` in any case; else 401, empty."""
    code = f"code={MASTER}"
    good = [("/api/keyed", f"X-Functions-KEY: {MASTER}"), (f"/api/keyed?{code}", "X: y")]
    good += [(f"/api/keyed?CODE={MASTER}", "X: y"), (f"/api/admin_only?{code}", "X: y")]
    for target, header in good:
        assert (await listener.get(target, header)).status == 200
    bad = [
        ("/api/keyed", "X: y"),
        (f"/api/keyed?code=x&{code}", "X: y"),
        ("/api/admin_only", "X: y"),
    ]
    bad += [(f"/api/keyed?{code}", "x-functions-key: wrong")]
    for target, header in bad:
        answer = await listener.get(target, header)
        assert (answer.status, answer.body) == (401, b"")
        assert answer.headers["x-site"] == "s"


async def test_a_function_that_is_switched_off(listener: Listener) -> None:
    """404 for everybody, but the master key still runs it (functions.md 3)."""
    assert (await listener.get("/api/off")).status == 404
    assert (await listener.get("/api/off?code=wrong")).status == 404
    assert (await listener.get(f"/api/off?code={MASTER}")).status == 200
    assert listener.dispatcher.functions == ["off"]


async def test_not_found(listener: Listener) -> None:
    """404 with an empty body and the host's headers; `/` is the home page."""
    answer = await listener.get("/api/nope")
    assert (answer.status, answer.body, answer.headers["x-site"]) == (404, b"", "s")
    assert (await listener.get("/")).headers["content-type"].startswith("text/html")
    assert (await listener.get("/healthz")).body == b"ok\n"


# -- readiness and limits


async def test_before_ready_and_while_it_stops(listener: Listener) -> None:
    """503 with Retry-After on every path, also before any route is known; /healthz answers."""
    listener.facts.not_ready.append("the platform is starting")
    for target in ("/api/open", "/api/nope", "/"):
        answer = await listener.get(target)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
    assert (await listener.get("/healthz")).status == 200


async def test_refusals_of_the_dispatcher(listener: Listener) -> None:
    """Busy is 429 and unavailable 503, both with Retry-After; the second ends the connection."""
    listener.dispatcher.outcome = BusyError("full")
    answer = await listener.get("/api/open")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    listener.dispatcher.outcome = UnavailableError("stopping")
    answer = await listener.get("/api/open")
    assert answer.status == 503
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("lane", [True, False])
async def test_outstanding_requests_are_bounded(tmp_path: Path, *, lane: bool) -> None:
    """One more than maxOutstandingRequests is 429; when one has ended there is room again."""
    async with running(tmp_path, lane=lane, max_outstanding_requests=1) as listener:
        listener.dispatcher.held = []
        first = asyncio.create_task(listener.get("/api/open"))
        async with asyncio.timeout(TIMEOUT_S):
            while not listener.dispatcher.held:
                await asyncio.sleep(0.005)
        assert (await listener.get("/api/open")).status == 429
        listener.dispatcher.held[0]()
        assert (await first).status == 200
        listener.dispatcher.held = None
        assert (await listener.get("/api/open")).status == 200


@pytest.mark.parametrize("size", [1000, 1001, 200_000])
async def test_the_body_limit(listener: Listener, size: int) -> None:
    """A body over the limit is 413, with a length and without, in one piece and in many."""
    body = "x" * size
    expected = 200 if size <= 1000 else 413
    assert (await listener.get("/api/open", method="POST", body=body)).status == expected
    head = "POST /api/open HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked"
    raw = await listener.exchange(f"{head}\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
    assert Answer(raw).status == expected
    assert len(listener.dispatcher.events) == (2 if expected == 200 else 0)


async def test_expect_continue(listener: Listener) -> None:
    """100 before the body is read; a refusal instead of it ends the connection."""
    head = "POST /api/{} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
    raw = await listener.exchange(head.format("open") + "Connection: close\r\n\r\n", "hello")
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write((head.format("nope") + "\r\n").encode())
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
    writer.close()
    assert raw.startswith(b"HTTP/1.1 404")
    assert b"Connection: close" in raw


# -- odd clients


async def test_an_http_1_0_client(listener: Listener) -> None:
    """Closed after the answer, unless it asks for more; no 100 for it."""
    raw = await listener.exchange("GET /api/open HTTP/1.0\r\n\r\n")
    assert raw.endswith(b"\r\n\r\ndone")
    one = "GET /api/open HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    raw = await listener.exchange(one + "GET /api/open HTTP/1.0\r\n\r\n")
    assert raw.count(b"HTTP/1.1 200") == 2
    assert raw.count(b"Connection: keep-alive") == 1


async def test_connection_close_is_heeded(listener: Listener) -> None:
    """The answer says so and the connection ends, however the word is written."""
    for value in ("close", "Close", "keep-alive, close"):
        head = f"GET /api/open HTTP/1.1\r\nHost: h\r\nConnection: {value}\r\n\r\n"
        raw = await listener.exchange(head)
        assert raw.count(b"HTTP/1.1 200") == 1
        assert b"Connection: close" in raw


async def test_pipelined_requests_are_answered_in_order(listener: Listener) -> None:
    """Also when the kind of request changes in the middle."""
    listener.dispatcher.outcome = lambda event: Outcome(
        Ending.SUCCEEDED, HttpReply(200, (), event.url[-1:].encode() + b"|")
    )
    plain = "GET /api/open?{} HTTP/1.1\r\nHost: h\r\n\r\n"
    chunked = "POST /api/open?3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    last = "GET /api/open?5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    text = plain.format(1) + plain.format(2) + chunked + "1\r\nx\r\n0\r\n\r\n" + plain.format(4)
    raw = await listener.exchange(text + last)
    assert [part[-1:] for part in raw.split(b"|")[:-1]] == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize(
    "raw",
    [
        "GET /api/open HTTP/1.1\r\n\r\n",
        "GET /api/open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /api/open HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST /api/open HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\n",
        "PUT /api HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /api/open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "GET /api/open HTTP/1.1\r\nHost: h\n\nGET /api/open HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /api/open HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET /api/open HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n",
        "GET /api/open HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
async def test_what_is_no_request(listener: Listener, caplog: Any, raw: str) -> None:
    """400 and the end of the connection; nothing reaches a function, nothing fills our log."""
    caplog.set_level(logging.WARNING)
    answer = Answer(await listener.exchange(raw))
    assert answer.status == 400
    assert listener.dispatcher.events == []
    assert caplog.records == []


async def test_a_protocol_that_we_do_not_speak(listener: Listener) -> None:
    """An Upgrade is ignored, as HTTP says; CONNECT finds no function."""
    answer = await listener.get("/api/open", "Connection: Upgrade", "Upgrade: h2c")
    assert answer.status == 200
    raw = await listener.exchange("CONNECT a.b:80 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert Answer(raw).status == 404


async def test_a_client_that_leaves_in_its_body(listener: Listener, caplog: Any) -> None:
    """The function never hears of it, and it is no error of ours."""
    caplog.set_level(logging.WARNING)
    for framing in ("Content-Length: 500\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(f"POST /api/open HTTP/1.1\r\nHost: h\r\n{framing}".encode())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
    assert (await listener.get("/healthz")).status == 200
    assert listener.dispatcher.events == []
    assert caplog.records == []


async def test_a_client_that_leaves_in_its_call(listener: Listener, caplog: Any) -> None:
    """The invocation goes on; its answer is dropped without a word (functions.md 7.3)."""
    caplog.set_level(logging.WARNING)
    held: list[Any] = []
    listener.dispatcher.held = held
    _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /api/open HTTP/1.1\r\nHost: h\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        while not held:
            await asyncio.sleep(0.005)
    writer.close()
    await asyncio.sleep(0.02)
    held[0]()
    assert (await listener.get("/healthz")).status == 200
    assert caplog.records == []


async def test_answers_that_nobody_reads_do_not_pile_up(listener: Listener) -> None:
    """A client that only sends is served no faster than it reads: memory is ours, not its."""
    big = HttpReply(200, (), b"x" * 60_000)
    listener.dispatcher.outcome = Outcome(Ending.SUCCEEDED, big)
    _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1)
    writer.write(b"GET /api/open HTTP/1.1\r\nHost: h\r\n\r\n" * 2000)
    for _ in range(50):
        await asyncio.sleep(0.005)
    assert len(listener.dispatcher.events) < 1000  # 120 MB would be all of them
    writer.transport.abort()


# -- what the function answers


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(Ending.SUCCEEDED, HttpReply(204, (), b"")), 204),
        (Outcome(Ending.SUCCEEDED), 502),  # an HTTP function's worker always says something
        (Outcome(Ending.FAILED, error="ValueError: x"), 500),
        (Outcome(Ending.LOAD_FAILED), 500),
        (Outcome(Ending.TIMED_OUT), 500),
        (Outcome(Ending.DIED), 500),
        (Outcome(Ending.BROKEN), 502),
        (Outcome(Ending.SUCCEEDED, HttpReply(200, (("X", "a\r\nb"),), b"")), 502),
        (Outcome(Ending.SUCCEEDED, HttpReply(200, (("only one",),), b"")), 502),
        (Outcome(Ending.SUCCEEDED, HttpReply(200, ((["x"], "y"),), b"")), 502),  # type: ignore[arg-type]
        (Outcome(Ending.SUCCEEDED, HttpReply(200, ((1, 2),), b"")), 502),  # type: ignore[arg-type]
    ],
)
async def test_endings(listener: Listener, outcome: Outcome, status: int) -> None:
    """The table of functions.md 7.3: an empty body, and no word of the reason."""
    listener.dispatcher.outcome = outcome
    answer = await listener.get("/api/open")
    assert (answer.status, answer.body, answer.headers["x-site"]) == (status, b"", "s")


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body_where_there_can_be_none(listener: Listener, status: int) -> None:
    """A body beside 204 or 304, however large, does not become the next response."""
    made = HttpReply(status, (), b"HTTP/1.1 200 OK\r\n\r\n" * 5000)
    listener.dispatcher.outcome = Outcome(Ending.SUCCEEDED, made)
    one = "GET /api/open HTTP/1.1\r\nHost: h\r\n"
    raw = await listener.exchange(f"{one}\r\n{one}Connection: close\r\n\r\n")
    assert raw.count(b"HTTP/1.1 ") == 2


async def test_our_own_mistakes_are_a_500(listener: Listener, caplog: Any) -> None:
    """An exception in the gateway is an empty 500 and stands in our log."""
    listener.dispatcher.outcome = RuntimeError("a bug")
    raw = await listener.exchange(
        "POST /api/open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    answer = Answer(raw)
    assert (answer.status, answer.body) == (500, b"")
    assert "a bug" in caplog.text
