"""What is kept of a triggered job's runs, in the store and on disk (webjobs.md 5.4)."""

from __future__ import annotations

import logging
from functools import partial

from scheduler.errors import SchedulerError
from scheduler.functions import Job
from scheduler.job_settings import JobSettings
from scheduler.run import Run, RunKind
from scheduler.store.port import MAX_PAGE, RunFilter
from scheduler.triggered_run import RunPlace

_log = logging.getLogger("taak.jobs")


class RunHistory:
    """Finds old runs, and forgets them."""

    def __init__(self, place: RunPlace) -> None:
        self._place = place

    async def latest(self, job: Job) -> Run | None:
        """Return the newest run."""
        page = await self._place.store.query_runs(_runs_of(job), limit=1)
        return page.items[0] if page.items else None

    async def runs(self, job: Job) -> list[Run]:
        """Return the runs that are kept, newest first."""
        where, runs, cursor = _runs_of(job), list[Run](), None
        while True:
            page = await self._place.store.query_runs(where, cursor=cursor, limit=MAX_PAGE)
            runs += page.items
            if page.cursor is None:
                return runs
            cursor = page.cursor

    async def forget(self, job: Job) -> None:
        """Remove all rows of a job."""
        store, kind = self._place.store, RunKind.TRIGGERED
        while await store.prune_runs(keep_per_name=0, kind=kind, name=job.name):
            continue

    async def prune(self, job: Job, newest: Run) -> None:
        """Keep WEBJOBS_HISTORY_SIZE runs, this one included, on disk and in the store.

        What waits or goes on beside it is no history yet.
        """
        folders, store = self._place.folders, self._place.store
        keep = JobSettings.of(job, self._place.settings).history_size
        try:
            spared = {newest.public_id}
            if job.policy.queues or job.policy.concurrency > 1:
                spared |= {run.public_id for run in await store.open_runs()}
            others = [run_id for run_id in folders.run_ids(job) if run_id not in spared]
            if surplus := others[keep - 1 :]:
                await self._place.programs.offload(partial(folders.remove_runs, job, surplus))
            await store.prune_runs(keep_per_name=keep, kind=RunKind.TRIGGERED, name=job.name)
        except (OSError, SchedulerError) as error:
            _log.warning("old runs of job %s stay for now: %s", job.name, error)


def _runs_of(job: Job) -> RunFilter:
    return RunFilter(kind=RunKind.TRIGGERED, name=job.name)
