"""Queued work at the port: events for functions that must not be lost.

At least once, with fencing: each claim gives a token that grows, and an old token changes nothing.
One id names the work and its run. How a failed attempt backs off is a value here, so that every
adapter computes the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING
from uuid import uuid4

from scheduler.errors import BadRequestError
from scheduler.run import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

MAX_INLINE_PAYLOAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before the next attempt: base * factor^(attempt - 1), capped, give or take jitter.

    `jitter` is the part of the delay that is drawn: 0.2 means 80 % to 120 %.
    """

    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 300.0
    jitter: float = 0.2

    def delay_s(self, attempt: int, draw: Callable[[], float]) -> float:
        """Return the delay after this attempt failed; `draw` gives numbers in [0, 1)."""
        # The exponent is bounded: factor ** 10_000 would overflow long after the cap has won.
        delay = min(self.cap_s, self.base_s * self.factor ** min(attempt - 1, 64))
        return float(delay * (1 + self.jitter * (2 * draw() - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWork:
    """An event on its way into the queue.

    Attributes:
        function: who is to answer it.
        payload: opaque bytes, at most MAX_INLINE_PAYLOAD_BYTES.
        priority: higher goes first.
        run_at: not before this instant.
        dedup_key: while work of this function with the same key is alive, nothing new is made.
        dedup_keep_s: how long the key stays taken, counted from the enqueue, even after the end.
        max_attempts: after so many failed attempts it is a dead letter.
        expires_at: not started after this instant; its run is cancelled instead.
        trigger: the word for the run.
        parent: the run that caused this one.
        public_id: the invocation id of the run.
        instance: who accepted it.
        release: the release that it was accepted for.
        lease_to: start it here: it is leased to this owner at once if the function's cap allows.
        lease_s: how long that lease lasts.
    """

    function: str
    payload: bytes = b""
    priority: int = 0
    run_at: datetime | None = None
    dedup_key: str | None = None
    dedup_keep_s: float = 0.0
    max_attempts: int = 5
    backoff: Backoff = Backoff()
    expires_at: datetime | None = None
    trigger: str = "queue"
    parent: int | None = None
    public_id: str = field(default_factory=lambda: str(uuid4()))
    instance: str = ""
    release: str = ""
    lease_to: str | None = None
    lease_s: float = 30.0

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_INLINE_PAYLOAD_BYTES:
            raise BadRequestError(
                f"payload for function {self.function!r}: {len(self.payload)} bytes, "
                f"the limit of queued work is {MAX_INLINE_PAYLOAD_BYTES}; put the content into a "
                "file or an object store and queue its address"
            )
        if self.max_attempts < 1:
            raise BadRequestError(f"max_attempts: {self.max_attempts}, must be 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Work in somebody's hands. `token` fences every later call; `attempt` is what code is told."""

    id: int
    function: str
    payload: bytes
    attempt: int
    max_attempts: int
    token: int
    owner: str
    deadline: datetime
    public_id: str
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of an enqueue: `created` is False when the dedup key was taken.

    `lease` is there if `lease_to` was granted: the work may start now.
    """

    id: int
    created: bool = True
    lease: Claimed | None = None


@dataclass(frozen=True, slots=True)
class Extended:
    """Ids whose lease has gone to somebody else, and ids that are asked to stop."""

    lost: frozenset[int]
    cancelled: frozenset[int]


@dataclass(frozen=True, slots=True)
class Failure:
    """What became of failed work: tried again at `retry_at`, or (None) over, in `state`."""

    retry_at: datetime | None
    state: RunState


class CancelResult(Enum):
    """What a cancellation found."""

    REMOVED = "removed"  # it had not started; its run is cancelled
    REQUESTED = "requested"  # it runs: the owner is told by signal and at the next extend
    UNKNOWN = "unknown"  # no such work is alive


@dataclass(frozen=True, slots=True)
class Reaped:
    """Ids that the reaper gave back to the queue, or ended."""

    requeued: tuple[int, ...] = ()
    dead: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()
    expired: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkError:
    """How one attempt failed."""

    attempt: int
    at: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Work that has used up its attempts, with everything needed to understand or repeat it."""

    id: int
    function: str
    payload: bytes
    attempts: int
    created_at: datetime
    died_at: datetime
    errors: tuple[WorkError, ...]


@dataclass(frozen=True, slots=True)
class DeadPage:
    """Dead letters, newest id first; `cursor` as in `RunPage`."""

    items: list[DeadLetter]
    cursor: int | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much work one function has. `oldest_ready_s` is None when nothing is ready."""

    ready: int = 0
    delayed: int = 0
    running: int = 0
    dead: int = 0
    oldest_ready_s: float | None = None


@dataclass(frozen=True, slots=True)
class FunctionLimits:
    """cap: leases at one time; max_depth: ready and delayed work. None is unlimited."""

    cap: int | None = None
    max_depth: int | None = None
    paused: bool = False


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
