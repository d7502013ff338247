"""Where queued work stands, as the adapters keep it. A removed row has no state.

(enqueue) -> READY | DELAYED | LEASED      DELAYED -> READY when its time has come
READY -> LEASED (claim)                    LEASED -> READY | DELAYED (fail, release, reap)
READY | DELAYED -> removed (cancel, expiry)
LEASED -> removed (complete, cancelled) | DEAD (fail, reap after the last attempt)
DEAD -> removed (purge, requeue as new work)
"""

from __future__ import annotations

from enum import IntEnum


class WorkState(IntEnum):
    """The numbers are the stored ones and never change."""

    READY = 0
    LEASED = 1
    DEAD = 2
    DELAYED = 3


#: state -> states that may follow. Total; every state may also end in removal.
TRANSITIONS: dict[WorkState, frozenset[WorkState]] = {
    WorkState.DELAYED: frozenset({WorkState.READY}),
    WorkState.READY: frozenset({WorkState.LEASED}),
    WorkState.LEASED: frozenset({WorkState.READY, WorkState.DELAYED, WorkState.DEAD}),
    WorkState.DEAD: frozenset(),
}
