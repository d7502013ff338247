"""What a client may take of the data listener, to the byte; slow clients, on both of its ways.

Times are shortened; every test runs through the fast lane and through aiohttp alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from data_listener import OK, TIMEOUT_S, Answer, Listener, running

from gateway import connections
from gateway.http_limits import HttpLimits
from gateway.opening import Opening
from scheduler.events import Ending, HttpReply, Outcome

pytestmark = pytest.mark.real

HOST = "Host: h\r\n"
HEAD = "GET /api/open HTTP/1.1\r\n" + HOST
POST = "POST /api/open HTTP/1.1\r\n" + HOST
CLOSE = "Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
SHORT = HttpLimits(head_s=0.15, idle_s=0.5, body_s=0.15, linger_s=0.2)

Start = Callable[..., AbstractAsyncContextManager[Listener]]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the connections more often than anybody needs."""
    monkeypatch.setattr(connections, "SWEEP_S", 0.02)


@pytest.fixture(params=["lane", "general"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """`start(limits=...)` runs a listener, once with the fast lane and once without."""

    def run(**facts: Any) -> AbstractAsyncContextManager[Listener]:
        facts.setdefault("body_limit", 1 << 30)
        return running(tmp_path, lane=request.param == "lane", **facts)

    return run


@pytest.fixture
async def listener(start: Start) -> AsyncIterator[Listener]:
    """A listener with the limits as they are."""
    async with start() as each:
        yield each


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition, in bounds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def dribble(writer: asyncio.StreamWriter, data: bytes, every_s: float) -> None:
    """Send one byte after the other for as long as anybody listens."""
    try:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every_s)
    except ConnectionError:
        pass


async def slowly(listener: Listener, start: str, rest: bytes, every_s: float) -> bytes:
    """Send a beginning at once and the rest byte by byte; return all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(start.encode())
    task = asyncio.create_task(dribble(writer, rest, every_s))
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        task.cancel()
        writer.close()


# -- sizes


def filled(head: str, size: int, line: str = "x: ") -> str:
    """Return the head with one more header line of so many bytes."""
    return f"{head}{line}{'a' * (size - len(line))}\r\n"


def lines_of(size: int) -> str:
    """Return header lines that have so many bytes together with Host and Connection."""
    left, made = size - len(HOST + CLOSE), ""
    while left:
        one = min(left, 8000) if left > 8100 or left <= 8000 else 4000
        made += filled("", one - 2)
        left -= one
    return made


@pytest.mark.parametrize(
    ("good", "bad", "status", "told"),
    [
        (
            f"GET /api/open?{'a' * (8192 - 23)} HTTP/1.1\r\n{HOST}{CLOSE}",
            f"GET /api/open?{'a' * (8192 - 22)} HTTP/1.1\r\n{HOST}{CLOSE}",
            414,
            "8192 bytes",
        ),
        (filled(HEAD + CLOSE, 8192), filled(HEAD + CLOSE, 8193), 431, "8192 bytes"),
        (
            filled(HEAD + CLOSE, 8192, f"{'n' * 5000}: "),
            filled(HEAD + CLOSE, 8193, f"{'n' * 5000}: "),
            431,
            "8192 bytes",
        ),
        (
            HEAD + CLOSE + lines_of(32768),
            HEAD + CLOSE + lines_of(32769),
            431,
            "32768 bytes",
        ),
        (HEAD + CLOSE + "a: b\r\n" * 126, HEAD + CLOSE + "a: b\r\n" * 127, 431, "limit of 128"),
    ],
    ids=["line", "header", "name", "headers", "count"],
)
async def test_sizes(
    listener: Listener,
    caplog: pytest.LogCaptureFixture,
    good: str,
    bad: str,
    status: int,
    told: str,
) -> None:
    """As much as may be is served; one more is refused with the limit, and the log stays quiet."""
    caplog.set_level(logging.WARNING)
    assert Answer(await listener.exchange(good + "\r\n")).status == 200
    answer = Answer(await listener.exchange(bad + "\r\n"))
    assert answer.status == status
    assert told in answer.body.decode()
    assert answer.headers["connection"] == "close"
    assert len(listener.dispatcher.events) == 1
    assert sum(listener.refusals.values()) == 1
    assert caplog.records == []


@pytest.mark.parametrize(
    "raw",
    ["\x16\x03\x01\x02\x00\x01", "HELLO\n", "GET / HTTP/1.1\nHost: h\n", HEAD + "X: a\nb"],
)
async def test_no_need_to_wait_for_the_rest(listener: Listener, raw: str) -> None:
    """What cannot become a request is refused before its head is over, long before its time."""
    answer = Answer(await listener.exchange(raw))
    assert answer.status == 400
    assert listener.refusals == {"malformed": 1}


async def test_a_good_request_before_a_bad_one_is_answered(listener: Listener) -> None:
    """Both have their answer, in order; nothing behind the bad one is looked at."""
    raw = await listener.exchange(f"{HEAD}\r\n", f"{HEAD}Host: b\r\n\r\n{HEAD}\r\n")
    assert [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]
    raw = await listener.exchange(f"{POST}{CHUNKED}0\r\n\r\nGET  /\r\n\r\n")
    assert [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


@pytest.mark.parametrize(
    "chunks",
    [
        "5\r\nhello\r\nZZ\r\n",
        "5\r\nhello!\r\n",
        f"5;{'x' * 5000}\r\nhello\r\n",
        f"0\r\nx: {'a' * 9000}\r\n\r\n",
        "0\r\n" + f"x: {'a' * 1000}\r\n" * 40 + "\r\n",
        "0\r\nno trailer\r\n\r\n",
    ],
)
async def test_a_body_that_is_framed_wrongly(listener: Listener, chunks: str) -> None:
    """400 at once, in whatever pieces it comes; no function hears of it."""
    for parts in ([POST + CHUNKED + chunks], [POST + CHUNKED, chunks[:7], chunks[7:]]):
        answer = Answer(await listener.exchange(*parts))
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
    assert listener.dispatcher.events == []


# -- slow senders


async def test_who_connects_and_says_nothing(start: Start) -> None:
    """Closed without a word when the time for the first head is over."""
    async with start(limits=HttpLimits(head_s=0.15)) as listener:
        assert await listener.exchange() == b""
        assert not listener.connections.open


@pytest.mark.parametrize("sent", ["G", HEAD, HEAD + "a: b\r\n" * 1500])
async def test_a_head_that_does_not_end(start: Start, sent: str) -> None:
    """408, however much of it is here."""
    async with start(limits=SHORT) as listener:
        answer = Answer(await listener.exchange(sent))
        assert answer.status == 408
        assert "--header-timeout-s" in answer.body.decode()
        assert answer.headers["connection"] == "close"
        assert listener.refusals == {"slow-head": 1}


async def test_a_head_byte_by_byte(start: Start) -> None:
    """A byte now and then wins no time, at a connection's first request and at later ones."""
    async with start(limits=SHORT) as listener:
        for begin, answers in ((HEAD, 0), (f"{HEAD}\r\n{HEAD}", 1)):
            raw = await slowly(listener, begin, b"x: " + b"a" * 1000, 0.02)
            assert raw.count(b"HTTP/1.1 200") == answers
            assert raw.count(b"HTTP/1.1 408") == 1


async def test_an_idle_connection(start: Start) -> None:
    """It has a longer time than a head, and is closed without a word."""
    async with start(limits=SHORT) as listener:
        for kind in ("\r\n", "\r\n", f"Content-Length: 3\r\n\r\nabc{HEAD}{CHUNKED}0\r\n\r\n"):
            loop = asyncio.get_running_loop()
            began = loop.time()
            raw = await listener.exchange(HEAD + kind)
            assert b"HTTP/1.1 200" in raw
            assert b"HTTP/1.1 408" not in raw
            assert loop.time() - began > SHORT.idle_s
        assert listener.refusals == {}


BODIES = [f"Content-Length: {size}\r\n\r\nabc" for size in (100, 60_000, 200_000)]
BODIES.append(CHUNKED + "100\r\nabc")
BODIES.append(CHUNKED + "3\r\nabc\r\n")


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_that_stops_coming(start: Start, body: str) -> None:
    """408 when its pause is too long; no function hears of it."""
    async with start(limits=SHORT) as listener:
        answer = Answer(await listener.exchange(POST + body))
        assert answer.status == 408
        assert "--body-timeout-s" in answer.body.decode()
        assert answer.headers["connection"] == "close"
        assert listener.refusals == {"slow-body": 1}
        assert listener.dispatcher.events == []


@pytest.mark.parametrize("body", BODIES[:4])
async def test_a_body_byte_by_byte(start: Start, body: str) -> None:
    """One byte before each time-out holds no connection: there is a speed to keep."""
    async with start(limits=SHORT) as listener:
        raw = await slowly(listener, POST + body, b"a" * 1000, 0.03)
        assert Answer(raw).status == 408
        assert "1024 bytes a second" in raw.decode()
        assert listener.dispatcher.events == []


@pytest.mark.parametrize("framing", ["Content-Length: 8010\r\n\r\n", CHUNKED + "1f4a\r\n"])
async def test_a_body_that_is_slow_but_comes(start: Start, framing: str) -> None:
    """Far longer than any pause may be, and still delivered whole."""
    async with start(limits=SHORT) as listener:
        begin = POST + CLOSE + framing + "a" * 8000
        raw = await slowly(listener, begin, b"b" * 10 + b"\r\n0\r\n\r\n", 0.06)
        assert Answer(raw).status == 200
        assert listener.dispatcher.events[0].body == b"a" * 8000 + b"b" * 10


# -- slow readers


@pytest.mark.parametrize("last", ["", CLOSE])
async def test_who_does_not_read(start: Start, last: str) -> None:
    """A client that asks and does not read is cut off, also when its connection was to end."""
    async with start(limits=SHORT) as listener:
        big = HttpReply(200, (), b"x" * (16 << 20))
        listener.dispatcher.outcome = Outcome(Ending.SUCCEEDED, big)
        _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1)
        writer.write(f"{HEAD}{last}\r\n".encode())
        await until(lambda: listener.connections.open)
        await until(lambda: not listener.connections.open)
        assert listener.refusals == {"slow-reader": 1}
        writer.transport.abort()


