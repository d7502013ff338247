"""A run: the record of one piece of work, and the table of its states.

Terminal states never change (promise D7). Kudu's surface knows fewer words; the mapping stands in
`gateway/kudu`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class RunState(Enum):
    """Where a run stands; the values are the words of `/v1` and of the store."""

    QUEUED = "queued"
    INITIALIZING = "initializing"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed-out"
    OUT_OF_MEMORY = "out-of-memory"
    CANCELLED = "cancelled"


_ENDS = frozenset(
    {
        RunState.SUCCESS,
        RunState.FAILED,
        RunState.ABORTED,
        RunState.TIMED_OUT,
        RunState.OUT_OF_MEMORY,
        RunState.CANCELLED,
    }
)

#: state -> states that may follow. Total: every state has an entry, an end has an empty one.
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.INITIALIZING, RunState.RUNNING}) | _ENDS,
    RunState.INITIALIZING: frozenset({RunState.RUNNING}) | _ENDS,
    # A queued event whose attempt failed goes back to the queue (promise D2).
    RunState.RUNNING: frozenset({RunState.QUEUED}) | _ENDS,
    **dict.fromkeys(_ENDS, frozenset()),
}


def is_final(state: RunState) -> bool:
    """Tell whether a run in this state will never change again."""
    return not TRANSITIONS[state]


class RunKind(Enum):
    """What ran."""

    FUNCTION = "function"
    TRIGGERED = "triggered"
    CONTINUOUS = "continuous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of the history.

    `id` is the store's, grows with time and is what `/v1/runs/{id}` takes. `public_id` is the
    invocation id (UUID text) of a function, or the run folder's name (18 digits) of a triggered
    job. `trigger` is words ("http", "timer", "Schedule - 0 0 * * * *", "External - curl/8.1").
    `reason` says in one line why a run that did not succeed ended. `parent` is the id of
    the run that caused this one. All times are aware UTC.
    """

    id: int
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
