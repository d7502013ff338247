"""From the payload of a reply to bytes on the HTTP connection: one valid response, or a 502."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

from gateway.front_desk import FrontDesk
from gateway.reply import Reply
from gateway.routes import Match
from sandbox.runtime import wire
from scheduler.events import Body, Ending
from scheduler.outcomes import outcome_of

from .case import Case
from .fakes import CountedCall
from .mutator import framed
from .values import confused, junk, packed

_EXTRA = (("X-Site", "taak"),)
_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) [A-Za-z0-9 '()-]+\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_MAX_HEAD = (32 << 10) + 1024
_SMUGGLED = b"Smuggled"
_NAMES = ("X-A", "Set-Cookie", "content-type", "Content-Length", "Transfer-Encoding", "connection",
          "Keep-Alive", "Upgrade", "TE", "Trailer", "Date", "Proxy-Connection", "X A", "X:", "",
          "X-\u00e9", "X\r\nSmuggled: 1", "X\0", " X", "x" * 300, "x" * 40_000,
          "\0" * 5000)  # fmt: skip
_VALUES = ("1", "", "chunked", "close", "5", "a\r\nSmuggled: 1", "a\nSmuggled: 1", "a\rSmuggled: 1",
           "a\r\n\r\nHTTP/1.1 200 OK\r\nSmuggled: 1", "\u010d\u010aSmuggled: 1", "\udc0d\udc0a",
           "\x85Smuggled", "\u2028x", "a\0b", "\x0b", "\x7f", "\t", "\u4e2d\u6587", "é", "\udcff",
           "v" * 33_000, "v" * 400)  # fmt: skip
_STATUSES = (200, 201, 204, 205, 206, 299, 302, 304, 400, 404, 500, 503, 599, 199, 100, 101, 600,
             0, -1, 1 << 40, (1 << 64) - 1, True, None, "200", 200.0)  # fmt: skip
_ROOM = 70_000  # bytes that were lent for a body
_BODIES: tuple[Any, ...] = (
    _ROOM, b"", b"body", b"HTTP/1.1 200 OK\r\nSmuggled: 1\r\n\r\n", b"\0" * 70_000, "text", None, 1,
    [b"x"],
)  # fmt: skip


class ReplyTarget:
    """The gateway's side of a reply that a hostile worker made up."""

    name = "reply"
    share = 0.1

    async def run(self, case: Case) -> None:
        """Turn one payload into responses, for each way in which a client may ask."""
        desk = _desk()
        payload = _payload(case)
        frame = framed(packed([wire.REPLY, b"i" * 16, 0, 5, payload]))
        case.fed.append(frame)
        case.mutator.frames += 1
        try:
            messages = wire.Decoder(wire.MAX_GUEST_FRAME, hostile=True).feed(frame)
        except wire.WireError:
            case.saw("refusal")
            return
        _kind, call_id, status, exec_us, decoded = messages[0]
        call = CountedCall(call_id, b"", 0.0)
        if case.chance(0.2):
            call.room = Body.room(_ROOM)
        outcome = outcome_of((status, exec_us, decoded), call)
        assert outcome.ending in (Ending.SUCCEEDED, Ending.BROKEN), "neither read nor refused"
        answer = desk._reply(
            cast("Match", SimpleNamespace(function=SimpleNamespace(name="f"))), outcome
        )
        case.saw(str(answer.status))
        for method in ("GET", "HEAD"):
            for keep_alive in (True, False):
                for http10 in (False, True):
                    _check(answer, method, keep_alive=keep_alive, http10=http10)


def _desk() -> FrontDesk:
    """Return a front desk without a platform behind it."""
    desk = object.__new__(FrontDesk)
    desk._extra = _EXTRA
    logs = SimpleNamespace(failure=_failure)
    desk._dispatcher = cast("Any", SimpleNamespace(logs=logs))
    return desk


def _failure(_name: str, _call: str, text: str, _detail: str) -> None:
    assert len(text) < 1000, "the log quotes what was sent"
    assert text.isprintable(), "the log holds what controls a terminal"


def _payload(case: Case) -> Any:
    random = case.random
    count = random.choice((0, 1, 1, 2, 2, 3, 5, 99, 100, 101, 102, 1100))
    names = _NAMES[:3] if case.chance(0.7) else _NAMES
    headers: list[Any] = [[random.choice(names), random.choice(_VALUES[:3])] for _ in range(count)]
    if headers and case.chance(0.5):
        headers[random.randrange(count)] = [random.choice(_NAMES), random.choice(_VALUES)]
    status = random.choice(_STATUSES[:13] if case.chance(0.8) else _STATUSES)
    body = random.choice(_BODIES[:5] if case.chance(0.85) else _BODIES)
    payload: Any = [status, headers, body]
    if case.chance(0.25):
        payload = confused(random, payload)
    return junk(random) if case.chance(0.02) else payload


def _check(answer: Reply, method: str, *, keep_alive: bool, http10: bool) -> None:
    data = answer.encode(method, keep_alive=keep_alive, http10=http10)
    head = len(data)
    if answer.apart and method != "HEAD":
        while piece := answer.piece(len(data) - head):
            data += piece
    found = _HEAD.match(data)
    assert found is not None, f"no response: {data[:500]!r}"
    assert len(found[0]) <= _MAX_HEAD, f"a head of {len(found[0])} bytes"
    status = int(found[1])
    assert status == answer.status, "another status is counted than sent"
    lines = [line.partition(b": ") for line in found[2].split(b"\r\n") if line]
    names = [name.lower() for name, _, _ in lines]
    assert len(names) <= 104, f"{len(names)} header lines"
    assert names.count(b"date") == 1, "not one date"
    assert not {b"transfer-encoding", b"upgrade", b"keep-alive"} & set(names), (
        "framing by the guest"
    )
    assert b"smuggled" not in names, "a header was smuggled in"
    assert names.count(b"connection") == (keep_alive is http10), "persistence by the guest"
    _check_length(
        data[found.end() :],
        status,
        method,
        [v for n, _, v in lines if n.lower() == b"content-length"],
    )


def _check_length(body: bytes, status: int, method: str, lengths: list[bytes]) -> None:
    """What follows the head is as long as the head says: the next byte is another response's."""
    if status in (204, 304):
        assert lengths == [], "a length where there can be none"
        assert body == b"", "a body where there can be none"
        return
    assert len(lengths) == 1, f"{len(lengths)} lengths"
    if method == "HEAD":
        assert body == b"", "a body for HEAD"
    else:
        assert len(body) == int(lengths[0]), "a body of another length"
    if status == 205:
        assert lengths == [b"0"], "205 has no content"
