"""Two workers with calls in flight: one hostile, one that does its work.

Whatever the hostile one sends, each of its calls ends once or is handed back once, and every call
of the other gets its own right answer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, cast

from sandbox import channel as channels
from sandbox.lane import Lane
from sandbox.progress import Progress
from sandbox.runtime import wire
from sandbox.spec import Exit
from sandbox.tree import Tree
from sandbox.worker import Worker, WorkerState
from sandbox.worker_ends import WorkerEnds

from .case import Case
from .fakes import CountedCall, FakeTree, Owner

_HOSTILE = 5  # workers of one case, one after the other
_ROUNDS = 8
_IN_FLIGHT = 6
#: What a hostile worker may claim to have begun.
PAGE_WORDS = (0, 1, 2, 5, 1 << 32, (1 << 63) - 1, (1 << 64) - 2, (1 << 64) - 1)


class Peer:
    """One worker with its owner, and the end of the channel that is the process's."""

    def __init__(self, case: Case, *, by_socket: bool) -> None:
        self.case = case
        self.owner = Owner(case)
        self.calls: list[CountedCall] = []
        self.tree = FakeTree()
        self.said = b""
        host, self.sock = channels.pair()
        self.sock.setblocking(False)
        page, self.page_fd = Progress.create()
        lane, self.lane = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker = Worker(
            WorkerEnds(host, Lane(lane), page, -1, ()), self.owner, cast("Tree", self.tree)
        )
        self.worker.forked(4242)
        self._by_socket = by_socket

    @property
    def gone(self) -> bool:
        """Tell whether the host has given the worker up."""
        return self.worker.state is WorkerState.GONE

    def call(self) -> CountedCall:
        """Send one more call."""
        call_id = self.case.random.randbytes(16)
        made = CountedCall(call_id, wire.encode([wire.CALL, call_id, [], None]), 0.0)
        self.calls.append(made)
        self.worker.send(made, self.case.loop.time())
        return made

    async def say(self, data: bytes) -> None:
        """Write to the channel; what the host does about it has happened on return."""
        if not self._by_socket:
            if not self.gone:
                self.worker._channel._take(data)
            return
        while data and not self.gone:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def claim(self, begun: int) -> None:
        """Write into the page how many frames were begun."""
        os.pwrite(self.page_fd, struct.pack("<Q", begun), 0)

    def close(self) -> None:
        """Let the process die."""
        self.sock.close()
        self.lane.close()
        os.close(self.page_fd)


class WorkerTarget:
    """The host's handle of a worker, with another one beside it."""

    name = "worker"
    share = 0.25

    async def run(self, case: Case) -> None:
        """Let some workers do their worst one after the other, then let them die."""
        by_socket = case.chance(0.15)
        good = Peer(case, by_socket=False)
        peers = [good]
        try:
            await good.say(wire.encode([wire.HELLO, case.chance(0.5), None]))
            for _ in range(_HOSTILE):
                hostile = Peer(case, by_socket=by_socket)
                peers.append(hostile)
                await _live(case, hostile, good)
            await asyncio.sleep(10)  # every timer runs out
            for hostile in peers[1:]:
                _check(hostile)
        finally:
            for peer in peers:
                peer.close()
                peer.worker._channel.close()
                peer.worker._bodies.close()
                peer.worker.drain()


async def _live(case: Case, hostile: Peer, good: Peer) -> None:
    """Let a worker come, do its worst until it is ended, and die, if need be of a deadline."""
    if case.chance(0.85):
        await hostile.say(wire.encode([wire.HELLO, case.chance(0.5), None]))
    for _ in range(_ROUNDS):
        await _round(case, hostile, good)
        if hostile.gone:
            case.saw("broken worker")
            break
    if not hostile.gone and case.chance(0.5):
        hostile.worker.kill("its time was over")
    hostile.sock.close()
    hostile.said = b"".join(case.fed)


