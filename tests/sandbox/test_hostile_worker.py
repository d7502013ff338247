"""The host's handle of a worker that breaks the rules: what ends it, what its word is good for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest
from fuzz.fakes import CountedCall, FakeTree
from fuzz.virtual_loop import VirtualLoop

from sandbox import channel as channels
from sandbox.body import Body
from sandbox.call import Call
from sandbox.errors import ProtocolBrokenError
from sandbox.lane import Lane
from sandbox.output import Stream
from sandbox.progress import Progress
from sandbox.runtime import wire
from sandbox.tree import Tree
from sandbox.worker import Worker, WorkerState
from sandbox.worker_ends import WorkerEnds

HELLO = wire.encode([wire.HELLO, False, None])
PID = 4242


class NotingTree(FakeTree):
    """A sandbox that keeps which processes are to end."""

    def __init__(self) -> None:
        super().__init__()
        self.put_down: list[int] = []

    def kill_under(self, pid: int) -> None:
        self.put_down.append(pid)


class Scene:
    """One worker, its owner and its process, played by the test. Runs in virtual time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lives = True
        self.handles: list[int] = []
        self.rooms = 0
        self.ends: list[list[Call]] = []
        self.records: list[list[Any]] = []
        monkeypatch.setattr(os, "pidfd_open", self._open)
        monkeypatch.setattr(signal, "pidfd_send_signal", self._signal)
        host, self.peer = channels.pair()
        page, fd = Progress.create()
        os.close(fd)
        self.tree = NotingTree()
        lane, self.lane = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker = Worker(
            WorkerEnds(host, Lane(lane), page, -1, ()), self, cast("Tree", self.tree)
        )

    def says(self, data: bytes) -> None:
        """Let the process write on its channel, as the kernel vouches."""
        self.worker._channel.peer_pid = PID
        self.worker._channel._take(data)

    def calls(self, size: int = 0) -> CountedCall:
        """Send a call."""
        call_id = os.urandom(16)
        made = CountedCall(call_id, wire.encode([wire.CALL, call_id, b"x" * size, None]), 0.0)
        self.worker.send(made, 0.0)
        return made

    async def reads(self) -> None:
        """Let the process read all that waits for it."""
        self.peer.setblocking(False)
        while self.worker._channel.queued:
            await asyncio.sleep(0)
            with suppress(BlockingIOError):
                self.peer.recv(1 << 20)

    async def close(self) -> None:
        """Let every timer run out, then take the scene down."""
        await asyncio.sleep(60)
        self.peer.close()
        self.lane.close()
        self.worker._channel.close()
        self.worker._bodies.close()
        self.worker._page.close()

    def _open(self, pid: int) -> int:
        self.handles.append(pid)
        return os.open("/dev/null", os.O_RDONLY)

    def _signal(self, _handle: int, _number: int) -> None:
        if not self.lives:
            raise ProcessLookupError

    # -- WorkerEvents

    def ready(self, worker: Worker) -> None:
        worker.take()

    def replied(self, worker: Worker, call: Call, exec_us: int) -> None:
        pass

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        self.rooms += not calls

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        self.ends.append(not_begun)

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        pass

    def output_over(self, worker: Worker, stream: Stream) -> None:
        pass

    def record(self, worker: Worker, record: list[Any]) -> None:
        self.records.append(record)


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Give a way to play a scene; its clock jumps, and nothing may reach the loop's handler."""
    loop = VirtualLoop()

    async def played(act: Callable[[Scene], Awaitable[None]]) -> None:
        scene = Scene(monkeypatch)
        try:
            await act(scene)
        finally:
            await scene.close()

    try:
        yield lambda act: loop.run_until_complete(played(act))
        assert loop.reported == []
    finally:
        loop.close()


@contextmanager
def broken(scene: Scene, made: CountedCall) -> Iterator[None]:
    """Expect that what happens ends the worker, its process and its call, once."""
    yield
    assert scene.worker.state is WorkerState.GONE
    assert scene.ends == [[]]
    assert scene.tree.put_down == [PID]
    assert [type(end) for end in made.ends] == [ProtocolBrokenError]


def test_the_kernel_says_who_is_ended_not_the_zygote(play: Play) -> None:
    """The zygote's word is no reason to hold, and later to kill, a process of the machine."""

    async def act(scene: Scene) -> None:
        scene.worker.forked(1)
        scene.worker._channel._take(HELLO)  # the kernel has told nothing
        assert scene.worker.usable
        assert scene.handles == []

    async def other(scene: Scene) -> None:
        scene.worker.forked(1)
        scene.says(HELLO)
        assert scene.handles == [PID]
        assert scene.worker.pid == PID

    play(act)
    play(other)


def test_who_breaks_the_rules_before_the_greeting_is_put_down(play: Play) -> None:
    """Its first bytes told who it is, so it does not live on without a channel."""

    async def act(scene: Scene) -> None:
        scene.says(b"\xff" * 8)
        assert scene.ends == [[]]
        assert scene.tree.put_down == [PID]

    play(act)


@pytest.mark.parametrize("lives", [True, False])
def test_who_closes_its_channel_and_lives_on_is_put_down(play: Play, *, lives: bool) -> None:
    """After a while; who has ended, as is usual, is left alone."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        scene.lives = lives
        scene.worker._channel._take(b"")
        assert scene.worker.state is WorkerState.GONE
        assert scene.tree.put_down == []
        await asyncio.sleep(30)
        assert scene.tree.put_down == ([PID] if lives else [])

    play(act)


@pytest.mark.parametrize("exec_us", [-1, 1 << 50, (1 << 64) - 1, True, 1.0, None, "1"])
def test_a_time_that_cannot_be_stored_is_no_reply(play: Play, exec_us: object) -> None:
    """The history's integers are 64 bits: one such row would have stopped the platform."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made = scene.calls()
        with broken(scene, made):
            scene.says(wire.encode([wire.REPLY, made.id, 0, exec_us, None]))

    play(act)


