"""Where a worker stands, and what may follow (design.md 7)."""

from __future__ import annotations

from enum import Enum


class WorkerState(Enum):
    """Where a worker stands."""

    FORKED = "forked"
    SPARE = "spare"
    BOUND = "bound"
    BUSY = "busy"
    DRAINING = "draining"
    GONE = "gone"


#: state -> states that may follow. BOUND and BUSY follow from the calls in flight.
TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.FORKED: frozenset({WorkerState.SPARE, WorkerState.GONE}),
    WorkerState.SPARE: frozenset({WorkerState.BOUND, WorkerState.DRAINING, WorkerState.GONE}),
    WorkerState.BOUND: frozenset({WorkerState.BUSY, WorkerState.DRAINING, WorkerState.GONE}),
    WorkerState.BUSY: frozenset({WorkerState.BOUND, WorkerState.DRAINING, WorkerState.GONE}),
    WorkerState.DRAINING: frozenset({WorkerState.GONE}),
    WorkerState.GONE: frozenset(),
}
