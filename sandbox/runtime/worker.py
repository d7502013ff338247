"""A worker: reads calls, runs the user's function, writes replies.

Synchronous functions have one call in flight; frames that came with it wait here. A reply is
written before the next call begins, or, while calls are very short, laid into a page shared with
the host and written with the next ones: so a crash in one call never takes the finished answer of
another with it. What has begun is counted in that page, too, by which the host knows which frames
of a dead or busy worker may be given to another. Per call: one read may bring many, and one write
serve a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from . import confine, lane, wire
from .lane import Lane
from .loader import Entry, LoadError
from .stdio import Capture

_READ = 1 << 16  # below what the C library maps and unmaps at each turn
_READ_ON = 1 << 18  # of a frame that has begun
_FAILED = 1
_MOST = f"{wire.MAX_ROOM} bytes (64 MiB)"
_LOAD_FAILED = 2
_KEPT, _KEPT_BYTES = 64, 1024  # where answers lie that wait for the next ones, and how many
_QUICK_US = 50  # of a call whose successor is expected to be over as soon
_store = struct.Struct("<Q").pack_into
_held = struct.Struct("<Q").unpack_from  # at 8: frames up to this number may have been taken back
_verdict = struct.Struct("<QQQ").unpack_from  # at 8: held, decided, first that was taken back
_WAIT_S = 0.0002
_clock = time.perf_counter_ns


def warm() -> None:
    """Walk the cold path once in the launcher."""
    a, b = socket.socketpair()
    a.sendall(wire.encode([wire.CALL, b"0" * 16, [wire.pack(["GET", [], []]), b""], None]))
    wire.Decoder(wire.MAX_HOST_FRAME).feed(b.recv(_READ))
    a.close()
    b.close()


def run(fds: list[int], entry: Entry | LoadError | Callable[[str], Entry | LoadError]) -> None:
    """Become a worker of one function in a process just forked from the zygote.

    With a callable: of the function that the host names when it wants one; till then, wait.
    """
    channel, log, stdout, stderr, progress = fds
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for fd in (stdout, stderr):
        os.close(fd)
    confine.name_process("taak-worker")
    with mmap.mmap(progress, mmap.PAGESIZE) as page:
        os.close(progress)
        records = socket.socket(fileno=log)
        records.setblocking(True)  # whatever user code has set as the default
        capture = Capture(records, wire.pack)
        capture.install()
        bodies = Lane(records)
        sock = socket.socket(fileno=channel)
        if callable(entry):
            warm()
            entry = entry(_taken(sock))
        error = list(entry.args) if isinstance(entry, LoadError) else None
        is_coroutine = isinstance(entry, Entry) and entry.is_coroutine
        sock.sendall(wire.encode([wire.HELLO, is_coroutine, error]))
        with contextlib.suppress(lane.ClosedError):
            if is_coroutine:
                asyncio.run(_Coroutines(sock, entry, capture, page, bodies).serve())
            else:
                _serve(sock, entry, capture, page, bodies)
    capture.finish()
    os._exit(0)


def _taken(sock: socket.socket) -> str:
    """Wait for a function's name; it is gone who is never wanted."""
    decoder = wire.Decoder(wire.MAX_HOST_FRAME)
    while data := _read(sock, decoder):
        for _take, name in decoder.feed(data):
            return str(name)
    os._exit(0)


def _serve(
    sock: socket.socket,
    entry: Entry | LoadError,
    capture: Capture,
    page: mmap.mmap,
    bodies: Lane,
) -> None:
    decoder = wire.Decoder(wire.MAX_HOST_FRAME)
    call = entry.call if isinstance(entry, Entry) else _refusal(entry)
    begin, end = capture.begin, capture.end
    fork = _Fork()
    answers = _Answers(sock, page)
    begun = 0
    while data := _read(sock, decoder):
        messages = decoder.feed(data)
        waiting = len(messages)
        for message in messages:
            waiting -= 1
            if message[0] != wire.CALL:
                continue
            begun += 1
            _store(page, 0, begun)  # first: the host decides by it (sandbox/progress.py)
            if begun <= _held(page, 8)[0]:
                answers.send()
                if _is_taken_back(page, begun):
                    bodies.drop(message[1], message[2])
                    continue
            _kind, call_id, event, trace = message
            start = _clock()
            name = _text(call_id)
            if type(event[-1]) is int and (refusal := _take_body(bodies, call_id, event)):
                answers.send(_reply(call_id, _FAILED, 0, [refusal, ""]))
                continue
            mark = begin(name)
            status, payload = call(event, _info(name, trace))
            end(name, mark)
            if fork.is_child:
                os._exit(0)  # user code forked and its child came back here
            if status == 0 and lane.is_large(payload):
                answers.send(wire.encode([wire.WANTED, call_id, len(payload[2])]))
                payload = lane.fill(bodies.room(call_id), payload)
            spent = (_clock() - start) // 1000
            frame = _reply(call_id, status, spent, payload)
            if not (waiting and spent < _QUICK_US and answers.keep(frame)):
                answers.send(frame)
        answers.send()