async def test_who_reads_all_of_a_large_answer(start: Start) -> None:
    """A reader that goes on reading is left alone."""
    async with start(limits=SHORT) as listener:
        big = HttpReply(200, (), b"x" * (16 << 20))
        listener.dispatcher.outcome = Outcome(Ending.SUCCEEDED, big)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1 << 16)
        writer.write(f"{HEAD}{CLOSE}\r\n".encode())
        size = 0
        while data := await asyncio.wait_for(reader.read(1 << 19), TIMEOUT_S):
            size += len(data)
            await asyncio.sleep(0.02)  # 0.64 s, four times as long as a pause may be
        writer.close()
        assert size > 16 << 20
        assert listener.refusals == {}


# -- the end of a refused request


async def test_the_answer_to_a_refused_upload_arrives(start: Start) -> None:
    """Who sends far more than may be reads why, and no reset takes the answer away."""
    async with start(body_limit=1000) as listener:
        for framing in (f"Content-Length: {4 << 20}\r\n\r\n", CHUNKED + f"{4 << 20:x}\r\n"):
            raw = await listener.exchange(POST + framing, b"x" * (4 << 20))
            answer = Answer(raw)
            assert answer.status == 413
            assert "1000 bytes" in answer.body.decode()
            assert "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT" in answer.body.decode()
            assert answer.headers["connection"] == "close"


