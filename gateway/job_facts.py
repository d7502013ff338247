"""How a continuous job is: asked in a way that always has an answer, and waited for."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.platform import Platform
from scheduler.continuous_state import ContinuousState, ContinuousStatus
from scheduler.errors import NotFoundError
from scheduler.functions import Job, key
from scheduler.job_folders import short_instance

#: An order to start is carried out in the background; its answer waits so long at most for the
#: state that shows it.
START_SHOWS_S = 2.0
_STOPPED = frozenset({ContinuousState.STOPPED, ContinuousState.STOPPING, ContinuousState.DISABLING})


def continuous_status(platform: Platform, job: Job) -> ContinuousStatus:
    """Return the job's status; Initializing while the jobs' owner does not know it yet.

    The catalog is swapped before its followers have begun the job, and a list of all jobs must not
    fail because of one that is just coming.
    """
    try:
        return platform.continuous.status(job.name)
    except NotFoundError:
        return ContinuousStatus(
            state=ContinuousState.INITIALIZING,
            detailed_status=f"{short_instance(platform.instance)} - Initializing",
            since=platform.started_at,
        )


async def start_and_see(platform: Platform, job: Job) -> None:
    """Start a continuous job and return when its state shows it, or when that takes long."""
    shown = asyncio.Event()

    def look(changed: Job, status: ContinuousStatus) -> None:
        if key(changed.name) == key(job.name) and status.state not in _STOPPED:
            shown.set()

    callbacks = platform.continuous.on_status
    callbacks.append(look)
    try:
        await platform.continuous.start(job.name)
        if continuous_status(platform, job).state not in _STOPPED:
            return
        # If it takes longer, the answer tells the state as it is.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SHOWS_S):
                await shown.wait()
    finally:
        callbacks.remove(look)
