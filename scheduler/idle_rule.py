"""When a triggered run counts as hung: no output and no processor time (webjobs.md 5.5).

Pure: it is asked once a second and given the facts. After the timeout of silence it takes a first
sample of processor time; it gives the verdict after as much silence again if nothing moved.
"""

from __future__ import annotations

from collections.abc import Callable


class IdleRule:
    """The rule for one run."""

    def __init__(self, timeout_s: float, started: float) -> None:
        self._timeout_s = timeout_s
        self._silent_since = started
        self._sample: int | None = None

    def is_hung(self, now: float, last_write: float, sample: Callable[[], int | None]) -> bool:
        """Tell whether the run is hung; `sample` is only called when there was silence."""
        if last_write > self._silent_since:
            self._silent_since, self._sample = last_write, None
        if now - self._silent_since < self._timeout_s:
            return False
        ticks = sample()
        if ticks is not None and ticks == self._sample:
            return True
        self._silent_since, self._sample = now, ticks
        return False
