"""What is Taak's own about a triggered job: how many runs, who waits, what is made good, how long.

All of it stands under "taak" in settings.job, and all of it is off unless somebody asks: a job that
says nothing behaves as on Azure (webjobs.md 5.2, 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class OnBusy(Enum):
    """What becomes of a run that finds no place."""

    REJECT = "reject"
    QUEUE = "queue"


class Overlap(Enum):
    """What becomes of a tick that finds no place."""

    SKIP = "skip"
    QUEUE = "queue"


class Misfire(Enum):
    """Which ticks that nobody was up for are made good."""

    RECENT = "recent"  # Kudu's rule: one run, if the oldest is no older than ten minutes
    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """One job's choices; the defaults are Kudu's behaviour.

    Attributes:
        concurrency: runs at one time, over all instances.
        queue_depth: runs that may wait.
        misfire_limit: of missed ticks that are all made good, the newest so many are.
        timeout_s: the longest that a run may take; None is any time.
    """

    concurrency: int = 1
    on_busy: OnBusy = OnBusy.REJECT
    queue_depth: int = 100
    overlap: Overlap = Overlap.SKIP
    misfire: Misfire = Misfire.RECENT
    misfire_limit: int = 10
    timeout_s: float | None = None

    @property
    def queues(self) -> bool:
        """Tell whether a run of this job may have to wait."""
        waits = self.on_busy is OnBusy.QUEUE or self.overlap is Overlap.QUEUE
        return waits or self.misfire is Misfire.ALL
