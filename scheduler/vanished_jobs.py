"""Jobs that are gone since the platform ran last: their data goes too (webjobs.md 5.7).

Only at a start, and only when a release serves: then it is known which jobs there are. Somebody who
takes a job away while the platform runs can put it back, and finds its logs and its history. And
only where the site is the one of last time and holds anything: started on another folder by
mistake, or before a disk was mounted, the platform must not forget what it has.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scheduler.desired_state import PREFIX
from scheduler.errors import SchedulerError
from scheduler.functions import Job, JobKind, key
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.run import RunKind
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")


_SITE = "vanished/site"


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


async def is_the_same_site(store: Store, instance: str, site: Path) -> bool:
    """Tell whether no other site was here at the last start and this one holds anything."""
    if not await asyncio.to_thread(_holds_anything, site):
        return False
    name, path = f"{_SITE}/{instance}", str(await asyncio.to_thread(site.resolve))
    before = await store.get_config(name)
    if before is None or before.value != path:
        await store.put_config(name, path)
    return before is None or before.value == path


def _holds_anything(site: Path) -> bool:
    try:
        return any(site.iterdir())
    except OSError:
        return False


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
