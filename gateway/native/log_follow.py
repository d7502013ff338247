"""Following a log: what there is from a place on, then what comes, until it ends or nobody listens.

The log is looked at again and again rather than subscribed to: a follower holds one block and
nothing else, however slow it is, no job ever waits for one, and what retention removed before it
came there is told as a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.native.log_forms import EventForm, LogForm
from gateway.native.log_query import LogQuery, resume_mark
from gateway.native.streams import HEARTBEAT_S, STOPPING, open_stream
from scheduler.log_reader import LogReader, Piece, Place

#: How often a log is looked at.
LOOK_S: Final = 0.2
#: How often it is looked whether another run has begun.
NEXT_LOOK_S: Final = 1.0
_BLOCK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A log that can be followed.

    Attributes:
        reader: of it.
        run_id: of a run, if other runs may follow it.
        ended: tells that nothing more will be written; None: never.
        following: returns the log that comes after this one; None: this is the only one.
    """

    reader: LogReader
    run_id: str = ""
    ended: Callable[[], Awaitable[bool]] | None = None
    following: Callable[[], Awaitable[Source | None]] | None = None

    def mark(self, line: int) -> str:
        """Return the id of a line's event; none before the first line."""
        if line < 0:
            return ""
        return f"{self.run_id}-{line}" if self.run_id else str(line)


async def follow(
    request: web.Request, source: Source, query: LogQuery, *, look_s: float = LOOK_S
) -> web.StreamResponse:
    """Send a log's lines and go on; the Last-Event-ID header beats what the query says.

    A resumed stream of another run than the source's begins with that source.
    """
    place = await asyncio.to_thread(_start, source, query, resume_mark(request))
    form = query.form(request)
    response = await _open(request, form)
    following = _Following(request, response, query, form, look_s)
    # A client that is gone is the usual end of such a stream, not a failure.
    with contextlib.suppress(ConnectionResetError):
        await following.run(source, place)
    return response


class _Following:
    """One client that follows."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        query: LogQuery,
        form: LogForm,
        look_s: float,
    ) -> None:
        self._stopping = request.app[STOPPING]
        self._response = response
        self._query = query
        self._form = form
        self._look_s = look_s
        self._silent_s = 0.0

    async def run(self, source: Source, place: Place) -> None:
        """Send all logs, one after the other."""
        while not self._stopping.is_set():
            place = await self._one(source, place)
            following = source.following
            if self._stopping.is_set():
                return
            if following is None:
                await self._response.write(self._form.end(source.mark(place.line - 1), {}))
                return
            while (after := await following()) is None and not self._stopping.is_set():
                await self._pause(NEXT_LOOK_S)
            source, place = after or source, Place(0, 0)

    async def _one(self, source: Source, place: Place) -> Place:
        """Send one log to its end, and return where that is."""
        while not self._stopping.is_set():
            # Asked before reading: what was written before the end is then surely in the file.
            over = await source.ended() if source.ended else False
            piece = await asyncio.to_thread(
                source.reader.read, place, size=_BLOCK_BYTES, whole=over
            )
            place = piece.end
            if await self._send(source, piece):
                continue
            if over:
                break
            await self._pause(self._look_s)
        return place

    async def _send(self, source: Source, piece: Piece) -> bool:
        """Send a piece; tell whether there was one."""
        out = bytearray()
        if piece.gap is not None:
            out += self._form.gap(piece.gap, source.mark(piece.gap.end - 1))
        for line in piece.lines():
            if self._query.takes(line):
                out += self._form.line(line, source.mark(line.number))
        if out:
            self._silent_s = 0.0
            await self._response.write(bytes(out))
            await asyncio.sleep(0)  # writing to a fast client never yields: let others have a turn
        return bool(piece.data or piece.gap)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        self._silent_s += seconds
        if self._silent_s >= HEARTBEAT_S:
            self._silent_s = 0.0
            await self._response.write(self._form.heartbeat)


def _start(source: Source, query: LogQuery, seen: tuple[str, int] | None) -> Place:
    """Return where a follower begins."""
    reader = source.reader
    if seen is not None:
        if seen[0] != source.run_id:
            return Place(0, 0)
        return reader.at_line(seen[1] + 1)
    if query.tail is not None:
        return reader.tail(query.tail)
    return reader.at_line(query.from_line)


async def _open(request: web.Request, form: LogForm) -> web.StreamResponse:
    if isinstance(form, EventForm):
        return await open_stream(request)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = form.media
    response.charset = "utf-8"
    await response.prepare(request)
    return response
