"""Server-sent events: lines of a growing file, or values as they come.

An event's id is where the next one starts, so that a client that comes back with `Last-Event-ID`
misses nothing and sees nothing twice. It must not know what the lines mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiohttp import web

from gateway.native.growing_file import GrowingFile
from scheduler.errors import BadRequestError

T = TypeVar("T")

#: A comment goes out after so much silence: proxies cut quiet connections, and writing is how a
#: gone client is noticed.
HEARTBEAT_S = 15.0
#: How often a growing file is looked at. Several processes write it, so no event of ours tells.
LOOK_S = 0.2
#: Values that wait for a slow reader; then the source is held back.
_MAX_WAITING = 1000
_STOP_LOOK_S = 0.5
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back otherwise
}

#: Set when the listener stops: an open stream must not hold the shutdown up.
STOPPING = web.AppKey("stopping", asyncio.Event)


def event(data: str, *, name: str = "", mark: str = "") -> bytes:
    """Return one event on the wire."""
    head = (f"id: {mark}\n" if mark else "") + (f"event: {name}\n" if name else "")
    # A bare \r also ends a line for a reader of event streams; it would tear the event apart.
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()


async def open_stream(request: web.Request) -> web.StreamResponse:
    """Send the head of an event stream."""
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    await response.write(b"retry: 2000\n\n")
    return response


async def stream_file(
    request: web.Request,
    path: Path,
    *,
    start: int,
    ended: Callable[[], bool] | None = None,
    look_s: float = LOOK_S,
) -> web.StreamResponse:
    """Send the lines of a file from an offset on, and follow it.

    Args:
        request: its Last-Event-ID header beats `start`.
        path: may not exist yet, and may be replaced by a new file.
        start: byte offset for a client that is new.
        ended: tells that nothing more will be written; None follows until the client leaves.
        look_s: how often the file is looked at.
    """
    source = GrowingFile(path, resume_offset(request, start))
    response = await open_stream(request)
    silent_s = 0.0
    # A client that is gone is the usual end of such a stream, not a failure.
    with contextlib.closing(source), contextlib.suppress(ConnectionResetError):
        while not request.app[STOPPING].is_set():
            # Asked before reading: what was written before the end is then surely in the file.
            over = ended() if ended else False
            lines = source.read_lines(whole=over)
            for line in lines:
                await response.write(event(line.text, mark=str(line.end)))
            if lines:
                silent_s = 0.0
            elif over:
                await response.write(event("", name="end", mark=str(source.offset)))
                break
            else:
                silent_s = await _pause(request, response, silent_s, look_s)
    return response


async def stream_values(
    request: web.Request,
    earlier: Callable[[], list[T]],
    later: AsyncIterator[T],
    shape: Callable[[T], dict[str, Any]],
) -> web.StreamResponse:
    """Send values as JSON: what there is, then what comes, none twice and none left out."""
    response = await open_stream(request)
    queue: asyncio.Queue[T | None] = asyncio.Queue(_MAX_WAITING)
    try:
        async with asyncio.TaskGroup() as group:
            # A task of its own: a time limit on `anext` would end an async generator for good.
            pump = group.create_task(_pump(later, queue))
            await asyncio.sleep(0)  # it listens now; what comes while we look is in both places
            seen = earlier()
            for value in seen:
                await response.write(event(json.dumps(shape(value), ensure_ascii=False)))
            await _send_queued(request, response, queue, _Sender(seen, shape))
            pump.cancel()
    except* ConnectionResetError:
        pass  # the client is gone, and with it the reader of an error
    return response


class _Sender(Generic[T]):
    """Makes events of values, except of those that were sent before."""

    def __init__(self, seen: list[T], shape: Callable[[T], dict[str, Any]]) -> None:
        self._seen = {id(value): value for value in seen}  # the values are kept: ids stay theirs
        self._shape = shape

    def event(self, value: T) -> bytes:
        if self._seen.pop(id(value), None) is not None:
            return b""
        return event(json.dumps(self._shape(value), ensure_ascii=False))


async def _pump(later: AsyncIterator[T], queue: asyncio.Queue[T | None]) -> None:
    async for value in later:
        await queue.put(value)
    await queue.put(None)


async def _send_queued(
    request: web.Request,
    response: web.StreamResponse,
    queue: asyncio.Queue[T | None],
    sender: _Sender[T],
) -> None:
    silent_s = 0.0
    while not request.app[STOPPING].is_set():
        try:
            async with asyncio.timeout(_STOP_LOOK_S):
                value = await queue.get()
        except TimeoutError:
            silent_s = await _heartbeat(response, silent_s + _STOP_LOOK_S)
            continue
        if value is None:
            return
        silent_s = 0.0
        data = sender.event(value)
        if data:
            await response.write(data)


def resume_offset(request: web.Request, start: int) -> int:
    """Return where a stream goes on: the client's last event, else `start`."""
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return start
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequestError(f"header Last-Event-ID: {text!r} is no byte offset of this stream")
    return int(text)


async def _pause(
    request: web.Request, response: web.StreamResponse, silent_s: float, look_s: float
) -> float:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(look_s):
            await request.app[STOPPING].wait()
    return await _heartbeat(response, silent_s + look_s)


async def _heartbeat(response: web.StreamResponse, silent_s: float) -> float:
    if silent_s < HEARTBEAT_S:
        return silent_s
    await response.write(b": still here\n\n")
    return 0.0
