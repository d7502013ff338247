"""The store's port: every operation, what it guarantees, and the four ways in which it refuses.

The nouns stand in `port_*.py` and are imported from here. An adapter implements all of `Store`; the
contract suite in `tests/scheduler/store` holds for each of them. Time in every comparison is the
store's clock. Ids are the store's, are integers and grow. Instants cross the port as aware UTC.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scheduler.store.errors import Conflict, Lost, QueueFull, Unavailable
from scheduler.store.port_app import AppPort, ConfigValue, CurrentRelease, DeploymentPage
from scheduler.store.port_coordination import (
    CoordinationPort,
    FireResult,
    Lease,
    Tick,
    TickOutcome,
)
from scheduler.store.port_members import (
    Command,
    CommandResult,
    Heartbeat,
    Member,
    MembersPort,
)
from scheduler.store.port_queue import QueuePort
from scheduler.store.port_runs import (
    MAX_ENDS,
    MAX_PAGE,
    EndedCall,
    NewRun,
    RunFilter,
    RunMinute,
    RunPage,
    RunsPort,
    RunStats,
)
from scheduler.store.port_work import (
    MAX_INLINE_PAYLOAD_BYTES,
    Backoff,
    CancelResult,
    Claimed,
    DeadLetter,
    DeadPage,
    Depth,
    Enqueued,
    Extended,
    Failure,
    FunctionLimits,
    NewWork,
    Reaped,
    WorkError,
)
from scheduler.store.signals import Gap, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from types import TracebackType

__all__ = [
    "MAX_ENDS",
    "MAX_INLINE_PAYLOAD_BYTES",
    "MAX_PAGE",
    "Backoff",
    "CancelResult",
    "Capabilities",
    "Claimed",
    "Command",
    "CommandResult",
    "ConfigValue",
    "Conflict",
    "CurrentRelease",
    "DeadLetter",
    "DeadPage",
    "DeploymentPage",
    "Depth",
    "EndedCall",
    "Enqueued",
    "Extended",
    "Failure",
    "FireResult",
    "FunctionLimits",
    "Gap",
    "Health",
    "Heartbeat",
    "Lease",
    "Lost",
    "Member",
    "NewRun",
    "NewWork",
    "QueueFull",
    "Reaped",
    "RunFilter",
    "RunMinute",
    "RunPage",
    "RunStats",
    "Store",
    "Subscription",
    "Tick",
    "TickOutcome",
    "Unavailable",
    "WorkError",
]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do. `signals` is "push", or "poll" when nothing is told from outside."""

    shared: bool
    signals: str
    max_inline_payload: int = MAX_INLINE_PAYLOAD_BYTES


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store takes durable writes now; `detail` says in one line why not."""

    ok: bool
    detail: str = ""


class Store(RunsPort, QueuePort, CoordinationPort, AppPort, MembersPort):
    """All durable state. `async with store:` opens it, brings its schema up to date, closes it."""

    async def __aenter__(self) -> Self:
        await self.open()
        await self.migrate()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def open(self) -> None:
        """Connect. Refuses (Unavailable) a store that another process owns or a newer schema."""

    @abstractmethod
    async def migrate(self) -> int:
        """Bring the schema up to date, all or nothing per step; return its version."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then disconnect. Later calls raise Unavailable. Idempotent."""

    @abstractmethod
    async def health(self) -> Health:
        """Probe with a durable write if the last one failed, with a read otherwise."""

    @abstractmethod
    async def now(self) -> datetime:
        """Return the clock that every comparison uses."""

    @abstractmethod
    async def capabilities(self) -> Capabilities:
        """Return what this adapter can do."""

    @abstractmethod
    def publish(self, topics: Iterable[str]) -> None:
        """Tell subscribers that something about these topics changed. A hint: it may be lost."""

    @abstractmethod
    def subscribe(self, topics: Iterable[str]) -> Subscription:
        """Listen from now on; a topic that ends in `*` is a prefix. Leave it with `async with`.

        Iterating yields sets of topics, merged while nobody looked, and `Gap` when some may have
        been missed. Own topics of the store: `work:NAME` (there may be work for the function),
        `cancel:ID` (cancellation of running work is asked for), `command:INSTANCE`, `deploy`.
        """
