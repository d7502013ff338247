"""PUT and DELETE of a whole job (webjobs.md 6.3).

With a promise that Kudu does not give: a bad upload never destroys the old job. It is unpacked and
looked at aside, then swapped in by renaming, and swapped back if the platform refuses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu import arm
from gateway.kudu.archive import unpack
from gateway.kudu.body import disk_refusals, receive_file
from gateway.kudu.disposition import file_name
from gateway.kudu.webjobs import (
    find_job,
    job_answer,
    kind_of,
    put_arm_job,
    settings_path,
    settings_record,
)
from gateway.platform import Platform
from scheduler.app_settings import lookup
from scheduler.deployment import DeploymentState
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.functions import Job, JobKind, key
from scheduler.job_manifest import SETTINGS_FILE, choose_script, job_roots, outer_job_roots

NO_SCRIPT = "No runnable script file was found."
NO_NAME = "Missing Content-Disposition header."
#: A run of a job that is deleted may take so long to end; the client waits for it.
DELETION_GRACE_S = 5.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: Swaps follow one another: two of one job at the same time would lose each other's old files.
TURN = web.AppKey("upload_turn", asyncio.Lock)


async def put_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT /api/{kind}webjobs/{name}: replace the job's files; its data is kept."""
    if arm.is_asked(request):
        return await put_arm_job(platform, request, match)
    kind, name = kind_of(match), match["name"]
    old = _known(platform, kind, name)
    if old is None and not _NAME.fullmatch(name):
        raise BadRequestError(
            f"{name!r} is no job name: letters, digits, - and _, the first a letter or digit"
        )
    named = file_name(request.headers.get("Content-Disposition", ""))
    if not named:
        raise BadRequestError(NO_NAME)
    folder = old.live_folder if old else _new_folder(platform, kind, name)
    platform.deliveries.refuse_by_hand(folder)
    with _staging(platform.home / "tmp") as stage, disk_refusals(f"job {name}"):
        fresh = stage / "new"
        fresh.mkdir()
        await _receive(request, stage, fresh, named)
        inner = _script_folder(fresh)
        if inner is None:
            raise BadRequestError(NO_SCRIPT)
        async with request.app[TURN]:
            await _keep_settings(platform, old, kind, name, inner)
            await _replace(platform, kind, name, stage)
    job = find_job(platform, kind, name)
    if job is None:
        raise ConflictError(f"the files of {name} are in place, and another job hides them")
    return await job_answer(platform, request, job)


