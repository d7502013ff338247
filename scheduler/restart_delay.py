"""How long a continuous job waits before its next start; pure (webjobs.md 4.3).

Kudu waits one constant time. So do we at first, and always after an end without error: many jobs
are written to be started again and again. Only a job that keeps failing waits longer and longer.
"""

from __future__ import annotations

from scheduler.functions import Job
from scheduler.job_settings import own_setting

HEALTHY_S = 120.0
#: A longer wait than this helps nobody, unless the user set one.
CAP_S = 300.0
#: Failures in a row that are followed by the plain restart time.
PLAIN_FAILURES = 3
_MISSING_S = 60.0


class RestartDelay:
    """The delays of one job from one start to its next stop."""

    def __init__(self, *, backs_off: bool = True) -> None:
        self._backs_off = backs_off
        self._failures = 0
        self._missing = 0

    @classmethod
    def of(cls, job: Job) -> RestartDelay:
        """Return the delays of a job; `"taak": {"restart_backoff": false}` keeps to Kudu's."""
        return cls(backs_off=own_setting(job, "restart_backoff") is not False)

    def after_end(self, *, ok: bool, lived_s: float, restart_s: float) -> float:
        """Return the wait after a process that lived so long."""
        self._missing = 0
        if lived_s >= HEALTHY_S:
            self._failures = 0
            return 0.0
        self._failures = 0 if ok else self._failures + 1
        if not self._backs_off or restart_s <= 0:
            return restart_s
        return _grown(restart_s, self._failures - PLAIN_FAILURES)

    def after_missing(self, *, restart_s: float) -> float:
        """Return the wait after a start that lacked its interpreter: somebody has to install it."""
        self._missing += 1
        return _grown(max(restart_s, _MISSING_S), self._missing - 1)

    @property
    def first_missing(self) -> bool:
        """Tell whether the lack was found for the first time: then it is told."""
        return self._missing == 1


def _grown(base_s: float, steps: int) -> float:
    # The exponent is bounded because a job may fail for years.
    return max(base_s, min(CAP_S, base_s * 2.0 ** min(max(steps, 0), 16)))
