"""Reading a log over HTTP: all of it, a part by lines or by bytes, what matches, what comes.

However long the log is, one block of it is in memory at a time, and it is read in a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from gateway.native.log_follow import Source, follow
from gateway.native.log_forms import LogForm, TextForm
from gateway.native.log_query import LogQuery
from scheduler.log_reader import LogReader, Piece, Place
from scheduler.log_search import LogSearch

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
SEARCH: Final = web.AppKey("log_search", LogSearch)
_PIECE_LINES: Final = 500  # of one turn of the loop


async def answer_log(
    request: web.Request, source: Source, *, default_tail: int | None = None
) -> web.StreamResponse:
    """Answer what the query of a request asks of a log."""
    query = LogQuery.of(request, default_tail=default_tail)
    if query.follow:
        return await follow(request, source, query)
    reader = source.reader
    if query.searches:
        return await _found(request, reader, query)
    wanted = _range_of(request)
    if wanted and query.form(request).media == TextForm.media:
        return await _bytes(request, reader, wanted)
    return await _lines(request, reader, query)


async def _lines(request: web.Request, reader: LogReader, query: LogQuery) -> web.StreamResponse:
    if query.tail is not None:
        start = await asyncio.to_thread(reader.tail, query.tail)
    else:
        start = await asyncio.to_thread(reader.at_line, query.from_line)
    form = query.form(request)
    response = await _open(request, form)
    async for piece in _pieces(reader, start, query.to_line):
        async for chunk in _rendered(piece, form):
            await response.write(chunk)
    await response.write_eof()
    return response


async def _pieces(reader: LogReader, start: Place, end: int | None) -> AsyncIterator[Piece]:
    pieces = await asyncio.to_thread(reader.pieces, start, end)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def _rendered(piece: Piece, form: LogForm) -> AsyncIterator[bytes]:
    if piece.gap is not None:
        yield form.gap(piece.gap, "")
    if isinstance(form, TextForm):
        yield piece.data
        return
    lines = await asyncio.to_thread(piece.lines)
    for at in range(0, len(lines), _PIECE_LINES):
        yield b"".join(form.line(line, "") for line in lines[at : at + _PIECE_LINES])
        await asyncio.sleep(0)


async def _found(request: web.Request, reader: LogReader, query: LogQuery) -> web.StreamResponse:
    segments = await asyncio.to_thread(reader.segments)
    found = await request.app[SEARCH].search(segments, query.question)
    form = query.form(request)
    facts = {"complete": found.complete, "reason": found.reason, "next_line": found.next}
    headers = {"x-taak-complete": str(found.complete).lower()}
    if found.next is not None:
        headers["x-taak-next-line"] = str(found.next)
    response = await _open(request, form, headers)
    for at in range(0, len(found.lines), _PIECE_LINES):
        part = found.lines[at : at + _PIECE_LINES]
        await response.write(b"".join(form.line(line, "") for line in part))
    if not found.complete and isinstance(form, TextForm):
        await response.write(f"[not all was searched: {found.reason}]\r\n".encode())
    await response.write(form.end("", facts))
    await response.write_eof()
    return response


# --- Bytes


def _range_of(request: web.Request) -> tuple[int | None, int | None] | None:
    """Return the first and last byte of a Range header; None for none, or one of another form."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or not (found[1] or found[2]):
        return None  # RFC 9110: what is not understood is ignored
    first, last = (int(text) if text else None for text in found.groups())
    if first is not None and last is not None and last < first:
        return None
    return first, last


async def _bytes(
    request: web.Request, reader: LogReader, wanted: tuple[int | None, int | None]
) -> web.StreamResponse:
    """Answer 206; bytes count from the log's beginning, and a hole ends the answer."""
    size = (await asyncio.to_thread(reader.end)).byte
    first, last = wanted
    if first is None:
        first, last = max(0, size - (last or 0)), None
    end = size if last is None else min(size, last + 1)
    begin, stop = await asyncio.to_thread(reader.extent, first, end)
    if begin >= stop:
        return web.Response(
            status=416,
            text=f"the log has {size} bytes, none of them in this range\n",
            headers={"Content-Range": f"bytes */{size}"},
        )
    headers = {"Content-Range": f"bytes {begin}-{stop - 1}/{size}"}
    response = await _open(request, TextForm(), headers, status=206, length=stop - begin)
    while begin < stop:
        at, data = await asyncio.to_thread(reader.bytes_from, begin, stop)
        if at != begin or not data:  # removed meanwhile: the client sees that the end is missing
            response.force_close()
            if request.transport is not None:
                request.transport.abort()
            break
        await response.write(data)
        begin += len(data)
    return response


async def _open(
    request: web.Request,
    form: LogForm,
    headers: dict[str, str] | None = None,
    *,
    status: int = 200,
    length: int | None = None,
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = form.media
    response.charset = "utf-8"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "no-store"
    response.content_length = length
    await response.prepare(request)
    return response