async def test_who_goes_on_sending_is_cut_off(start: Start) -> None:
    """Reading on is a courtesy with an end."""
    async with start(body_limit=1000, limits=SHORT) as listener:
        for begin in (POST + "Content-Length: 99999999\r\n\r\n", HEAD + "no header\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(begin.encode())
            task = asyncio.create_task(dribble(writer, b"x" * 1000, 0.02))
            raw = await asyncio.wait_for(reader.read(), TIMEOUT_S)
            assert Answer(raw).status in {413, 400}
            await until(lambda: not listener.connections.open)
            task.cancel()
            writer.close()


async def test_a_stop_does_not_wait_for_refused_uploads(start: Start) -> None:
    """Whose request was answered is let go at once, whatever he still sends."""
    writers = []
    async with asyncio.timeout(TIMEOUT_S):
        async with start(body_limit=1000, limits=HttpLimits(linger_s=60)) as listener:
            for begin in (POST + "Content-Length: 99999999\r\n\r\n", HEAD + "no header\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                writer.write(begin.encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 4")
                writers.append(writer)
    for writer in writers:
        writer.close()


async def test_a_connection_goes_on_after_a_body_that_nobody_read(start: Start) -> None:
    """A 404 to a body that is still coming costs no connection if the body ends soon."""
    async with start() as listener:
        post = POST.replace("open", "nope")
        raw = await listener.exchange(
            post + CHUNKED + "5\r\nhello\r\n", "0\r\n\r\n", f"{HEAD}{CLOSE}\r\n"
        )
        assert [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]
        large = "x" * 300_000
        raw = await listener.exchange(
            f"{post}Content-Length: 300000\r\n\r\n", large, f"{HEAD}{CLOSE}\r\n"
        )
        assert [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]


@pytest.mark.parametrize("begin", [HEAD + "\r\n", POST + CHUNKED + "0\r\n\r\n"])
async def test_who_only_half_closes_has_his_answer(listener: Listener, begin: str) -> None:
    """The end of what a client sends is not the end of what it reads."""
    held: list[Any] = []
    listener.dispatcher.held = held
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(begin.encode())
    writer.write_eof()
    await until(lambda: held)
    await asyncio.sleep(0.02)
    held[0]()
    assert Answer(await asyncio.wait_for(reader.read(), TIMEOUT_S)).body == b"done"
    writer.close()


# -- how many


async def test_more_than_may_be(start: Start) -> None:
    """Who finds no place is told so in one line, when to come back, and how it is changed."""
    async with start(most=2) as listener:
        waiting = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(2)]
        await until(lambda: len(listener.connections.open) == 2)
        answer = Answer(await listener.exchange(f"{HEAD}{CLOSE}\r\n"))
        assert answer.status == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["connection"] == "close"
        assert "2 connections" in answer.body.decode()
        assert "--max-connections" in answer.body.decode()
        assert listener.refusals == {"connections": 1}
        waiting[0][1].close()
        await until(lambda: len(listener.connections.open) == 1)
        assert Answer(await listener.exchange(f"{HEAD}{CLOSE}\r\n")).status == 200
        waiting[1][1].close()