class _Answers:
    """Answers on their way out; what is kept for the next ones lies where the host can find it."""

    def __init__(self, sock: socket.socket, page: mmap.mmap) -> None:
        self._sock = sock
        self._page = page
        self._size = 0
        self._turn = 0

    def keep(self, frame: bytes) -> bool:
        """Keep an answer for the next write, if there is room."""
        size = self._size + len(frame)
        if size > _KEPT_BYTES:
            return False
        self._page[_KEPT + self._size : _KEPT + size] = frame
        _store(self._page, 40, size)  # last: now it counts
        self._size = size
        return True

    def send(self, frame: bytes = b"") -> None:
        """Write what is kept, and this frame."""
        if not self._size:
            if frame:
                self._sock.sendall(frame)
            return
        self._sock.sendall(self._page[_KEPT : _KEPT + self._size] + frame)
        self._size = 0
        self._turn += 1
        _store(self._page, 40, 0)
        _store(self._page, 32, self._turn)  # before the place is used anew: void what is being read


class _Fork:
    """Knows whether this process is a fork that user code has made; asked at each call."""

    def __init__(self) -> None:
        self.is_child = False
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.is_child = True


def _refusal(error: LoadError) -> Callable[[Any, tuple[Any, ...]], tuple[int, Any]]:
    """Return what answers all calls of a function that has not been loaded."""
    return lambda _event, _info: (_LOAD_FAILED, list(error.args))


def _is_taken_back(page: mmap.mmap, number: int) -> bool:
    """Wait for the host's word, and tell whether the frame has gone to another worker."""
    while True:
        held, decided, first = _verdict(page, 8)
        if held == decided:
            return bool(number >= first)
        time.sleep(_WAIT_S)


def _read(sock: socket.socket, decoder: wire.Decoder) -> bytes:
    try:
        return sock.recv(_READ_ON if decoder.pending else _READ)
    except ConnectionError:
        return b""


def _info(name: str, trace: list[str] | None) -> tuple[str, str, str, Any]:
    """Return a context.CallInfo."""
    return (name, "", "", None) if trace is None else (name, trace[0], trace[1], None)


def _text(call_id: bytes) -> str:
    h = call_id.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _take_body(bodies: Lane, call_id: bytes, event: list[Any]) -> str:
    """Put the body that came beside the frame into its event; return why that cannot be."""
    size = event[-1]
    try:
        event[-1] = bodies.body(call_id, size)
    except (MemoryError, OSError) as error:
        return f"the request body of {size} bytes cannot be read: {error!r}"
    return ""


def _reply(call_id: bytes, status: int, spent: int, payload: Any) -> bytes:
    body = payload[2] if type(payload) is list and len(payload) == 3 else payload
    if isinstance(body, (bytes, str)) and len(body) > wire.MAX_ROOM:
        reason = f"the reply's body of {len(body)} bytes is over the limit of {_MOST}"
        return wire.encode([wire.REPLY, call_id, _FAILED, spent, [reason, ""]])
    try:
        frame = wire.encode([wire.REPLY, call_id, status, spent, payload])
    except Exception as error:
        reason = f"the reply cannot be sent: {error!r}"
        return wire.encode([wire.REPLY, call_id, _FAILED, spent, [reason, ""]])
    if len(frame) - 4 > wire.MAX_GUEST_FRAME:
        reason = f"the reply of {len(frame)} bytes with its headers is over the limit of {_MOST}"
        return wire.encode([wire.REPLY, call_id, _FAILED, spent, [reason, ""]])
    return frame


class _Coroutines:
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
        self._fork = _Fork()

    async def serve(self) -> None:
        """Serve until the host closes the channel."""
        self._sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._sock, self._readable)
        await self._ended

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_ON if self._decoder.pending else _READ)
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
            if type(event[-1]) is int and (refusal := _take_body(self._bodies, call_id, event)):
                self._write(_reply(call_id, _FAILED, 0, [refusal, ""]))
                return
            # Owned by the dict until it is done; a TaskGroup would end all calls when one fails.
            task = self._loop.create_task(self._run(call_id, message))
            self._tasks[call_id] = task
        elif message[0] == wire.CANCEL and call_id in self._tasks:
            self._tasks[call_id].cancel()

    async def _run(self, call_id: bytes, message: list[Any]) -> None:
        start = _clock()
        name = _text(call_id)
        try:
            with self._capture.invocation(name):
                status, payload = await self._entry.acall(message[2], _info(name, message[3]))
            if status == 0 and lane.is_large(payload) and not self._fork.is_child:
                payload = lane.fill(await self._room(call_id, len(payload[2])), payload)
        except asyncio.CancelledError:
            status, payload = _FAILED, ["cancelled: the call's time was over", ""]
        finally:
            self._tasks.pop(call_id, None)
        if self._fork.is_child:
            os._exit(0)  # user code forked and its child came back here
        self._write(_reply(call_id, status, (_clock() - start) // 1000, payload))

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