async def _round(case: Case, hostile: Peer, good: Peer) -> None:
    worker = hostile.worker
    while worker.usable and len(worker.in_flight) < _IN_FLIGHT and case.chance(0.6):
        hostile.call()
    _disturb(case, hostile)
    waiting = good.call()
    foreign = [wire.REPLY, waiting.id, 0, 1, [200, [], b"forged"]]
    ids = list(worker.in_flight)
    if case.chance(0.2):
        right = [foreign]
    elif ids:
        right = [_reply(case, case.random.choice(ids[:1] * 4 + ids))]
    else:
        right = [[wire.HELLO, False, None]]
    if ids and case.chance(0.15):
        right = [_wish(case, case.random.choice(ids[:1] * 4 + ids)), *right]
    for data in case.hostile(right, valid=0.65):
        await hostile.say(data)
        case.check_channel(worker._channel, wire.MAX_GUEST_FRAME)
        if not worker.in_flight and worker.state is not WorkerState.FORKED:
            kept = len(worker._channel._decoder._buffer)
            assert kept <= len(data), "an idle worker's bytes are collected"
    answer = [200, [["X-Id", waiting.id.hex()]], waiting.id]
    await good.say(wire.encode([wire.REPLY, waiting.id, 0, 7, answer]))
    assert waiting.ends == [(0, 7, answer)], "a call of the other worker has another's answer"
    assert not good.gone, "the other worker was ended"
    if case.chance(0.3):
        await asyncio.sleep(case.random.choice((0, 0.0005, 0.01)))


def _disturb(case: Case, hostile: Peer) -> None:
    """Do what owners do meanwhile, and lie about what has begun."""
    worker = hostile.worker
    if case.chance(0.25):
        hostile.claim(case.random.choice(PAGE_WORDS))
    if hostile.gone:
        return
    match case.random.randrange(24):
        case 0 | 1 | 2:
            worker.recall()
        case 3 if worker.in_flight:
            worker.cancel(case.random.choice(hostile.calls))
        case 4:
            worker.kill("its time was over")
        case 5 if worker.state is not WorkerState.FORKED:
            worker.drain()
        case 6:
            worker.exited(Exit(*case.random.choice(((0, None), (None, 9), (None, 1 << 40)))))
        case 7:
            worker.orphaned()


def _reply(case: Case, call_id: bytes) -> list[Any]:
    status = case.random.choice((0, 0, 0, 1, 2, 3))
    payload = [200, [], b"x"] if status == 0 else ["Error: x", "Traceback"]
    return [wire.REPLY, call_id, status, case.random.choice((0, 12, 5000)), payload]


def _wish(case: Case, call_id: bytes) -> list[Any]:
    """Ask for room for a reply's body; nothing is written into it."""
    sizes = (wire.APART, wire.MAX_ROOM, 0, -1, wire.MAX_ROOM + 1, 1 << 63, None, b"1")
    return [wire.WANTED, call_id, case.random.choice(sizes[:2] * 6 + sizes)]


def _check(hostile: Peer) -> None:
    assert hostile.gone, "a worker whose channel is closed is not gone"
    assert hostile.owner.is_gone == 1, f"its end was told {hostile.owner.is_gone} times"
    assert hostile.owner.is_ready <= 1, "it was ready twice"
    assert not hostile.worker.in_flight, "calls are in flight without a worker"
    if any(call.room is not None for call in hostile.calls):
        hostile.case.saw("room")
    for call in hostile.calls:
        assert call.outcomes == 1, f"a call ended {len(call.ends)} times, {call.handed_back} back"
        if call.ends and isinstance(call.ends[0], tuple):
            assert call.id in hostile.said, "a call has an answer that nobody gave"
            hostile.case.saw("answered call")
        elif call.ends:
            hostile.case.saw("failed call")
    if not hostile.worker.is_coroutine:
        numbers = hostile.owner.answered
        assert numbers == sorted(numbers), "answers out of order"
