"""The time between the platform's first sign of life and its readiness, and who waits for it.

A call that comes so early waits for the first release instead of being refused (functions.md 7.3).
Afterwards nobody waits: a platform that stops is not going to be ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_S = 30.0
_MAX_WAITING = 10_000  # calls; also of clients that have left again


class Opening:
    """Knows whether the platform still starts, and calls back when it does no longer."""

    def __init__(self, wait_s: float = WAIT_S, *, over: bool = False) -> None:
        self.over = over
        self._wait_s = wait_s
        self._waiting: dict[asyncio.TimerHandle, Callable[[], None]] = {}

    def wait(self, callback: Callable[[], None]) -> None:
        """Call back once: at the end of the start, or after `wait_s`; at once if it is crowded."""
        if len(self._waiting) >= _MAX_WAITING:
            callback()
            return
        loop = asyncio.get_running_loop()

        def late() -> None:
            del self._waiting[timer]
            callback()

        timer = loop.call_later(self._wait_s, late)
        self._waiting[timer] = callback

    def end(self) -> None:
        """The start is over: call everybody back, in the order in which they came."""
        self.over = True
        waiting, self._waiting = self._waiting, {}
        for timer, callback in waiting.items():
            timer.cancel()
            callback()
