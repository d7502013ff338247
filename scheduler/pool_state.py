"""Where a pool stands: the table of its life."""

from __future__ import annotations

from enum import Enum


class PoolState(Enum):
    """A pool serves, may rest without workers until it is called again, then drains for ever."""

    SERVING = "serving"
    COLD = "cold"
    DRAINING = "draining"
    GONE = "gone"


#: state -> states that may follow.
TRANSITIONS: dict[PoolState, frozenset[PoolState]] = {
    PoolState.SERVING: frozenset({PoolState.COLD, PoolState.DRAINING}),
    PoolState.COLD: frozenset({PoolState.SERVING, PoolState.DRAINING}),
    PoolState.DRAINING: frozenset({PoolState.GONE}),
    PoolState.GONE: frozenset(),
}
