"""The place beside the platform's own thread, with a process that really sits there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sandbox.seat import Seat

CODE = "import sys; print('here', flush=True); sys.stdin.read()"
THREADS = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start();"


@pytest.fixture
def sitter() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that waits."""
    yield from _running(CODE)


@pytest.fixture
def crowd() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that waits in two threads."""
    yield from _running(THREADS + CODE)


def _running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_who_sits_runs_on_one_processor_and_later_on_all(
    sitter: subprocess.Popen[bytes],
) -> None:
    """Nothing of the seat stays with who has left it."""
    seat = Seat()
    before = os.sched_getaffinity(sitter.pid)
    assert seat.take(sitter.pid)
    assert len(os.sched_getaffinity(sitter.pid)) == 1
    seat.leave(sitter.pid + 1)
    assert len(os.sched_getaffinity(sitter.pid)) == 1
    seat.leave(sitter.pid)
    assert os.sched_getaffinity(sitter.pid) == before


def test_who_has_threads_gets_no_seat(crowd: subprocess.Popen[bytes]) -> None:
    """They may compute side by side; one processor for them all would slow them down."""
    before = os.sched_getaffinity(crowd.pid)
    assert not Seat().take(crowd.pid)
    assert os.sched_getaffinity(crowd.pid) == before


def test_nobody_is_no_error() -> None:
    """A worker that has just ended."""
    seat = Seat()
    assert not seat.take(2**22 + 1)
    assert not seat.taken
