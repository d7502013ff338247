"""/api/vfs and /vfs: files below HOME, `site/wwwroot` being the site (webjobs.md 6.7).

Reads and writes single files. What the platform owns is not shown: its keys are no file among
others, and a store that is written while it is read is no copy.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.body import receive_file
from gateway.kudu.etags import file_etag, is_unchanged
from gateway.kudu.shapes import Base, to_json
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError

WEB_ROOT = ("site", "wwwroot")
#: Below HOME, what this interface does not touch.
_PRIVATE = (("data", "secrets"), ("releases",), ("tmp",))
_PRIVATE_FILES = ("taak.db", "taak.lock", "run.json")


async def get(platform: Platform, request: web.Request, match: Match) -> web.StreamResponse:
    """GET or HEAD a file, or the entries of a directory."""
    path = locate(platform, match["path"])
    if path.is_dir():
        if match["path"] and not match["path"].endswith("/"):
            # Kudu sends a client that left the slash out to the directory's own address.
            target = f"{request.path}/" + (f"?{request.query_string}" if request.query else "")
            return web.Response(status=307, headers={"Location": quote(target, safe="/?=&%")})
        entries = await asyncio.to_thread(_entries, platform, request, match["path"], path)
        return web.Response(text=to_json(entries), content_type="application/json")
    if match["path"].endswith("/") or not path.is_file():
        return web.Response(status=404)
    tag = file_etag(path.stat())
    if is_unchanged(request, tag):
        return web.Response(status=304, headers={"ETag": tag})
    return _file_answer(path, tag)


async def put(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT a file: 201 new, 204 replaced; replacing needs If-Match."""
    path = locate(platform, match["path"], write=True)
    if match["path"].endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
        return web.Response(status=201)
    if path.is_dir():
        raise ConflictError(f"{match['path']} is a directory")
    existed = path.exists()
    if existed and (refusal := _precondition(request, path)):
        return refusal
    path.parent.mkdir(parents=True, exist_ok=True)
    await receive_file(request, path, scratch=platform.home / "tmp")
    return web.Response(status=204 if existed else 201, headers={"ETag": file_etag(path.stat())})


async def delete(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """DELETE a file (needs If-Match) or a directory (`?recursive=true` unless it is empty)."""
    path = locate(platform, match["path"], write=True)
    if path.is_dir() and not path.is_symlink():
        recursive = request.query.get("recursive", "").lower() == "true"
        return await asyncio.to_thread(_delete_folder, path, recursive=recursive)
    try:
        if refusal := _precondition(request, path):
            return refusal
        path.unlink()
    except FileNotFoundError:
        return web.Response(status=404)
    return web.Response()


def locate(platform: Platform, relative: str, *, write: bool = False) -> Path:
    """Return the file that a path below HOME means; what leaves HOME or the site is refused."""
    parts = tuple(part for part in relative.split("/") if part not in {"", "."})
    if ".." in parts or "\0" in relative:
        raise BadRequestError(f"the path {relative!r} may not contain '..'")
    if _is_private(parts):
        raise NotFoundError(f"{relative} belongs to the platform and is not shown here")
    if write and parts in {(), WEB_ROOT, WEB_ROOT[:1], ("data",)}:
        raise ConflictError(f"{relative or '/'} cannot be replaced or removed")
    root = platform.home
    if parts[: len(WEB_ROOT)] == WEB_ROOT:
        root, parts = platform.site, parts[len(WEB_ROOT) :]
    path = root.joinpath(*parts)
    # A symbolic link in an app may point anywhere; only what it reaches inside is served.
    resolved, real_root = path.resolve(), root.resolve()
    if not resolved.is_relative_to(real_root) and not resolved.is_relative_to(
        platform.site.resolve()
    ):
        raise BadRequestError(f"the path {relative!r} leads out of {root.name}")
    if resolved.is_relative_to(platform.home.resolve()):
        inner = resolved.relative_to(platform.home.resolve()).parts
        if _is_private(inner):
            raise NotFoundError(f"{relative} belongs to the platform and is not shown here")
    return path


def _is_private(parts: tuple[str, ...]) -> bool:
    if len(parts) == 1 and parts[0].startswith(_PRIVATE_FILES):
        return True
    return any(parts[: len(private)] == private for private in _PRIVATE)


def _entries(
    platform: Platform, request: web.Request, relative: str, folder: Path
) -> list[dict[str, Any]]:
    parts = tuple(part for part in relative.split("/") if part)
    names = {name: folder / name for name in os.listdir(folder)}
    if parts == WEB_ROOT[:1]:
        names[WEB_ROOT[1]] = platform.site
    shown = [name for name in sorted(names) if not _is_private((*parts, name))]
    return list(_shapes(Base.of(request), parts, {name: names[name] for name in shown}))


def _shapes(base: Base, parts: tuple[str, ...], names: dict[str, Path]) -> Iterator[dict[str, Any]]:
    for name, path in names.items():
        try:
            facts = path.stat()
        except OSError:
            continue  # gone meanwhile, or a link into nowhere
        is_folder = path.is_dir()
        tail = "/" if is_folder else ""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        yield {
            "name": name,
            "size": 0 if is_folder else facts.st_size,
            "mtime": _iso(facts.st_mtime),
            "crtime": _iso(facts.st_ctime),
            "mime": "inode/directory" if is_folder else kind,
            "href": f"{base.url}/api/vfs/{quote('/'.join((*parts, name)))}{tail}",
            "path": str(path),
        }


def _file_answer(path: Path, tag: str) -> web.StreamResponse:
    response = web.FileResponse(path)
    # Never a page of ours: a file of the app must not run as script beside the portal's cookie.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["ETag"] = tag
    if path.suffix in {".txt", ".log", ""}:
        response.headers["Content-Type"] = "text/plain; charset=utf-8"
    return response


def _precondition(request: web.Request, path: Path) -> web.Response | None:
    wanted = request.headers.get("If-Match", "").strip()
    tag = file_etag(path.lstat())
    if wanted in {"*", tag}:
        return None
    told = "If-Match is missing" if not wanted else f"If-Match {wanted} is not the current version"
    return web.Response(
        status=412, text=f"{told}: give * or the ETag of the file.", headers={"ETag": tag}
    )


def _delete_folder(path: Path, *, recursive: bool) -> web.Response:
    if not recursive and os.listdir(path):
        raise ConflictError(f"{path.name} is not empty; ?recursive=true removes it with all in it")
    shutil.rmtree(path)
    return web.Response()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
