"""Queued work at the port: events for functions that must not be lost.

At least once, with fencing: each claim gives a token that grows, and an old token changes nothing.
One id names the work and its run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from scheduler.run import RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from scheduler.store.port_work import (
        CancelResult,
        Claimed,
        DeadPage,
        Depth,
        Enqueued,
        Extended,
        Failure,
        FunctionLimits,
        NewWork,
        Reaped,
    )


class QueuePort(ABC):
    """The queue."""

    @abstractmethod
    async def enqueue(self, work: NewWork) -> Enqueued:
        """Take work and make its run, in one commit, durable on return.

        Raises QueueFull at the depth limit of the function.
        """

    @abstractmethod
    async def enqueue_many(self, works: Sequence[NewWork]) -> list[Enqueued]:
        """Take all or, when one is refused, none."""

    @abstractmethod
    async def claim(
        self, owner: str, wants: Sequence[tuple[str, int]], lease_s: float
    ) -> list[Claimed]:
        """Lease up to n pieces of ready work for each wanted (function, n).

        By priority, then run_at, then id. No work has two live leases; the cap of a function holds
        over all instances; paused functions give nothing. Each claim counts an attempt.
        """

    @abstractmethod
    async def extend(self, leases: Sequence[tuple[int, int]], lease_s: float) -> Extended:
        """Push out the deadlines of (id, token) pairs; say which are lost or asked to stop."""

    @abstractmethod
    async def complete(
        self,
        work_id: int,
        token: int,
        *,
        state: RunState = RunState.SUCCESS,
        exit_code: int | None = None,
        exec_ms: float | None = None,
        reason: str = "",
        following: Sequence[NewWork] = (),
    ) -> list[Enqueued]:
        """End work in a final state, close its run and enqueue what follows, in one commit.

        Raises Lost when the token is not current, QueueFull when what follows finds no room; then
        nothing has changed.
        """

    @abstractmethod
    async def fail(
        self,
        work_id: int,
        token: int,
        error: str,
        *,
        retry_at: datetime | None = None,
        state: RunState = RunState.FAILED,
        exec_ms: float | None = None,
    ) -> Failure:
        """Record a failed attempt: back to the queue after the back-off (or at `retry_at`).

        After the last attempt it becomes a dead letter and its run ends in `state`; work that was
        asked to stop ends as CANCELLED. Raises Lost when the token is not current.
        """

    @abstractmethod
    async def release(self, work_id: int, token: int, *, delay_s: float = 0.0) -> None:
        """Give work back without counting the attempt. Raises Lost as `fail` does."""

    @abstractmethod
    async def cancel(self, work_id: int) -> CancelResult:
        """Remove work that waits, or ask its owner to stop."""

    @abstractmethod
    async def reap(self, limit: int = 100) -> Reaped:
        """Take back work whose lease ran out or whose owner is dead, drop what expired.

        Any instance, as often as it likes. The attempt counts; the last one makes a dead letter.
        """

    @abstractmethod
    async def dead_list(
        self, function: str | None = None, *, cursor: int | None = None, limit: int = 50
    ) -> DeadPage:
        """Return a page of dead letters."""

    @abstractmethod
    async def dead_requeue(self, ids: Sequence[int]) -> list[int]:
        """Make new work, with all attempts before it, of these dead letters; return the new ids.

        Each new run has the dead one as parent. Ids that are no dead letters are passed over.
        """

    @abstractmethod
    async def dead_purge(
        self, ids: Sequence[int] | None = None, *, function: str | None = None
    ) -> int:
        """Remove dead letters: these, or all of the function, or all; return how many."""

    @abstractmethod
    async def depth(self, functions: Sequence[str]) -> Mapping[str, Depth]:
        """Return how much work each of these functions has."""

    @abstractmethod
    async def set_limits(self, function: str, limits: FunctionLimits) -> None:
        """Set cap, depth and pause; they hold from the next enqueue and claim on."""

    @abstractmethod
    async def get_limits(self, function: str) -> FunctionLimits:
        """Return what `set_limits` set."""
