"""A channel to a peer that does what it likes: what is kept, what waits, how it is given up."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox import channel as channels
from sandbox.channel import Channel
from sandbox.runtime import wire

FRAME = wire.encode([wire.CANCEL, b"i" * 16])


class Line:
    """A channel, its peer's end, and what the owner was told."""

    def __init__(self, max_frame: int) -> None:
        host, self.peer = channels.pair()
        self.messages: list[list[Any]] = []
        self.ends: list[str] = []
        self.parts = self.rooms = 0
        self.channel = Channel(
            host,
            self.messages.append,
            self.ends.append,
            on_part=self._part,
            on_room=self._room,
            max_frame=max_frame,
        )

    def _part(self) -> None:
        self.parts += 1

    def _room(self) -> None:
        self.rooms += 1


@asynccontextmanager
async def line(max_frame: int = 1000) -> AsyncIterator[Line]:
    """Give a channel, and close both of its ends at last."""
    each = Line(max_frame)
    try:
        yield each
    finally:
        each.peer.close()
        each.channel.close()


async def turns(count: int = 6) -> None:
    """Let the loop see what there is to see."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_waits_for_a_peer_that_does_not_read_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the bound nothing is kept, and the owner is told once, not while it sends."""
    monkeypatch.setattr(channels, "MAX_QUEUED", 1 << 20)
    async with line() as each:
        for _ in range(64):
            each.channel.send(b"x" * (64 << 10))
            assert each.channel.queued <= 1 << 20
            assert each.ends == []
            if each.channel.queued + (64 << 10) > 1 << 20:
                break
            await turns(1)
        each.channel.send(b"x" * (64 << 10))
        assert each.channel.queued <= 1 << 20
        assert each.ends == []
        await turns()
        assert len(each.ends) == 1
        assert "does not read" in each.ends[0]
        assert str(1 << 20) in each.ends[0]


async def test_a_slow_reader_gets_all_and_its_owner_hears_of_the_room() -> None:
    """What waited leaves in order; then nothing waits any more."""
    async with line() as each:
        each.peer.setblocking(False)
        sent = b"".join(bytes([n]) * (256 << 10) for n in range(4))
        each.channel.send(sent)
        await turns()
        assert 0 < each.channel.queued < len(sent)
        assert each.rooms == 0
        got = b""
        while len(got) < len(sent):
            got += each.peer.recv(1 << 20)
            await turns(2)
        assert got == sent
        assert each.channel.queued == 0
        assert each.rooms == 1


async def test_a_peer_that_will_not_read_again_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has closed only the half that it reads from: no EOF would ever tell."""
    monkeypatch.setattr(channels, "_LAST_WORDS_S", 0.01)
    async with line() as each:
        each.peer.shutdown(socket.SHUT_RD)
        each.peer.sendall(FRAME)
        each.channel.send(FRAME)
        async with asyncio.timeout(5):
            while not each.ends:
                await asyncio.sleep(0.001)
        assert each.messages == [[wire.CANCEL, b"i" * 16]]
        assert each.ends == [""]


async def test_descriptors_of_the_peer_are_not_taken() -> None:
    """Neither those beside its first bytes, which the kernel vouches for, nor later ones."""
    async with line() as each:
        null = os.open("/dev/null", os.O_RDONLY)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            socket.send_fds(each.peer, [FRAME], [null] * 100)
            await turns()
        os.close(null)
        assert len(each.messages) == 3
        assert each.channel.peer_pid == os.getpid()
        assert len(os.listdir("/proc/self/fd")) == before - 1


async def test_the_owner_hears_of_a_read_that_completed_nothing() -> None:
    """Whether a part of a frame may come now is for the owner to say."""
    async with line() as each:
        each.peer.sendall(FRAME[:3])
        await turns()
        assert each.parts == 1
        each.peer.sendall(FRAME[3:])
        await turns()
        assert each.parts == 1
        assert len(each.messages) == 1


async def test_the_size_of_frames_is_the_owners_to_allow() -> None:
    """A larger one is refused at its length, until it is allowed."""
    async with line(max_frame=100) as each:
        each.channel.allow(200)
        each.peer.sendall((150).to_bytes(4, "big"))
        await turns()
        assert each.ends == []
    async with line(max_frame=100) as each:
        each.peer.sendall((150).to_bytes(4, "big"))
        await turns()
        assert each.ends == ["frame of 150 bytes is over the limit of 100 bytes"]


async def test_a_closed_channel_keeps_nothing() -> None:
    """Its owner may be kept for long; what was half read or half written is not."""
    async with line(max_frame=1 << 20) as each:
        each.peer.sendall((1 << 20).to_bytes(4, "big") + b"x" * 1000)
        each.channel.send(b"x" * (4 << 20))
        await turns()
        each.channel.close()
        assert not each.channel._decoder.pending
        assert not each.channel._remainder
        for _ in range(3):
            each.channel.send(FRAME)
            await turns()
        assert each.channel.queued == 0
        assert each.ends == []
