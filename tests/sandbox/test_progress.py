"""The page of host and worker: a frame is begun or taken back, never both and never neither."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sandbox.progress import Progress
from sandbox.runtime.worker import _Answers, _is_taken_back

Pages = tuple[Progress, mmap.mmap]


def test_a_worker_cannot_take_the_page_away() -> None:
    """The host reads it: one that was cut short would end the platform with SIGBUS."""
    host, fd = Progress.create()
    for size in (0, 2 * mmap.PAGESIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.pwrite(fd, b"\1", 0)  # what it is for goes on
    assert host.begun == 1
    os.close(fd)
    host.close()


@pytest.mark.parametrize("offset", [0, 8, 16, 24])
@pytest.mark.parametrize("lie", [(1 << 64) - 1, (1 << 64) - 2, 1 << 63])
def test_a_number_that_is_too_large_raises_nothing(offset: int, lie: int) -> None:
    """It is read at a worker's end as well, which nothing may keep from being told."""
    host, fd = Progress.create()
    host.hold(3)
    os.pwrite(fd, struct.pack("<Q", lie), offset)
    host.decide()
    host.hold(4)
    host.decide()
    assert host.begun < 1 << 63
    os.close(fd)
    host.close()


@pytest.fixture
def pages() -> Iterator[Pages]:
    """The host's view and the worker's."""
    host, fd = Progress.create()
    with mmap.mmap(fd, mmap.PAGESIZE) as guest:
        os.close(fd)
        yield host, guest
    host.close()


def begin(guest: mmap.mmap, number: int) -> None:
    """Say, as the worker does, that a frame is next."""
    struct.pack_into("<Q", guest, 0, number)


def held(guest: mmap.mmap) -> int:
    """Return up to which frame the worker has to ask."""
    return int(struct.unpack_from("<Q", guest, 8)[0])


def test_nothing_is_held_at_first(pages: Pages):
    """A worker without a recall never asks: frames count from 1."""
    host, guest = pages
    assert held(guest) == 0
    begin(guest, 7)
    assert host.begun == 7


def test_what_is_not_begun_is_taken_back(pages: Pages):
    """The running frame stays, those behind it go, those that come later are not meant."""
    host, guest = pages
    begin(guest, 3)
    host.hold(6)
    assert host.decide() == 4
    assert [_is_taken_back(guest, n) for n in (3, 4, 5, 6)] == [False, True, True, True]
    assert held(guest) < 7


def test_a_worker_that_is_between_two_frames_waits_for_the_word(pages: Pages):
    """It said that it begins before it looked: so the frame is its own."""
    host, guest = pages
    begin(guest, 3)
    host.hold(6)
    begin(guest, 4)
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(_is_taken_back(guest, 4)))
    thread.start()
    assert said == []
    assert host.decide() == 5
    thread.join(5)
    assert said == [False]


def test_a_second_recall_does_not_revive_what_the_first_took(pages: Pages):
    """A worker that still passes over taken frames must not run the one that it stands at."""
    host, guest = pages
    begin(guest, 3)
    host.hold(6)
    host.decide()
    begin(guest, 5)  # passing over 4, 5 and 6, which are others' now
    host.hold(9)
    first = host.decide()
    assert first <= 6
    assert [_is_taken_back(guest, n) for n in (5, 6, 7, 9)] == [True] * 4


@pytest.fixture
def answers(pages: Pages) -> Iterator[tuple[_Answers, socket.socket]]:
    """The worker's way out, and the host's end of it."""
    host, guest = socket.socketpair()
    with host, guest:
        yield _Answers(guest, pages[1]), host


def test_kept_answers_are_found_until_they_are_sent(pages: Pages, answers):
    """Each finished answer is in the page or on its way, in one write with the next."""
    (host, _guest), (out, sock) = pages, answers
    assert host.kept() == b""
    assert out.keep(b"one")
    assert out.keep(b"two")
    assert host.kept() == b"onetwo"
    out.send(b"three")
    assert sock.recv(100) == b"onetwothree"
    assert host.kept() == b""
    assert out.keep(b"4")
    assert host.kept() == b"4"
    out.send()
    assert sock.recv(100) == b"4"


def test_an_answer_without_room_leaves_with_the_kept_ones(pages: Pages, answers):
    """The room is bounded: what does not fit is sent at once, after what waits."""
    (host, _guest), (out, sock) = pages, answers
    assert out.keep(b"a" * 1000)
    large = b"b" * 100
    assert not out.keep(large)
    out.send(large)
    assert sock.recv(5000) == b"a" * 1000 + large
    assert host.kept() == b""


def test_what_was_read_while_it_was_sent_is_void(pages: Pages, answers, monkeypatch):
    """The place may hold other answers by then."""
    (host, _guest), (out, _sock) = pages, answers
    out.keep(b"one")
    page = host._page

    class Slow:
        """A page whose answers are sent just while they are read."""

        def __getitem__(self, part):
            found = page[part]
            out.send()
            out.keep(b"new")
            return found

    monkeypatch.setattr("sandbox.progress._turn_and_size", Reading(page))
    monkeypatch.setattr("sandbox.progress._number", Reading(page))
    monkeypatch.setattr(host, "_page", Slow())
    assert host.kept() == b""
    monkeypatch.undo()
    assert host.kept() == b"new"


class Reading:
    """A struct that reads from a page, whatever stands for it."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page

    def unpack_from(self, _page: object, at: int) -> tuple[int, int]:
        """Return two numbers from there."""
        return struct.unpack_from("<QQ", self._page, at)


@pytest.mark.parametrize("size", [5000, 1 << 60])
def test_a_size_that_lies_reads_no_further_than_the_page(pages: Pages, size: int):
    """The host reads what there is."""
    host, guest = pages
    struct.pack_into("<Q", guest, 40, size)
    assert len(host.kept()) == mmap.PAGESIZE - 64
