"""Receiving a request's body as a file: whole or not at all, and never bigger than the limit.

The listener's own limit is for JSON; uploads stream to the disk, so the loop never holds one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from aiohttp import web

MAX_UPLOAD_BYTES = 1024 * 1024 * 1024
_CHUNK = 256 * 1024


async def receive_file(request: web.Request, target: Path, *, scratch: Path) -> None:
    """Write the body beside nothing that anybody watches, then move it to its place in one step."""
    os.makedirs(scratch, exist_ok=True)
    draft = scratch / f"upload-{secrets.token_hex(8)}"
    try:
        await _write(request, draft)
        _move(draft, target)
    finally:
        draft.unlink(missing_ok=True)


async def _write(request: web.Request, draft: Path) -> None:
    size = 0
    with draft.open("xb") as file:
        async for chunk in request.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                raise web.HTTPRequestEntityTooLarge(MAX_UPLOAD_BYTES, size)
            file.write(chunk)


def _move(draft: Path, target: Path) -> None:
    if target.exists():
        shutil.copymode(target, draft)
    try:
        os.replace(draft, target)
    except OSError:
        # Another file system: copy next to the target under a name that is passed over there.
        near = target.with_name(f".{target.name}.{secrets.token_hex(4)}~")
        try:
            shutil.copy(draft, near)
            near.replace(target)
        finally:
            near.unlink(missing_ok=True)
