"""The leak check itself: what is left is told by name, and what goes in time is no leak."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading

import pytest
from real import leaks
from real.leaks import no_leaks

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "WAIT_S", 0.3)


def test_a_process_that_is_left_is_told() -> None:
    """Its pid and its name are."""
    with (
        pytest.raises(AssertionError, match=r"process: \d+ sleep"),
        no_leaks(),
    ):
        process = subprocess.Popen(["sleep", "60"])
    process.kill()
    process.wait()


def test_a_process_that_nobody_waited_for_is_told() -> None:
    """A zombie is one, too."""
    with (
        pytest.raises(AssertionError, match="process: "),
        no_leaks(),
    ):
        pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)


def test_a_descriptor_that_is_left_is_told() -> None:
    """By what it leads to."""
    with (
        pytest.raises(AssertionError, match=r"descriptor: \d+ /dev/null"),
        no_leaks(),
    ):
        fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)


def test_a_temporary_file_that_is_left_is_told() -> None:
    """By its name, which nobody else's can be: the block has a folder of its own."""
    with (
        pytest.raises(AssertionError, match="temporary file: mine-"),
        no_leaks(),
    ):
        tempfile.mkdtemp(prefix="mine-")


def test_what_goes_in_time_is_no_leak() -> None:
    """The check waits, in bounds, for what is on its way out."""
    fd = 0
    with no_leaks():
        fd = os.open("/dev/null", os.O_RDONLY)
        threading.Timer(0.1, os.close, [fd]).start()


def test_what_was_there_before_is_no_leak() -> None:
    """Only what is new counts."""
    with subprocess.Popen(["sleep", "60"]) as process:
        with no_leaks():
            pass
        process.kill()
