"""Files of memory for large bodies, and the lane on which they are lent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from sandbox import body as bodies
from sandbox.body import Body
from sandbox.call import Call, Result
from sandbox.lane import Lane
from sandbox.runtime import lane as guest
from sandbox.runtime import wire

ID, OTHER = b"i" * 16, b"o" * 16
Ends = tuple[Lane, guest.Lane]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a lane."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host, worker = Lane(here), guest.Lane(there)
    yield host, worker
    host.close()
    there.close()


def whole(*parts: bytes) -> Body:
    """Return a sealed body."""
    made = Body()
    for part in parts:
        made.append(part)
    made.seal()
    return made


def test_what_is_appended_can_be_read_and_not_changed() -> None:
    """By nobody who has the descriptor, once it is sealed."""
    body = whole(b"abc", b"", b"def")
    assert len(body) == 6
    assert (body.read(0, 100), body.read(4, 1), body.read(6, 1)) == (b"abcdef", b"e", b"")
    for change in (
        lambda: body.append(b"x"),
        lambda: os.pwrite(body.fileno(), b"x", 0),
        lambda: os.ftruncate(body.fileno(), 0),
    ):
        with pytest.raises(PermissionError):
            change()
    body.close()


def test_room_can_be_filled_but_keeps_its_size() -> None:
    """So that who reads it finds as many bytes as were asked for, if only zeros."""
    body = Body.room(8)
    os.pwrite(body.fileno(), b"xy", 0)
    assert body.read(0, 100) == b"xy" + b"\0" * 6
    for size in (0, 9):
        with pytest.raises(PermissionError):
            os.ftruncate(body.fileno(), size)
    with pytest.raises(PermissionError):
        os.pwrite(body.fileno(), b"x", 8)
    body.close()


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would have one too many is refused; what is closed, or forgotten, makes room."""
    monkeypatch.setattr(bodies, "MOST", Body.open + 2)
    first, second = Body(), Body.room(1)
    with pytest.raises(OSError, match="large bodies"):
        Body()
    first.close()
    first.close()
    third = Body()
    with pytest.raises(OSError, match="large bodies"):
        Body()
    del second
    Body().close()
    third.close()


def test_a_call_gives_its_body_back_when_it_has_ended() -> None:
    """Not before: another worker may still need it."""

    class Ended(Call):
        def ended(self, result: Result) -> None:
            assert self.body is not None
            assert self.body.fileno() >= 0

    call = Ended(ID, b"", 0.0)
    call.body = whole(b"x")
    call.answer((0, 1, None))
    assert call.body.fileno() == -1


def test_bodies_are_found_by_their_calls(ends: Ends) -> None:
    """Whatever the order in which they come and are asked for."""
    host, worker = ends
    host.hand(wire.BODY, ID, whole(b"one"))
    host.hand(wire.ROOM, ID, Body.room(3))
    host.hand(wire.BODY, OTHER, whole(b"other"))
    assert worker.body(OTHER, 5) == b"other"
    fd = worker.room(ID)
    os.close(fd)
    assert worker.body(ID, 3) == b"one"


def test_a_body_that_is_not_wanted_is_closed(ends: Ends) -> None:
    """Of a call that went to another worker; an event without one is none of it."""
    host, worker = ends
    host.hand(wire.BODY, ID, whole(b"one"))
    before = len(os.listdir("/proc/self/fd"))
    worker.drop(OTHER, ["GET", b""])
    worker.drop(ID, ["GET", 3])
    assert len(os.listdir("/proc/self/fd")) == before
    assert worker.arrived() == []


def test_rooms_are_taken_without_waiting(ends: Ends) -> None:
    """For many calls at once; a room that could not be had comes without a descriptor."""
    host, worker = ends
    assert worker.arrived() == []
    host.hand(wire.ROOM, ID, Body.room(3))
    host.hand(wire.ROOM, OTHER, None)
    (first, fd), second = worker.arrived()
    assert (first, second) == (ID, (OTHER, -1))
    os.close(fd)


def test_a_lane_that_is_closed_wakes_who_waits(ends: Ends) -> None:
    """The worker is wanted no more."""
    host, worker = ends
    host.close()
    host.close()
    with pytest.raises(guest.ClosedError):
        worker.room(ID)


def test_a_worker_that_takes_nothing_is_noticed(ends: Ends) -> None:
    """The host never waits."""
    host, _worker = ends
    room = Body.room(1)
    with pytest.raises(BlockingIOError):
        hand_on(host, room)
    room.close()


def hand_on(host: Lane, room: Body) -> None:
    """Lend more than fits."""
    for _ in range(10_000):
        host.hand(wire.ROOM, ID, room)


@pytest.mark.parametrize(
    ("payload", "is_large"),
    [
        ([200, [], b"x" * wire.APART], True),
        ([200, [], b"x" * (wire.APART - 1)], False),
        ([200, [], "x" * wire.APART], False),
        (b"x" * wire.APART, False),
        (None, False),
    ],
)
def test_which_payloads_are_large(payload: object, *, is_large: bool) -> None:
    """Replies over HTTP alone, by the bytes of their body."""
    assert guest.is_large(payload) is is_large


def test_a_reply_is_laid_into_its_room() -> None:
    """Its frame has the number of bytes; without room, or a room too small, it has all."""
    payload = [200, [["a", "b"]], b"x" * 10]
    body = Body.room(10)
    assert guest.fill(os.dup(body.fileno()), payload) == [200, [["a", "b"]], 10]
    assert body.read(0, 10) == b"x" * 10
    small = Body.room(9)
    assert guest.fill(os.dup(small.fileno()), payload) == payload
    assert guest.fill(-1, payload) == payload
