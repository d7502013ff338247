"""Receiving a request's body as a file: whole or not at all, and never bigger than the limit.

The listener's own limit is for JSON; uploads stream to the disk, so the loop never holds one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from scheduler.errors import BadRequestError, ConflictError, UnavailableError

MAX_UPLOAD_BYTES = 1024 * 1024 * 1024
#: An upload may not take the last of the disk: runs and their logs need some.
RESERVED_BYTES = 64 * 1024 * 1024
_CHUNK = 256 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_TAKEN = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP}
_NO_NAME = {errno.ENAMETOOLONG, errno.EILSEQ}


async def receive_file(
    request: web.Request,
    target: Path,
    *,
    scratch: Path,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Write the body beside nothing that anybody watches, then move it to its place in one step.

    `before` is called at the last moment and may still refuse. Raises HTTPRequestEntityTooLarge,
    before anything is written if the client tells the length.
    """
    _refuse_too_large(request.content_length or 0)
    os.makedirs(scratch, exist_ok=True)
    _refuse_when_full(scratch, request.content_length or 0)
    draft = scratch / f"upload-{secrets.token_hex(8)}"
    try:
        with draft.open("xb") as file:
            await _write(request, file, scratch)
            # Accepted means that it is there after a loss of power, too.
            await asyncio.to_thread(_sync, file)
        await asyncio.to_thread(_settle, draft, target, before)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def disk_refusals(what: str) -> Iterator[None]:
    """Turn what the disk refuses into an answer that says so."""
    try:
        yield
    except OSError as error:
        told = f"{what} cannot be written: {error.strerror}"
        if error.errno in _FULL:
            raise UnavailableError(told) from error
        if error.errno in _CLOSED | _TAKEN:
            raise ConflictError(told) from error
        if error.errno in _NO_NAME:
            raise BadRequestError(told) from error
        raise


async def _write(request: web.Request, file: BinaryIO, scratch: Path) -> None:
    size = checked = 0
    async for chunk in request.content.iter_chunked(_CHUNK):
        size += len(chunk)
        _refuse_too_large(size)
        if size - checked >= RESERVED_BYTES // 2:  # who sends chunks does not tell the length
            _refuse_when_full(scratch, 0)
            checked = size
        file.write(chunk)


def _refuse_too_large(size: int) -> None:
    if size > MAX_UPLOAD_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_UPLOAD_BYTES, size)


def _refuse_when_full(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free - size < RESERVED_BYTES:
        raise UnavailableError(
            f"the disk has {free} bytes free, which does not hold the upload of {size} bytes and"
            f" {RESERVED_BYTES} bytes that are kept free"
        )


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _settle(draft: Path, target: Path, before: Callable[[], None]) -> None:
    before()
    _move(draft, target)


def _move(draft: Path, target: Path) -> None:
    if target.exists():
        shutil.copymode(target, draft)
    try:
        os.replace(draft, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: copy next to the target under a name that is passed over there.
        near = target.with_name(f".{target.name}.{secrets.token_hex(4)}~")
        try:
            shutil.copy(draft, near)
            near.replace(target)
        finally:
            near.unlink(missing_ok=True)