async def delete_job(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """DELETE /api/{kind}webjobs/{name}: files and data go; 200 also when there is no such job."""
    kind, name = kind_of(match), match["name"]
    job = _known(platform, kind, name)
    if job is None:
        return web.Response()
    platform.deliveries.refuse_by_hand(job.live_folder)
    await _stop(platform, job)  # first: a process must not see its files vanish
    with _staging(platform.home / "tmp") as stage, disk_refusals(f"job {name}"):
        async with request.app[TURN]:
            # A job of the same name that was hidden by this one is not to come to light.
            for number, folder in enumerate([job.live_folder, *_folders(platform, kind, name)]):
                await asyncio.to_thread(_move, folder, stage / f"old{number}")
            await platform.deployments.reconcile(f"deletion of {kind.value} job {name}")
    jobs = platform.continuous if kind is JobKind.CONTINUOUS else platform.triggered
    await jobs.forget(job)
    await platform.store.delete_config(settings_record(kind, name))
    await asyncio.to_thread(shutil.rmtree, platform.folders.data(job), ignore_errors=True)
    await asyncio.to_thread(platform.logs.forget, job)
    return web.Response()


async def _replace(platform: Platform, kind: JobKind, name: str, stage: Path) -> None:
    """Swap the new files in and deploy them; what is refused is swapped out again."""
    old = _known(platform, kind, name)
    target = old.live_folder if old else _new_folder(platform, kind, name)
    await asyncio.to_thread(_swap, stage / "new", target, stage / "old")
    told = f"upload of {kind.value} job {name}"
    deployment = await platform.deployments.reconcile(told)
    if deployment.state is not DeploymentState.REFUSED:
        return
    await asyncio.to_thread(_swap_back, stage / "old", target, stage / "refused")
    await platform.deployments.reconcile(f"{told}, taken back")
    problems = "; ".join(str(problem) for problem in deployment.problems)
    raise ConflictError(f"the deployment was refused, the old files are back: {problems}")


async def _stop(platform: Platform, job: Job) -> None:
    """Stop what runs of a job, and return when it has ended."""
    if job.kind is JobKind.CONTINUOUS:
        with contextlib.suppress(NotFoundError):  # it goes already
            await platform.continuous.stop(job.name)
        await platform.continuous.ended(job.name)
        return
    grace_s = min(job.stopping_wait_s, DELETION_GRACE_S)
    await platform.triggered.end_all(job, "its job is deleted", grace_s=grace_s)


def _known(platform: Platform, kind: JobKind, name: str) -> Job | None:
    try:
        return platform.catalog.job(kind, name)
    except NotFoundError:
        return None


def _new_folder(platform: Platform, kind: JobKind, name: str) -> Path:
    """Return where a job that is new goes: the primary root, or the second if that is closed."""
    settings = platform.catalog.definition.host.settings
    primary, *others = _roots(platform)
    packaged = lookup(settings, "WEBSITE_RUN_FROM_PACKAGE") or ""
    closed = packaged.strip() not in {"", "0"} or not os.access(platform.site, os.W_OK)
    return (others[-1] if closed else primary) / kind.value / name


def _roots(platform: Platform) -> list[Path]:
    """Return the folders that hold jobs, the primary one first, HOME/site/jobs last."""
    settings = platform.catalog.definition.host.settings
    inside = [root.live for root in job_roots(platform.site, settings)]
    outside = [root.live for root in outer_job_roots(platform.site, platform.home, settings)]
    return [*outside[:-1], *inside, outside[-1]]


def _folders(platform: Platform, kind: JobKind, name: str) -> Iterator[Path]:
    """Yield every folder that holds a job of the name, in any root and any case."""
    for root in _roots(platform):
        with contextlib.suppress(OSError):
            for entry in sorted((root / kind.value).iterdir()):
                if key(entry.name) == key(name) and entry.is_dir():
                    yield entry


async def _receive(request: web.Request, stage: Path, fresh: Path, named: str) -> None:
    if request.content_type.lower() != "application/zip":
        await receive_file(request, fresh / named, scratch=stage)
        return
    archive = stage / "upload.zip"
    await receive_file(request, archive, scratch=stage)
    await asyncio.to_thread(unpack, archive, fresh)


def _script_folder(folder: Path) -> Path | None:
    """Return where the script is; None if nothing would run. A lone folder is looked through."""
    entries = list(folder.iterdir())
    while len(entries) == 1 and entries[0].is_dir():
        folder = entries[0]
        entries = list(folder.iterdir())
    script = choose_script([entry.name for entry in entries if entry.is_file()])
    return folder if script else None


async def _keep_settings(
    platform: Platform, old: Job | None, kind: JobKind, name: str, inner: Path
) -> None:
    """Let settings that were made through the API outlive files that bring none (webjobs.md 9)."""
    record = settings_record(kind, name)
    if (inner / SETTINGS_FILE).exists():
        await platform.store.delete_config(record)  # whoever packs settings decides
        return
    made = await platform.store.get_config(record)
    if made is None or old is None:
        return
    try:
        text = settings_path(old).read_text("utf-8")  # edited since, perhaps
    except (OSError, UnicodeDecodeError):
        text = made.value
    (inner / SETTINGS_FILE).write_text(text, "utf-8")


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


def _swap_back(aside: Path, target: Path, refused: Path) -> None:
    """Undo a swap; without an old folder there is none again."""
    _move(target, refused)
    _move(aside, target)


def _move(source: Path, target: Path) -> None:
    """Rename; over file systems, copy and remove. What is not there stays so."""
    with contextlib.suppress(FileNotFoundError):
        shutil.move(source, target)
