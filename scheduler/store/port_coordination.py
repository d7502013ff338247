"""Ticks and leases at the port: what must happen once, and who may do it now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scheduler.run import Run
    from scheduler.store.port_runs import NewRun
    from scheduler.store.port_work import Enqueued, NewWork


class TickOutcome(StrEnum):
    """What was decided about a tick."""

    FIRED = "fired"
    SKIPPED = "skipped"  # the one before still runs
    MISSED = "missed"  # nobody was up, and it is not made good


@dataclass(frozen=True, slots=True)
class Tick:
    """A scheduled instant of a timer, recorded once. `run_id` is what it started, if anything."""

    timer_id: str
    due_at: datetime
    fired_at: datetime
    outcome: TickOutcome
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class FireResult:
    """A tick that this call recorded, and what it started."""

    tick: Tick
    run: Run | None = None
    work: Enqueued | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A held name. `token` is larger than that of every earlier holder."""

    name: str
    owner: str
    token: int
    expires_at: datetime


class CoordinationPort(ABC):
    """Timers and leases."""

    @abstractmethod
    async def fire(
        self,
        timer_id: str,
        due_at: datetime,
        *,
        run: NewRun | None = None,
        work: NewWork | None = None,
        outcome: TickOutcome | str = TickOutcome.FIRED,
    ) -> FireResult | None:
        """Record a tick with the run or the queued work that it starts, in one commit.

        None if this instant of this timer is recorded already, by whomever: then nothing was
        written. Queued work makes its own run, so give one of the two. Raises QueueFull, and
        records nothing, when the work finds no room.
        """

    @abstractmethod
    async def last_tick(self, timer_id: str) -> Tick | None:
        """Return the tick with the latest due instant."""

    @abstractmethod
    async def ticks(self, timer_id: str, limit: int = 50) -> list[Tick]:
        """Return ticks, the latest due first."""

    @abstractmethod
    async def prune_ticks(self, older_than: datetime, *, limit: int = 1000) -> int:
        """Remove ticks due before this instant, but never a timer's last; return how many."""

    @abstractmethod
    async def acquire(self, name: str, owner: str, ttl_s: float) -> int | None:
        """Return a token if the name is free or its lease ran out, None while it is held.

        The token is larger than every token of this name before. A holder does not get it twice:
        it renews.
        """

    @abstractmethod
    async def renew(self, name: str, token: int, ttl_s: float) -> bool:
        """Push out the expiry. False if it ran out or was released: then False for ever."""

    @abstractmethod
    async def release_lease(self, name: str, token: int) -> bool:
        """Give the name free; False if this token does not hold it any more."""

    @abstractmethod
    async def leases(self, prefix: str = "") -> Sequence[Lease]:
        """Return the live leases whose names begin so, by name."""
