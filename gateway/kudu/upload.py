"""PUT and DELETE of a whole job (webjobs.md 6.3).

With a promise that Kudu does not give: a bad upload never destroys the old job. It is unpacked and
looked at aside, then swapped in by renaming.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.body import receive_file
from gateway.kudu.webjobs import find_job, job_answer, kind_of
from gateway.platform import Platform
from scheduler.deployment import DeploymentState
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.functions import Job, JobKind
from scheduler.job_manifest import choose_script

NO_SCRIPT = "No runnable script file was found."
NO_NAME = "Missing Content-Disposition header."
#: A run of a job that is deleted may take so long to end; the client waits for it.
DELETION_GRACE_S = 5.0
MAX_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024
MAX_ENTRIES = 100_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_FILE_NAME = re.compile(r"""filename\*?\s*=\s*(?:[\w-]+'[^']*')?("[^"]*"|[^;\s]+)""", re.IGNORECASE)


async def put_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT /api/{kind}webjobs/{name}: replace the job's files; its data is kept."""
    kind, name = kind_of(match), match["name"]
    old = _known(platform, kind, name)
    if old is None and not _NAME.fullmatch(name):
        raise BadRequestError(
            f"{name!r} is no job name: letters, digits, - and _, the first a letter or digit"
        )
    file_name = _file_name(request)
    with _staging(platform.home / "tmp") as stage:
        fresh = stage / "new"
        fresh.mkdir()
        await _receive(request, stage, fresh, file_name)
        if not _has_script(fresh):
            raise BadRequestError(NO_SCRIPT)
        target = old.live_folder if old else _folder(platform, kind, name)
        await asyncio.to_thread(_swap, fresh, target, stage / "old")
        deployment = await platform.deployments.reconcile(f"upload of {kind.value} job {name}")
    job = find_job(platform, kind, name)
    if job is None or deployment.state is DeploymentState.REFUSED:
        problems = "; ".join(str(problem) for problem in deployment.problems)
        raise ConflictError(f"the files are in place, but the deployment was refused: {problems}")
    return await job_answer(platform, request, job)


async def delete_job(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """DELETE /api/{kind}webjobs/{name}: files and data go; 200 also when there is no such job."""
    kind, name = kind_of(match), match["name"]
    job = _known(platform, kind, name)
    if job is None:
        return web.Response()
    await _stop(platform, job)  # first: a process must not see its files vanish
    with _staging(platform.home / "tmp") as stage:
        await asyncio.to_thread(_move, job.live_folder, stage / "old")
        await platform.deployments.reconcile(f"deletion of {kind.value} job {name}")
    jobs = platform.continuous if kind is JobKind.CONTINUOUS else platform.triggered
    await jobs.forget(job)
    await asyncio.to_thread(shutil.rmtree, platform.folders.data(job), ignore_errors=True)
    await asyncio.to_thread(platform.logs.forget, job)
    return web.Response()


async def _stop(platform: Platform, job: Job) -> None:
    """Stop what runs of a job, and return when it has ended."""
    if job.kind is JobKind.CONTINUOUS:
        with contextlib.suppress(NotFoundError):  # it goes already
            await platform.continuous.stop(job.name)
        await platform.continuous.ended(job.name)
        return
    active = platform.triggered.active(job)
    if active is not None:
        grace_s = min(job.stopping_wait_s, DELETION_GRACE_S)
        with contextlib.suppress(ConflictError, NotFoundError):  # it ended by itself meanwhile
            await platform.triggered.cancel(job, active.public_id, grace_s=grace_s)
        await platform.triggered.ended(job)


def _known(platform: Platform, kind: JobKind, name: str) -> Job | None:
    try:
        return platform.catalog.job(kind, name)
    except NotFoundError:
        return None


def _folder(platform: Platform, kind: JobKind, name: str) -> Path:
    return platform.site / "App_Data" / "jobs" / kind.value / name


def _file_name(request: web.BaseRequest) -> str:
    """Return the last part of the name in Content-Disposition; any disposition type will do."""
    found = _FILE_NAME.search(request.headers.get("Content-Disposition", ""))
    name = found[1].strip('"').replace("\\", "/").rpartition("/")[2] if found else ""
    if name in {"", ".", ".."} or "\0" in name:
        raise BadRequestError(NO_NAME)
    return name


async def _receive(request: web.Request, stage: Path, fresh: Path, file_name: str) -> None:
    if request.content_type.lower() != "application/zip":
        await receive_file(request, fresh / file_name, scratch=stage)
        return
    archive = stage / "upload.zip"
    await receive_file(request, archive, scratch=stage)
    await asyncio.to_thread(_unpack, archive, fresh)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            _check(entries)
            for entry in entries:
                _unpack_entry(source, entry, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadRequestError(f"the upload is no zip archive that can be read: {error}") from error


def _check(entries: list[zipfile.ZipInfo]) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or size > MAX_UNPACKED_BYTES:
        raise BadRequestError(
            f"the archive holds {len(entries)} entries of {size} bytes; the most is"
            f" {MAX_ENTRIES} entries of {MAX_UNPACKED_BYTES} bytes"
        )
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if ".." in parts or (parts and parts[0] == "/"):
            raise BadRequestError(f"the archive's entry {entry.filename!r} leads out of the job")


def _unpack_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / entry.filename.replace("\\", "/")
    if entry.is_dir() or entry.filename.endswith("\\"):
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    mode = entry.external_attr >> 16 & 0o777
    if mode & 0o111:
        target.chmod(mode | 0o600)


def _has_script(folder: Path) -> bool:
    """Tell whether something would run: a lone folder in a folder is looked through."""
    entries = list(folder.iterdir())
    while len(entries) == 1 and entries[0].is_dir():
        entries = list(entries[0].iterdir())
    return bool(choose_script([entry.name for entry in entries if entry.is_file()]))


@contextlib.contextmanager
def _staging(scratch: Path) -> Iterator[Path]:
    """Give a folder outside of the watched site that is gone afterwards."""
    stage = scratch / f"upload-{secrets.token_hex(8)}"
    stage.mkdir(parents=True)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _swap(fresh: Path, target: Path, aside: Path) -> None:
    """Put the new folder in the place of the old one; if that fails, the old one is back."""
    target.parent.mkdir(parents=True, exist_ok=True)
    replaced = target.exists()
    if replaced:
        _move(target, aside)
    try:
        _move(fresh, target)
    except OSError:
        if replaced:
            shutil.rmtree(target, ignore_errors=True)
            _move(aside, target)
        raise


def _move(source: Path, target: Path) -> None:
    """Rename; over file systems, copy and remove."""
    with contextlib.suppress(FileNotFoundError):
        shutil.move(source, target)