@pytest.mark.parametrize("exec_us", [0, (1 << 50) - 1])
def test_a_time_that_can_be_stored_is_one(play: Play, exec_us: int) -> None:
    """The pair of the test above: the bounds themselves are fine."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made = scene.calls()
        scene.says(wire.encode([wire.REPLY, made.id, 0, exec_us, None]))
        assert made.ends == [(0, exec_us, None)]
        assert scene.ends == []

    play(act)


def test_a_worker_without_a_call_may_not_begin_a_frame(play: Play) -> None:
    """Nothing would ever end the wait for the rest, and 64 MiB may be kept of it."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made = scene.calls()
        reply = wire.encode([wire.REPLY, made.id, 0, 1, b"x" * 100])
        scene.says(reply[:50])  # a part of an answer is what is expected now
        scene.says(reply[50:])
        assert len(made.ends) == 1
        scene.says(reply[:50])
        assert scene.ends == [[]]

    play(act)


def test_a_greeting_may_be_long_and_come_in_parts_but_not_as_long_as_a_reply(play: Play) -> None:
    """An import's traceback fits; 64 MiB are for answers only."""

    async def act(scene: Scene) -> None:
        hello = wire.encode([wire.HELLO, False, ["ImportError: no", "x" * 256_000]])
        scene.says(hello[:100_000])
        scene.says(hello[100_000:])
        assert scene.worker.load_error == ("ImportError: no", "x" * 256_000)

    async def other(scene: Scene) -> None:
        scene.says((wire.MAX_CONTROL_FRAME + 1).to_bytes(4, "big"))
        assert scene.ends == [[]]

    async def third(scene: Scene) -> None:
        scene.says(HELLO)
        scene.calls()
        scene.says(wire.MAX_GUEST_FRAME.to_bytes(4, "big"))
        assert scene.ends == []

    play(act)
    play(other)
    play(third)


def test_a_worker_that_does_not_read_gets_no_further_call(play: Play) -> None:
    """Until it has read what waits; then its owner hears that there is room again."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made = [scene.calls(3 << 20) for _ in range(3)]
        assert not scene.worker.usable
        await asyncio.sleep(0)
        scene.says(wire.encode([wire.REPLY, made[0].id, 0, 1, None]))
        assert not scene.worker.usable, "it has answered without reading"
        await scene.reads()
        assert scene.worker.usable
        assert scene.rooms == 1

    play(act)


@pytest.mark.parametrize("why", ["recall", "kill", "drain"])
def test_room_is_no_reason_to_use_a_worker_again(play: Play, why: str) -> None:
    """What was asked back, or is to end, gets nothing because it has read."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        for _ in range(3):
            scene.calls(3 << 20)
        if why == "recall":
            scene.worker.usable = True  # as it was before the last of them
        getattr(scene.worker, why)()
        await scene.reads()
        assert not scene.worker.usable

    play(act)


def test_a_forged_record_can_be_shown(play: Play) -> None:
    """Its text is valid Unicode whatever it was; what is no list is dropped."""

    async def act(scene: Scene) -> None:
        for data in (b"\x91\xa2a\xff", b"\x91" * 1000 + b"\xc0\xc0", b"\xc0", b""):
            scene.worker._on_record(data)
        assert scene.records == [["a\ufffd"]]

    play(act)


@pytest.mark.parametrize("size", [-1, 0, wire.APART - 1, wire.MAX_ROOM + 1, 1 << 60, None, "1"])
def test_a_wish_for_room_of_no_possible_size_ends_the_worker(play: Play, size: object) -> None:
    """Before anything is made for it."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made = scene.calls()
        with broken(scene, made):
            scene.says(wire.encode([wire.WANTED, made.id, size]))
        assert made.room is None

    play(act)


@pytest.mark.parametrize("call_id", [b"x" * 16, None, "behind", "again"])
def test_room_is_lent_for_the_call_that_runs_once(play: Play, call_id: object) -> None:
    """Not for a call of nobody's, one that waits behind it, or a second time."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        made, behind = scene.calls(), scene.calls()
        scene.says(wire.encode([wire.WANTED, made.id, wire.APART]))
        assert made.room is not None
        assert len(made.room) == wire.APART
        assert scene.lane.recv(100) == bytes([wire.ROOM]) + made.id
        wished = {"behind": behind.id, "again": made.id}.get(str(call_id), call_id)
        with broken(scene, made):
            scene.says(wire.encode([wire.WANTED, wished, wire.APART]))
        assert behind.room is None

    play(act)


def test_a_worker_that_does_not_take_its_bodies_gets_no_further_call(play: Play) -> None:
    """Many may wait for it, in bounds; with each answer it may have one more."""

    async def act(scene: Scene) -> None:
        scene.says(HELLO)
        body = Body()
        sent = []
        while scene.worker.usable:
            call_id = os.urandom(16)
            made = CountedCall(call_id, b"", 0.0)
            made.body = body
            scene.worker.send(made, 0.0)
            sent.append(made)
            assert len(sent) < 100
        scene.says(wire.encode([wire.REPLY, sent[0].id, 0, 1, None]))
        assert scene.worker.usable

    play(act)
