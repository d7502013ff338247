"""Runs at the port: the history of everything that ran, and its counters.

A run is made by `create_run` (a job), by the queue and the ticks (in their own commits), or by
`finish_many` (synchronous calls, after the fact). `scheduler/run.py` owns the states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler.run import Run, RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: rows of one page at most
MAX_PAGE = 200
#: ends that `finish_many` and `finish_calls` add together, all or none; of more than these the
#: first may be there when the call raises. Bounds how long others wait for their commit.
MAX_ENDS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run before it has an id; the fields are those of `Run`. Spans are kept to 1 µs."""

    public_id: str
    kind: RunKind
    name: str
    trigger: str
    state: RunState
    instance: str
    release: str = ""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    arguments: str = ""
    attempt: int = 1
    wait_ms: float = 0.0
    exec_ms: float = 0.0
    parent: int | None = None

    def numbered(self, run_id: int) -> Run:
        """Return the run with its id."""
        return Run(
            id=run_id,
            public_id=self.public_id,
            kind=self.kind,
            name=self.name,
            trigger=self.trigger,
            state=self.state,
            instance=self.instance,
            release=self.release,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            exit_code=self.exit_code,
            reason=self.reason,
            arguments=self.arguments,
            attempt=self.attempt,
            wait_ms=round(self.wait_ms, 3),
            exec_ms=round(self.exec_ms, 3),
            parent=self.parent,
        )


class EndedCall(NamedTuple):
    """A synchronous call of a function that has ended: a run in its cheapest form.

    There are many of them each second, so nothing is converted before the store has its turn.
    `call_id` is the invocation id as 16 bytes, `ended_at` a Unix time, spans are seconds.
    """

    call_id: bytes
    name: str
    trigger: str
    release: str
    state: RunState
    reason: str
    ended_at: float
    wait_s: float
    exec_s: float

    @property
    def public_id(self) -> str:
        """Return the invocation id as text."""
        h = self.call_id.hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def as_run(self, instance: str) -> NewRun:
        """Return the call as any other run."""
        ended = round(self.ended_at * 1e6)
        began = ended - round(self.exec_s * 1e6)
        return NewRun(
            public_id=self.public_id,
            kind=RunKind.FUNCTION,
            name=self.name,
            trigger=self.trigger,
            state=self.state,
            instance=instance,
            release=self.release,
            created_at=_instant(began - round(self.wait_s * 1e6)),
            started_at=_instant(began),
            ended_at=_instant(ended),
            reason=self.reason,
            wait_ms=self.wait_s * 1000,
            exec_ms=self.exec_s * 1000,
        )


def _instant(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs: every field that is given must hold.

    `trigger` is a prefix ("Schedule"), `since` <= created_at < `until`, `text` occurs (without
    case) in the public id, the reason or the arguments. Names compare without case.
    """

    kind: RunKind | None = None
    name: str | None = None
    state: RunState | None = None
    trigger: str | None = None
    instance: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first, and where the next page begins; None: there is none."""

    items: list[Run]
    cursor: int | None


@dataclass(frozen=True, slots=True)
class RunMinute:
    """What ended in one minute in one state. `minute` is its first instant."""

    minute: datetime
    state: RunState
    count: int
    sum_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class RunStats:
    """Ended runs of one function or job in a window, from the per-minute counters."""

    minutes: tuple[RunMinute, ...] = ()
    counts: Mapping[RunState, int] = field(default_factory=dict)
    sum_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def total(self) -> int:
        """Return how many ended, in whatever way."""
        return sum(self.counts.values())

    @classmethod
    def of(cls, minutes: Sequence[RunMinute]) -> RunStats:
        """Sum up minutes."""
        counts: dict[RunState, int] = {}
        for minute in minutes:
            counts[minute.state] = counts.get(minute.state, 0) + minute.count
        return cls(
            tuple(minutes),
            counts,
            sum(minute.sum_ms for minute in minutes),
            max((minute.max_ms for minute in minutes), default=0.0),
        )


class RunsPort(ABC):
    """The history."""

    @abstractmethod
    async def create_run(self, new: NewRun) -> Run:
        """Record a run; it is durable on return. A final state is counted like any end."""

    @abstractmethod
    async def update_run(
        self,
        run_id: int,
        state: RunState,
        *,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
        public_id: str | None = None,
        exec_ms: float | None = None,
        instance: str | None = None,
    ) -> Run:
        """Move a run along, or amend it where it stands; durable on return.

        What is None stays as it is, with three exceptions: RUNNING sets `started_at` and a final
        state sets `ended_at` to the store's now, and a final state without `exec_ms` takes the span
        between the two. `instance` takes the run over from whoever has it; since of several that
        want a waiting run one must win, that never amends.

        Raises Conflict when the table of states forbids the step (a final run never changes),
        NotFoundError when there is no such run.
        """

    @abstractmethod
    async def get_run(self, run_id: int) -> Run | None:
        """Return the run with this id."""

    @abstractmethod
    async def find_run(self, kind: RunKind, name: str, public_id: str) -> Run | None:
        """Return the newest run of this name with this public id.

        By index for jobs and for queued work; for the synchronous calls of a function it reads that
        function's history (an index over random ids would cost every call).
        """

    @abstractmethod
    async def query_runs(
        self, where: RunFilter, *, cursor: int | None = None, limit: int = 50
    ) -> RunPage:
        """Return a page, newest id first. Pages stay stable while runs are added.

        `limit` is cut to MAX_PAGE. Filters by kind, name and state use indexes, the others look at
        rows until the page is full.
        """

    @abstractmethod
    async def finish_many(self, rows: Sequence[NewRun]) -> None:
        """Add runs that have ended already (ValueError if one has not), in order.

        Relaxed: safe from a kill of this process, while a power cut may take the last moments.
        """

    @abstractmethod
    async def finish_calls(self, instance: str, calls: Sequence[EndedCall]) -> None:
        """Add calls that have ended, in order; relaxed like `finish_many`, and cheaper.

        ValueError, and nothing is added, if one has a state that is not final.
        """

    @abstractmethod
    async def open_runs(self, instance: str | None = None) -> list[Run]:
        """Return every run that has not ended, oldest first."""

    @abstractmethod
    async def close_orphans(self, instance: str, reason: str) -> list[Run]:
        """End as ABORTED, with this reason, what this instance left open; return those runs.

        For the start of a process (promise D3). A run that waits has not begun, and is not touched;
        neither is what the queue still holds: its lease decides.
        """

    @abstractmethod
    async def prune_runs(
        self,
        *,
        older_than: datetime | None = None,
        keep_per_name: int | None = None,
        keep_newest: int | None = None,
        kind: RunKind | None = None,
        name: str | None = None,
        limit: int = 1000,
    ) -> list[Run]:
        """Remove ended runs, oldest first, at most `limit`; return them. Call again while full.

        Removed is what was created before `older_than`, what is beyond the newest `keep_per_name`
        runs of its kind and name, and what is not among the last `keep_newest` ids that were given
        out, to whatever kind. Runs that the queue still holds stay. Age is looked at from the
        oldest row on and no further than the first that is young, so a call costs what it removes.
        """

    @abstractmethod
    async def run_stats(self, kind: RunKind, name: str, window: timedelta) -> RunStats:
        """Return counters of the minutes of the window up to now, oldest first."""

    @abstractmethod
    async def prune_stats(self, older_than: datetime, *, limit: int = 1000) -> int:
        """Remove counters of minutes before this instant, at most `limit`; return how many."""
