"""The page of host and worker: a frame is begun or taken back, never both and never neither."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from sandbox.progress import Progress
from sandbox.runtime.worker import _is_taken_back

Pages = tuple[Progress, mmap.mmap]


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
