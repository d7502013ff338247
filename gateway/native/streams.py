"""Server-sent events: what one is on the wire, and a stream of values as they come.

It must not know what the values mean. Logs of jobs are followed in `log_follow.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from aiohttp import web

T = TypeVar("T")

#: A comment goes out after so much silence: proxies cut quiet connections, and writing is how a
#: gone client is noticed.
HEARTBEAT_S = 15.0
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


async def _heartbeat(response: web.StreamResponse, silent_s: float) -> float:
    if silent_s < HEARTBEAT_S:
        return silent_s
    await response.write(b": still here\n\n")
    return 0.0
