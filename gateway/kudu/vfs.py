"""/api/vfs and /vfs: reading and writing single files below HOME (webjobs.md 6.7)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.body import disk_refusals, receive_file
from gateway.kudu.etags import file_etag, names_tag
from gateway.kudu.file_answer import file_answer, media_type
from gateway.kudu.messages import message
from gateway.kudu.places import locate, names_in, open_inside, parts_of
from gateway.kudu.shapes import Base, to_json
from gateway.platform import Platform
from scheduler.errors import ConflictError

_FOLDER = "inode/directory"


class _StaleError(Exception):
    """The file is not what the client's If-Match says."""


async def get(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """GET or HEAD a file, or the entries of a directory."""
    relative = match["path"]
    path = locate(platform, relative)
    if path.is_dir():
        if relative and not relative.endswith("/"):
            return to_folder(request)
        entries = await asyncio.to_thread(_entries, platform, request, relative, path)
        return web.Response(text=to_json(entries), content_type="application/json")
    if relative.endswith("/"):
        return _missing(relative)
    try:
        file = open_inside(platform, path, relative)
    except OSError:
        return _missing(relative)
    with file:
        return await file_answer(request, file, path.name)


async def root(_platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/vfs without its slash."""
    return to_folder(request)


async def put(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT a file: 201 new, 204 replaced; replacing needs If-Match. A slash at the end: a folder."""
    relative = match["path"]
    path = locate(platform, relative, write=True)
    with disk_refusals(relative):
        if relative.endswith("/") or path.is_dir():
            if _exists(path):
                raise ConflictError(f"{relative} exists already")
            path.mkdir(parents=True)
            return web.Response(status=201)
        existed = _exists(path)
        try:
            _refuse_stale(request, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Asked again just before it is replaced: of two that hold the same tag one wins.
            await receive_file(
                request,
                path,
                scratch=platform.home / "tmp",
                before=lambda: _refuse_stale(request, path),
            )
        except _StaleError as stale:
            return message(412, str(stale), _tag_header(path))
        return web.Response(status=204 if existed else 201, headers=_tag_header(path))


async def delete(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """DELETE a file (needs If-Match) or a directory (`?recursive=true` unless it is empty)."""
    relative = match["path"]
    path = locate(platform, relative, write=True)
    with disk_refusals(relative):
        if path.is_dir() and not path.is_symlink():
            recursive = request.query.get("recursive", "").lower() == "true"
            return await asyncio.to_thread(_delete_folder, path, recursive=recursive)
        if relative.endswith("/") or not _exists(path):
            return _missing(relative)
        try:
            _refuse_stale(request, path)
            path.unlink()
        except _StaleError as stale:
            return message(412, str(stale), _tag_header(path))
        except FileNotFoundError:
            return _missing(relative)
    return web.Response()


def to_folder(request: web.Request) -> web.Response:
    """Send a client that left the slash out to the directory's own address, as Kudu does."""
    target = quote(f"{request.path}/") + (f"?{request.query_string}" if request.query else "")
    return web.Response(status=307, headers={"Location": target})


def _exists(path: Path) -> bool:
    return os.path.lexists(path)  # a link into nowhere is there, too


def _missing(relative: str) -> web.Response:
    return message(404, f"'{relative}' not found.")


def _entries(
    platform: Platform, request: web.Request, relative: str, folder: Path
) -> list[dict[str, Any]]:
    parts = parts_of(relative)
    return list(_shapes(Base.of(request), parts, names_in(platform, parts, folder)))


def _shapes(base: Base, parts: tuple[str, ...], names: dict[str, Path]) -> Iterator[dict[str, Any]]:
    for name, path in names.items():
        try:
            facts = path.stat()
        except OSError:
            continue  # gone meanwhile, or a link into nowhere
        is_folder = path.is_dir()
        tail = "/" if is_folder else ""
        yield {
            "name": name,
            "size": 0 if is_folder else facts.st_size,
            "mtime": _iso(facts.st_mtime),
            "crtime": _iso(facts.st_ctime),
            "mime": _FOLDER if is_folder else media_type(name).partition(";")[0],
            "href": f"{base.url}/api/vfs/{quote('/'.join((*parts, name)))}{tail}",
            "path": str(path),
        }


def _refuse_stale(request: web.Request, path: Path) -> None:
    """Raise _StaleError unless If-Match names what is there; what is not there may be made."""
    try:
        tag = file_etag(path.lstat())
    except FileNotFoundError:
        return
    wanted = request.headers.get("If-Match")
    if wanted is None:
        raise _StaleError("If-Match is missing: give * or the ETag of the file.")
    if not names_tag(wanted, tag):
        raise _StaleError(f"If-Match {wanted} is not the current version: {tag} is.")


def _tag_header(path: Path) -> dict[str, str]:
    try:
        return {"ETag": file_etag(path.lstat())}
    except OSError:
        return {}


def _delete_folder(path: Path, *, recursive: bool) -> web.Response:
    if not recursive and os.listdir(path):
        raise ConflictError(
            "Cannot delete directory. It is either not empty or access denied."
            " ?recursive=true removes it with all that is in it."
        )
    shutil.rmtree(path)
    return web.Response()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
