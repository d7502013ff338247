"""Failures in a row of one thing that is tried again and again: how long to wait, what to tell.

Short waits are waited by whoever needs the thing; during a long one nobody shall wait, and each is
told at once why it failed last. Pure: the clock is given.
"""

from __future__ import annotations

from collections.abc import Callable

#: Waits before the next attempt, by failures in a row; the last one for ever after.
PAUSES_S = (0.0, 0.05, 0.2, 1.0, 5.0, 15.0)
#: A wait that a caller notices.
PATIENCE_S = 0.25
_UNBEARABLE = next(n for n, pause in enumerate(PAUSES_S) if pause > PATIENCE_S)


class Attempts:
    """`reason` says why the latest attempt failed; it is empty after a success."""

    __slots__ = ("_failures", "_now", "_until", "reason")

    def __init__(self, now: Callable[[], float]) -> None:
        self.reason = ""
        self._failures = 0
        self._now = now
        self._until = 0.0

    @property
    def pause(self) -> float:
        """Return how long no attempt shall be made."""
        return max(self._until - self._now(), 0.0) if self.reason else 0.0

    @property
    def refusal(self) -> str:
        """Return why nobody shall wait for the next attempt; empty if that comes soon."""
        return self.reason if self.pause > PATIENCE_S else ""

    def failed(self, reason: str, *, slow: bool = False) -> None:
        """Note a failure; each one in a row is followed by a longer pause.

        What fails during a pause was begun before it: attempts side by side count as one. After one
        that was `slow` nobody waits for the next: it has cost them enough.
        """
        if self.pause:
            self.reason = reason
            return
        self._failures = min(self._failures + 1, len(PAUSES_S) - 1)
        if slow:
            self._failures = max(self._failures, _UNBEARABLE)
        self.reason = reason
        self._until = self._now() + PAUSES_S[self._failures]

    def succeeded(self) -> None:
        """Note a success. What it gave may fail at once again, so the row goes on."""
        self.reason = ""

    def proved(self) -> None:
        """Note that what a success gave was good: a later failure is the first of a row."""
        self._failures = 0
