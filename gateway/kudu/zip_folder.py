"""/api/zip: a folder below HOME as a zip, and a zip unpacked over a folder (webjobs.md 6.7)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.archive import unpack
from gateway.kudu.body import disk_refusals, receive_file
from gateway.kudu.messages import message
from gateway.kudu.packing import packed
from gateway.kudu.places import WEB_ROOT, is_shown, locate, names_in, parts_of
from gateway.kudu.upload import TURN
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError


async def get(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """GET the zip of a folder."""
    relative = match["path"]
    folder, above = locate(platform, relative), parts_of(relative)
    if not folder.is_dir():
        return message(404, f"'{relative}' is no folder.")

    def listing(inner: tuple[str, ...], path: Path) -> dict[str, Path]:
        return names_in(platform, (*above, *inner), path)

    name = (above or ("home",))[-1]
    safe = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": f'attachment; filename="{safe}.zip"',
        }
    )
    await response.prepare(request)
    pieces = packed(folder, listing)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response


async def put(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT a zip: its entries come into the folder, and what else is there stays."""
    relative = match["path"]
    folder = locate(platform, relative)
    if not parts_of(relative):
        raise ConflictError("a zip cannot be unpacked over the whole home; name a folder below it")
    scratch = platform.home / "tmp" / f"upload-{secrets.token_hex(8)}"
    fresh = scratch / "new"
    try:
        with disk_refusals(relative):
            fresh.mkdir(parents=True)
            await receive_file(request, scratch / "upload.zip", scratch=scratch)
            await asyncio.to_thread(unpack, scratch / "upload.zip", fresh)
            async with request.app[TURN]:
                await asyncio.to_thread(_merge, platform, fresh, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    if parts_of(relative)[0] == WEB_ROOT[0]:
        # What a zip brought to the app serves when its client is answered.
        await platform.deployments.reconcile(f"zip unpacked over {relative}")
    return web.Response()


def _merge(platform: Platform, fresh: Path, folder: Path) -> None:
    """Move every file to its place; all is checked before the first one."""
    moves = [(source, folder / source.relative_to(fresh)) for source in _files(fresh)]
    for source, target in moves:
        _check(platform, fresh, source, target)
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in moves:
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(source, target)


def _check(platform: Platform, fresh: Path, source: Path, target: Path) -> None:
    name = str(source.relative_to(fresh))
    # A link that is there already may lead anywhere: nothing is written through one that does.
    if not is_shown(platform, Path(os.path.realpath(target.parent)) / target.name):
        raise BadRequestError(f"the archive's entry {name!r} leads out of the home and the site")
    is_folder = source.is_dir() and not source.is_symlink()
    if target.is_dir() != is_folder and os.path.lexists(target):
        there = "folder" if target.is_dir() else "file"
        raise ConflictError(f"the archive's entry {name!r} cannot replace a {there} of its name")


def _files(folder: Path) -> Iterator[Path]:
    for base, names, files in os.walk(folder):
        yield from (Path(base, name) for name in sorted((*names, *files)))


def _replace(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        shutil.move(source, target)
