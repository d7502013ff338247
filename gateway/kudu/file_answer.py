"""A file as an answer: its tag, parts of it, and a stream that never holds all of it.

Not aiohttp's: that would send a `log.txt.gz` beside `log.txt` in its place, knows one range only,
and asks for the file by name again after it was judged.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import secrets
from email.utils import formatdate
from typing import BinaryIO

from aiohttp import web

from gateway.kudu.etags import file_etag, names_tag
from gateway.kudu.ranges import Part, UnsatisfiableError, parts

_CHUNK = 256 * 1024
_TEXT = {".txt", ".log", ""}


async def file_answer(request: web.Request, file: BinaryIO, name: str) -> web.StreamResponse:
    """Answer GET or HEAD with an open file, which is closed by the caller."""
    facts = os.fstat(file.fileno())
    tag = file_etag(facts)
    headers = {
        "ETag": tag,
        "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
        # Never a page of ours: a file of the app must not run as script beside the portal's cookie.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-cache",
    }
    if _is_unchanged(request, tag, facts):
        return web.Response(status=304, headers=headers)
    size = facts.st_size
    try:
        asked = parts(request.headers.get("Range", ""), size) if _is_same(request, headers) else []
    except UnsatisfiableError:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    kind = media_type(name)
    if not asked:
        return await _send(request, file, 200, {**headers, "Content-Type": kind}, [Part(0, size)])
    if len(asked) == 1:
        told = {"Content-Type": kind, "Content-Range": asked[0].content_range(size)}
        return await _send(request, file, 206, {**headers, **told}, asked)
    return await _send_parts(request, file, headers, kind, asked, size)


def media_type(name: str) -> str:
    """Return what a file of this name is; logs are text that a browser shows."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _TEXT:
        return "text/plain; charset=utf-8"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _is_unchanged(request: web.Request, tag: str, facts: os.stat_result) -> bool:
    known = request.headers.get("If-None-Match")
    if known is not None:
        return names_tag(known, tag)
    since = request.if_modified_since
    return since is not None and int(facts.st_mtime) <= since.timestamp()


def _is_same(request: web.Request, headers: dict[str, str]) -> bool:
    """Tell whether ranges are wanted of what the file is now."""
    wanted = request.headers.get("If-Range", "").strip()
    return not wanted or wanted in {headers["ETag"], headers["Last-Modified"]}


async def _send(
    request: web.Request, file: BinaryIO, status: int, headers: dict[str, str], asked: list[Part]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = sum(part.end - part.start for part in asked)
    await response.prepare(request)
    if request.method != "HEAD":
        for part in asked:
            await _copy(response, file, part)
        await response.write_eof()
    return response


async def _send_parts(
    request: web.Request,
    file: BinaryIO,
    headers: dict[str, str],
    kind: str,
    asked: list[Part],
    size: int,
) -> web.StreamResponse:
    mark = secrets.token_hex(12)
    heads = [
        f"--{mark}\r\nContent-Type: {kind}\r\nContent-Range: {part.content_range(size)}\r\n\r\n"
        for part in asked
    ]
    told = {**headers, "Content-Type": f"multipart/byteranges; boundary={mark}"}
    response = web.StreamResponse(status=206, headers=told)
    length = sum(
        part.end - part.start + len(head) + 2 for part, head in zip(asked, heads, strict=True)
    )
    response.content_length = length + len(mark) + 6
    await response.prepare(request)
    if request.method != "HEAD":
        for part, head in zip(asked, heads, strict=True):
            await response.write(head.encode())
            await _copy(response, file, part)
            await response.write(b"\r\n")
        await response.write_eof(f"--{mark}--\r\n".encode())
    return response


async def _copy(response: web.StreamResponse, file: BinaryIO, part: Part) -> None:
    at = part.start
    while at < part.end:
        wanted = min(_CHUNK, part.end - at)
        chunk = await asyncio.to_thread(os.pread, file.fileno(), wanted, at)
        if not chunk:
            # It was cut meanwhile: an answer that is short of its length must not look whole.
            raise ConnectionResetError("the file became shorter while it was sent")
        await response.write(chunk)
        at += len(chunk)
