"""Programs and forks of the interpreter, one group at a time, and signals that end both.

The platform tells every process of a job's tree to end. A program that catches the signal has thus
been told and is not told twice, for many take the second for an order to stop at once; whoever does
not catch it gets it here as well, so that all end when the interpreter alone is told. It then waits
for the program, ends as that ended, and runs no further line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How a fork of the interpreter tells that it has refused the file; no program is asked.
REFUSED = signal.SIGUSR2


class Processes:
    """The children that run now."""

    def __init__(self) -> None:
        self._running: dict[int, bool] = {}  # pid -> is it a fork of ours
        self._ending: int = 0

    def watch(self) -> None:
        """Take over the signals, as they are for programs of Linux and not for those of Python."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ, REFUSED):
            signal.signal(number, signal.SIG_DFL)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def fork(self, work: Callable[[], int]) -> int:
        """Run work in a copy of the interpreter that ends with its result; return the pid."""

        def child() -> NoReturn:
            self._running.clear()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            os._exit(exit_code(work()))

        return self._start(child, is_ours=True)

    def run(self, argv: list[str], environment: Mapping[str, str]) -> int:
        """Run a program and return its exit code; OSError if it cannot be started."""
        reading, writing = os.pipe()

        def child() -> NoReturn:
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            try:
                os.execve(argv[0], argv, environment)
            except OSError as error:
                os.write(writing, str(error.errno).encode())
            os._exit(126)

        pid = self._start(child, is_ours=False)
        os.close(writing)
        failure = os.read(reading, 16)  # nothing, once the program has taken over
        os.close(reading)
        code = self.wait([pid])
        if failure:
            raise OSError(int(failure), os.strerror(int(failure)), argv[0])
        return code

    def wait(self, pids: Sequence[int]) -> int:
        """Return the exit code of the last one when all have ended; never, if told to end."""
        status = 0
        for pid in pids:
            status = os.waitpid(pid, 0)[1]
            self._running.pop(pid, None)
        if self._ending:
            if os.WIFEXITED(status):
                os._exit(os.WEXITSTATUS(status))
            end_by(self._ending)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def was_refused(self, code: int) -> bool:
        """Tell whether a fork ended because it met what it does not know."""
        return code == 128 + REFUSED

    def _start(self, child: Callable[[], NoReturn], *, is_ours: bool) -> int:
        # A signal between the fork and the note of it would find nobody to pass it on to.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        pid = os.fork()
        if pid == 0:
            try:
                child()
            finally:
                os._exit(255)
        self._running[pid] = is_ours
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        return pid

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if not self._running:
            end_by(number)
        self._ending = number
        for pid, is_ours in self._running.items():
            if is_ours or not _catches(pid, number):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)


def end_by(number: int) -> NoReturn:
    """End as a program ends that does not catch the signal."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def exit_code(level: int) -> int:
    """Return the code of a process for an ERRORLEVEL: a failure never becomes 0."""
    return level if 0 <= level <= 255 else level & 255 or 255


def _catches(pid: int, number: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
