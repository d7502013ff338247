"""The values of queued work: what goes in, what a claim gives, what became of it.

How a failed attempt backs off is a value here, so that every adapter computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING
from uuid import uuid4

from scheduler.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from scheduler.run import RunState

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
