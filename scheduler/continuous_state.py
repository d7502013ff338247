"""The states of a continuous job, the table of their order, and the value that shows them.

The words are Kudu's (webjobs.md 4.1). `Success` is missing on purpose: it is a word in logs and
status files for a moment, never a state in which a job is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sandbox.spec import Exit
from scheduler.debugging import DebugSession


class ContinuousState(Enum):
    """Where a continuous job stands on one instance."""

    INITIALIZING = "Initializing"
    STARTING = "Starting"
    RUNNING = "Running"
    PENDING_RESTART = "PendingRestart"
    INACTIVE_INSTANCE = "InactiveInstance"
    DISABLING = "Disabling"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


_S = ContinuousState
_ENDS = frozenset({_S.DISABLING, _S.STOPPING})

#: state -> states that may follow. Total: every state has an entry.
TRANSITIONS: dict[ContinuousState, frozenset[ContinuousState]] = {
    _S.INITIALIZING: frozenset({_S.STARTING, _S.STOPPED, _S.DISABLING}),
    _S.STARTING: _ENDS | {_S.RUNNING, _S.INACTIVE_INSTANCE, _S.PENDING_RESTART},
    _S.RUNNING: _ENDS | {_S.PENDING_RESTART, _S.INACTIVE_INSTANCE},
    _S.PENDING_RESTART: _ENDS | {_S.RUNNING, _S.INACTIVE_INSTANCE},
    _S.INACTIVE_INSTANCE: _ENDS | {_S.RUNNING, _S.PENDING_RESTART},
    _S.DISABLING: frozenset({_S.STOPPING, _S.STOPPED, _S.STARTING}),
    _S.STOPPING: frozenset({_S.STOPPED}),
    _S.STOPPED: frozenset({_S.STARTING}),
}

#: States in which the job's loop goes round.
LIVE = frozenset({_S.STARTING, _S.RUNNING, _S.PENDING_RESTART, _S.INACTIVE_INSTANCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousStatus:
    """A continuous job as it is now.

    `since` is when it came into its state, `restarts` counts starts of its process after the first
    since the platform's start, `last_exit` is how the last process ended.
    """

    state: ContinuousState
    detailed_status: str
    since: datetime
    pid: int | None = None
    restarts: int = 0
    last_exit: Exit | None = None
    debugging: DebugSession | None = None
