"""Many calls at once on one loop: the worker of a function that is a coroutine."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import struct
import time
from typing import Any

from . import lane, wire
from .calls import FAILED, READ, READ_ON, Fork, info, reply, take_body, text
from .lane import Lane
from .loader import Entry, LoadError
from .stdio import Capture

_store = struct.Struct("<Q").pack_into
_clock = time.perf_counter_ns


class Coroutines:
    """Many calls at once on one loop, for functions that are coroutines."""

    def __init__(
        self,
        sock: socket.socket,
        entry: Entry | LoadError,
        capture: Capture,
        page: mmap.mmap,
        bodies: Lane,
    ) -> None:
        self._sock = sock
        self._bodies = bodies
        self._rooms: dict[bytes, asyncio.Future[int]] = {}  # that were asked for
        assert isinstance(entry, Entry)
        self._entry = entry
        self._capture = capture
        self._page = page
        self._decoder = wire.Decoder(wire.MAX_HOST_FRAME)
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._out = bytearray()
        self._begun = 0
        self._fork = Fork()

    async def serve(self) -> None:
        """Serve until the host closes the channel."""
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._sock, self._readable)
        await self._ended

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_ON if self._decoder.pending else READ)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._loop.remove_reader(self._sock)
            self._ended.set_result(None)
            return
        for message in self._decoder.feed(data):
            self._take(message)

    def _take(self, message: list[Any]) -> None:
        call_id = message[1]
        if message[0] == wire.CALL:
            self._begun += 1
            _store(self._page, 0, self._begun)
            event = message[2]
            if type(event[-1]) is int and (refusal := take_body(self._bodies, call_id, event)):
                self._write(reply(call_id, FAILED, 0, [refusal, ""]))
                return
            # Owned by the dict until it is done; a TaskGroup would end all calls when one fails.
            task = self._loop.create_task(self._run(call_id, message))
            self._tasks[call_id] = task
        elif message[0] == wire.CANCEL and call_id in self._tasks:
            self._tasks[call_id].cancel()

    async def _run(self, call_id: bytes, message: list[Any]) -> None:
        start = _clock()
        name = text(call_id)
        try:
            with self._capture.invocation(name):
                status, payload = await self._entry.acall(message[2], info(name, message[3]))
            if status == 0 and lane.is_large(payload) and not self._fork.is_child:
                payload = lane.fill(await self._room(call_id, len(payload[2])), payload)
        except asyncio.CancelledError:
            status, payload = FAILED, ["cancelled: the call's time was over", ""]
        finally:
            self._tasks.pop(call_id, None)
        if self._fork.is_child:
            os._exit(0)  # user code forked and its child came back here
        self._write(reply(call_id, status, (_clock() - start) // 1000, payload))

    async def _room(self, call_id: bytes, size: int) -> int:
        """Ask for room for the body of a reply; return its descriptor, -1 if there is none."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._rooms[call_id] = future
        self._loop.add_reader(self._bodies.sock, self._lent)
        self._write(wire.encode([wire.WANTED, call_id, size]))
        try:
            return await future
        finally:
            self._rooms.pop(call_id)
            if not self._rooms:
                self._loop.remove_reader(self._bodies.sock)

    def _lent(self) -> None:
        try:
            arrived = self._bodies.arrived()
        except lane.ClosedError:
            self._loop.remove_reader(self._bodies.sock)  # so is the channel, which ends us
            return
        for call_id, fd in arrived:
            room = self._rooms.get(call_id)
            if room is not None and not room.done():
                room.set_result(fd)
            elif fd >= 0:
                os.close(fd)  # the call was cancelled meanwhile

    def _write(self, frame: bytes) -> None:
        if self._out:
            self._out += frame
            return
        try:
            sent = self._sock.send(frame)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return  # the host is gone; the reader sees it too
        if sent < len(frame):
            self._out += frame[sent:]
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        try:
            del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            return
        except ConnectionError:
            self._out.clear()
        if not self._out:
            self._loop.remove_writer(self._sock)
