"""Jobs that are gone since the platform ran last: their data goes too (webjobs.md 5.7).

Only at a start, and only when a release serves: then it is known which jobs there are. Somebody who
takes a job away while the platform runs can put it back, and finds its logs and its history.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.desired_state import PREFIX
from scheduler.errors import SchedulerError
from scheduler.functions import Job, JobKind, key
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.run import RunKind
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")


@dataclass(frozen=True, slots=True)
class _Gone:
    name: str
    kind: JobKind


async def remove_vanished(
    folders: JobFolders, logs: JobLogs, store: Store, jobs: Iterable[Job]
) -> list[str]:
    """Remove data, logs, history and orders of jobs that are not these; return their names."""
    known = {(job.kind, key(job.name)) for job in jobs}
    gone = [
        job
        for job in await asyncio.to_thread(_with_data, folders)
        if (job.kind, key(job.name)) not in known
    ]
    for job in gone:
        _log.info("%s job %s is gone: its data and history are removed", job.kind.value, job.name)
        await asyncio.to_thread(shutil.rmtree, folders.data(job), ignore_errors=True)
        await asyncio.to_thread(logs.forget, job)
        try:
            await _forget(store, job)
        except SchedulerError as error:
            _log.warning("the history of job %s stays for now: %s", job.name, error)
    return [job.name for job in gone]


def _with_data(folders: JobFolders) -> list[_Gone]:
    found = []
    for kind in JobKind:
        parent = folders.data(_Gone("x", kind)).parent
        if parent.is_dir():
            entries = sorted(entry for entry in parent.iterdir() if not entry.is_symlink())
            found += [_Gone(entry.name, kind) for entry in entries if entry.is_dir()]
    return found


async def _forget(store: Store, job: _Gone) -> None:
    if job.kind is JobKind.CONTINUOUS:
        await store.delete_config(PREFIX + key(job.name))
        return
    while await store.prune_runs(keep_per_name=0, kind=RunKind.TRIGGERED, name=job.name):
        continue
