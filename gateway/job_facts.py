"""How a continuous job is, asked in a way that always has an answer."""

from __future__ import annotations

from gateway.platform import Platform
from scheduler.continuous_state import ContinuousState, ContinuousStatus
from scheduler.errors import NotFoundError
from scheduler.functions import Job
from scheduler.job_folders import short_instance


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
