"""A platform without descriptors makes no worker, and keeps none of those it had got for it."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import Mock

import pytest
from fuzz.fakes import FakeDrain, FakeTree

from sandbox.drain import Drain
from sandbox.tree import Tree
from sandbox.worker import Worker
from sandbox.worker_events import WorkerEvents

_NEEDED = 11  # channel 2, log 3, streams 4, page 2


def _open() -> set[int]:
    names = map(int, os.listdir("/proc/self/fd"))
    return {fd for fd in names if os.path.lexists(f"/proc/self/fd/{fd}")}


@contextmanager
def _left(free: int) -> Iterator[None]:
    """Let so many more descriptors be opened."""
    numbers = (number for number in itertools.count() if number not in _open())
    limit = next(itertools.islice(numbers, free, None))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _create() -> tuple[Worker, list[int]]:
    return Worker.create(
        cast("WorkerEvents", Mock()), cast("Tree", FakeTree()), cast("Drain", FakeDrain())
    )


@pytest.mark.parametrize("free", range(_NEEDED))
async def test_a_worker_is_not_made_in_part(free: int) -> None:
    """With too few descriptors it fails, and all that it had opened are closed again."""
    before = _open()
    with _left(free), pytest.raises(OSError, match="Too many open files"):
        _create()
    assert _open() == before


async def test_a_worker_is_made_with_just_enough() -> None:
    """So the test above tries every number that is too small."""
    with _left(_NEEDED):
        worker, fds = _create()
    for fd in fds:
        os.close(fd)
    worker.fail("the test is over")
