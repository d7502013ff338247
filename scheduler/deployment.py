"""A deployment: the record of one attempt to make the site's files serve, and its table of states.

Only `deployments.py` moves one along; the store and the APIs read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from scheduler.functions import Problem

#: How the reasons of the folder watch begin. Others are requests: they also try again what was
#: refused, though no file has changed since.
WATCHED = "files: "


class DeploymentState(Enum):
    """How far a deployment came; the values are the words of `/v1` and of the store."""

    SEEN = "seen"  # something changed
    SETTLING = "settling"  # waiting until nobody writes any more
    BUILT = "built"  # the files are copied into an immutable release
    CHECKED = "checked"  # manifests are good and the first workers are ready
    LIVE = "live"
    REFUSED = "refused"  # the last good release keeps serving


#: state -> states that may follow. Total: every state has an entry, an end has an empty one.
TRANSITIONS: dict[DeploymentState, frozenset[DeploymentState]] = {
    DeploymentState.SEEN: frozenset({DeploymentState.SETTLING, DeploymentState.REFUSED}),
    DeploymentState.SETTLING: frozenset({DeploymentState.BUILT, DeploymentState.REFUSED}),
    DeploymentState.BUILT: frozenset({DeploymentState.CHECKED, DeploymentState.REFUSED}),
    DeploymentState.CHECKED: frozenset({DeploymentState.LIVE, DeploymentState.REFUSED}),
    DeploymentState.LIVE: frozenset(),
    DeploymentState.REFUSED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One attempt. `id` grows with time and sorts as text; names are of functions and jobs.

    Jobs are told from functions by their kind: "triggered/report", "continuous/mail", "hello".
    """

    id: str
    state: DeploymentState
    reason: str
    digest: str = ""
    generation: int = 0
    started_at: datetime
    ended_at: datetime | None = None
    problems: tuple[Problem, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