# -- before the platform is ready


async def test_a_call_waits_for_the_start(start: Start) -> None:
    """It is served as soon as the platform is ready, with its body; health does not wait."""
    opening = Opening()
    async with start(opening=opening) as listener:
        listener.facts.not_ready.append("the platform is starting")
        body = "Content-Length: 5\r\n\r\nhello"
        calls = [
            asyncio.create_task(listener.exchange(each))
            for each in (
                HEAD + CLOSE + "\r\n",
                POST + CLOSE + body,
                POST + CLOSE + CHUNKED + "5\r\nhello\r\n0\r\n\r\n",
                HEAD.replace("open", "nope") + CLOSE + "\r\n",
            )
        ]
        assert (await listener.get("/healthz")).status == 200
        assert (await listener.get("/admin/host/ping")).status == 200
        await until(lambda: len(opening._waiting) == 4)
        assert listener.dispatcher.events == []
        listener.facts.not_ready.clear()
        opening.end()
        answers = [Answer(await call).status for call in calls]
        assert answers == [200, 200, 200, 404]
        assert sorted(e.body for e in listener.dispatcher.events) == [b"", b"hello", b"hello"]


async def test_a_call_does_not_wait_for_ever(start: Start) -> None:
    """functions.md 7.3: after a while 503, with the reason and when to come back."""
    async with start(opening=Opening(wait_s=0.05)) as listener:
        listener.facts.not_ready.append("the platform is starting")
        for kind in ("\r\n", CHUNKED + "0\r\n\r\n"):
            answer = Answer(await listener.exchange(HEAD + kind))
            assert answer.status == 503
            assert "Function host is not running." in answer.body.decode()
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["connection"] == "close"


