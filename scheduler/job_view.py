"""What a job sees of the machine: its folder, its data, the app's shared files, its interpreter.

The private copy and the data folder can be written to, the rest cannot. Other jobs' and functions'
folders do not exist for it (sandbox.md 3). Blocking file work: callers run it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sandbox.programs import program_mounts
from sandbox.spec import Mount
from scheduler.bundles import PRIVATE_FILES
from scheduler.functions import Job
from scheduler.job_folders import JobFolders

_FUNCTION_FILE = "function.json"
#: Folders of an app that hold jobs, and what people do not mean to deploy.
_NOT_SHARED = frozenset({"App_Data", "jobs", ".git", ".taak"}) | PRIVATE_FILES
_STICKY_SHARED = 0o1775


def job_mounts(
    job: Job,
    folders: JobFolders,
    *,
    program: str,
    shows: Iterable[str],
    working: Path,
    shutdown_file: Path | None,
) -> list[Mount]:
    """Return everything that the job's sandbox shows besides the system."""
    mounts = [
        *(Mount.at(path) for path in _shared(folders)),
        *program_mounts(program),
        *map(Mount.at, shows),
        Mount.at(working, writable=not job.is_in_place),
        Mount.at(folders.data(job), writable=True),
        *(Mount.at(path) for path in _ours(job, folders)),
    ]
    if shutdown_file is not None:
        mounts.append(Mount.at(shutdown_file.parent))
    return list(dict.fromkeys(mounts))


def hand_over(working: Path, data: Path, uid: int) -> None:
    """Give a job's private copy and data folder to the user that it runs as; 0 keeps them ours.

    The data folder stays ours, with the sticky bit: the job makes files in it, and cannot take away
    the logs and status files that we keep there (webjobs.md 1.5).
    """
    if not uid:
        return
    if os.lstat(working).st_uid != uid:
        for path in _everything(working):
            os.lchown(path, uid, uid)
    os.chown(data, 0, uid)
    os.chmod(data, _STICKY_SHARED)


def _shared(folders: JobFolders) -> Iterator[Path]:
    """Yield what of the app every job can see, as on Azure, where jobs live inside of the app."""
    with suppress(OSError):
        for entry in sorted(folders.site.iterdir()):
            is_ours = entry == folders.home
            is_function = (entry / _FUNCTION_FILE).exists()
            if entry.name not in _NOT_SHARED and not is_ours and not is_function:
                yield entry


def _ours(job: Job, folders: JobFolders) -> Iterable[Path]:
    """Yield the files in the data folder that the platform writes: the job may read them."""
    data = folders.data(job)
    names = ("job_log.txt", "job_prev_log.txt", "job_scheduler.log")
    return [path for name in names if (path := data / name).is_file() and not path.is_symlink()]


def _everything(folder: Path) -> Iterator[str]:
    yield str(folder)
    for base, names, files in os.walk(folder):
        yield from (os.path.join(base, name) for name in (*names, *files))
