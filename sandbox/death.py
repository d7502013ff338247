"""The account of one worker's death: which calls it takes along, and how it came about.

The channel's end is the notice, at once; how the process ended is told a moment later, by the
zygote. Whoever needs that waits here, in bounds: only texts depend on it, never a decision.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial

from sandbox.call import Call
from sandbox.errors import SandboxDiedError
from sandbox.spec import Exit

_EXIT_GRACE_S = 0.25  # how long a death waits for the exit status to name its reason


class Death:
    """What is known of a worker's end."""

    __slots__ = ("_exit", "_loop", "_starved", "_waiting", "why")

    def __init__(self) -> None:
        self.why = ""  # why we ended it
        self._exit = ""
        self._starved = False
        self._waiting: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()

    @property
    def facts(self) -> str:
        """Return why or how the worker ended; empty as long as nobody knows."""
        return self.why or self._exit

    def because(self, why: str) -> None:
        """Note why we end the worker; the first reason counts."""
        self.why = self.why or why

    def exited(self, exit_: Exit) -> None:
        """Take the word for how the process ended."""
        self._starved = bool(exit_.starved)
        self._exit = str(exit_)
        if exit_.signal and not exit_.starved:
            self._exit = f"killed by {_signal_name(exit_.signal)}"
        self.tell()

    def when_known(self, action: Callable[[], None]) -> None:
        """Act when the facts are there, at the latest after a moment."""
        if self.facts:
            action()
            return
        self._waiting.append(action)
        self._loop.call_later(_EXIT_GRACE_S, self.tell)

    def tell(self) -> None:
        """Let those act who wait for the facts: they are known, or never will be."""
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def part(self, calls: list[Call], begun: int, pid: int) -> list[Call]:
        """Fail the calls that had begun as soon as it is known why; return the others."""
        doomed = [call for call in calls if call.number <= begun]
        if doomed:
            self.when_known(partial(self._fail, doomed, pid))
        return [call for call in calls if call.number > begun]

    def _fail(self, doomed: list[Call], pid: int) -> None:
        text = f"the worker process {pid} ended during the call"
        if self.facts:
            text += f": {self.facts}"
        for call in doomed:
            call.answer(SandboxDiedError(text, started=True, starved=self._starved))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