async def test_who_leaves_while_the_platform_starts(start: Start) -> None:
    """A call whose client did not wait for it does not run."""
    opening = Opening()
    async with start(opening=opening) as listener:
        listener.facts.not_ready.append("the platform is starting")
        _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(f"{HEAD}\r\n".encode())
        await until(lambda: opening._waiting)
        sock = writer.get_extra_info("socket")  # an end alone may be half of one
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: not listener.connections.open)
        listener.facts.not_ready.clear()
        opening.end()
        await asyncio.sleep(0.02)
        assert listener.dispatcher.events == []


# -- both ways say the same

_SEEDS = [
    f"{HEAD}X: y\r\n\r\n",
    f"{POST}Content-Length: 5\r\n\r\nhello",
    f"{POST}{CHUNKED}5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
    f"{HEAD}{CLOSE}User-Agent: a\r\nContent-Type: b\r\n\r\n",
]
_INSERTS = [
    "\r", "\n", "\0", " ", "\t", ":", "\r\n", "\x7f", "\xe9", ",", "0", "a", "HTTP/1.0", "chunked",
    "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Host: x\r\n", "Expect: y\r\n",
    "Upgrade: z\r\n", "Connection: Upgrade\r\n", "User-Agent: c\r\n", "%", "?", "#", "//",
]  # fmt: skip


async def test_both_ways_refuse_the_same(tmp_path: Path) -> None:
    """Requests with something wrong in them have one status, through the lane and beside it."""
    choose = random.Random(7)
    quick = HttpLimits(head_s=0.3, idle_s=0.3, body_s=0.3, linger_s=0.1)

    def spoil(text: str) -> str:
        for _ in range(choose.randint(1, 2)):
            at = choose.randrange(len(text))
            if choose.random() < 0.3:
                text = text[:at] + text[at + choose.randint(1, 3) :]
            else:
                text = text[:at] + choose.choice(_INSERTS) + text[at:]
        return text

    cases = [spoil(choose.choice(_SEEDS)) for _ in range(600)]
    async with (
        running(tmp_path, lane=True, limits=quick) as lane,
        running(tmp_path, lane=False, limits=quick) as general,
    ):

        async def statuses(listener: Listener, raw: str) -> list[bytes]:
            answer = await listener.exchange(raw + f"{HEAD}{CLOSE}\r\n")
            return [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]

        async def compare(raw: str) -> tuple[str, list[bytes], list[bytes]]:
            return raw, await statuses(lane, raw), await statuses(general, raw)

        seen: list[Awaitable[tuple[str, list[bytes], list[bytes]]]] = []
        differ = []
        for at in range(0, len(cases), 50):
            seen = [compare(raw) for raw in cases[at : at + 50]]
            differ += [each for each in await asyncio.gather(*seen) if each[1] != each[2]]
        assert differ == []
        bodies = [[event.body for event in each.dispatcher.events] for each in (lane, general)]
        assert sorted(bodies[0]) == sorted(bodies[1])
        assert OK.reply
