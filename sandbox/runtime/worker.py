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
from .calls import FAILED, READ, READ_ON, Fork, info, reply, take_body, text
from .coroutines import Coroutines
from .lane import Lane
from .loader import Entry, LoadError
from .stdio import Capture

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
    wire.Decoder(wire.MAX_HOST_FRAME).feed(b.recv(READ))
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
                asyncio.run(Coroutines(sock, entry, capture, page, bodies).serve())
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
    fork = Fork()
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
            name = text(call_id)
            if type(event[-1]) is int and (refusal := take_body(bodies, call_id, event)):
                answers.send(reply(call_id, FAILED, 0, [refusal, ""]))
                continue
            mark = begin(name)
            status, payload = call(event, info(name, trace))
            end(name, mark)
            if fork.is_child:
                os._exit(0)  # user code forked and its child came back here
            if status == 0 and lane.is_large(payload):
                answers.send(wire.encode([wire.WANTED, call_id, len(payload[2])]))
                payload = lane.fill(bodies.room(call_id), payload)
            spent = (_clock() - start) // 1000
            frame = reply(call_id, status, spent, payload)
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
        return sock.recv(READ_ON if decoder.pending else READ)
    except ConnectionError:
        return b""
