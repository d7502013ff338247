"""The accept loop: on real sockets, with an accept that fails as the kernel's does."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import listener
from gateway.connections import Connections, Visit
from gateway.listener import Listener
from gateway.metrics import Metrics

pytestmark = pytest.mark.real

TIMEOUT_S = 5.0


class Scripted(socket.socket):
    """A listening socket that fails to accept as often as it is told."""

    errors: list[int]
    asked = 0

    def accept(self) -> Any:
        """Fail, or accept."""
        self.asked += 1
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        return super().accept()


class Hello(asyncio.Protocol):
    """Says hello and ends the connection."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.visit.taken(self, transport)
        transport.write(b"hello")
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.visit.end()

    def check_time(self, now: float) -> None:
        pass


class Scene:
    """A listener and its parts."""

    def __init__(self, sock: Scripted, door: Listener, metrics: Metrics) -> None:
        self.sock = sock
        self.door = door
        self.metrics = metrics

    async def visit(self) -> bytes:
        """Connect and return all that comes."""
        reader, writer = await asyncio.open_connection(*self.sock.getsockname())
        try:
            return await asyncio.wait_for(reader.read(), TIMEOUT_S)
        finally:
            writer.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A listener that accepts; its socket fails when it is told to."""
    sock, metrics = Scripted(), Metrics()
    sock.errors = []
    sock.bind(("127.0.0.1", 0))
    sock.listen(100)
    connections = Connections("data", metrics, most=10)
    async with asyncio.TaskGroup() as group:
        door = Listener(sock, connections, Hello, group.create_task)
        door.open()
        yield Scene(sock, door, metrics)
        door.close()


async def test_clients_come_in(scene: Scene) -> None:
    """Each is served, and its place is free afterwards."""
    for _ in range(30):
        assert await scene.visit() == b"hello"
    async with asyncio.timeout(TIMEOUT_S):
        while scene.metrics.open_connections["data"]():
            await asyncio.sleep(0.005)


async def test_clients_that_left_before_the_accept(scene: Scene) -> None:
    """An error of one connection is passed over (accept(2))."""
    scene.sock.errors = [errno.ECONNABORTED, errno.EPROTO, errno.EINTR]
    assert await scene.visit() == b"hello"
    assert scene.metrics.refusals == {}


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_a_client_is_told(scene: Scene, error: int) -> None:
    """The spare one is given up for the client that waits; the next one is served."""
    scene.sock.errors = [error]
    answer = await scene.visit()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in answer
    assert os.strerror(error).encode() in answer
    assert b"ulimit -n" in answer
    assert await scene.visit() == b"hello"
    assert scene.metrics.refusals == {("data", "descriptors"): 1}


async def test_without_descriptors_the_loop_does_not_spin(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as there are none it asks now and then, and then it goes on."""
    monkeypatch.setattr(listener, "_PAUSE_S", 0.05)
    scene.sock.errors = [errno.EMFILE] * 1_000_000
    waiting = asyncio.create_task(scene.visit())
    await asyncio.sleep(0.5)
    assert 2 < scene.sock.asked < 40
    assert not waiting.done()
    scene.sock.errors.clear()
    assert await waiting == b"hello"


async def test_an_error_that_nobody_knows(scene: Scene) -> None:
    """It ends no listener."""
    scene.sock.errors = [errno.EINVAL]
    assert await scene.visit() == b"hello"


async def test_a_connection_that_fails_ends_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect in serving one client is told in the log and costs no other."""
    with monkeypatch.context() as broken:
        broken.setattr(scene.door, "_protocol", lambda _visit: 1 / 0)
        assert await scene.visit() == b""
    assert "ZeroDivisionError" in caplog.text
    assert await scene.visit() == b"hello"
    assert scene.metrics.open_connections["data"]() <= 1


async def test_descriptors_are_given_back(scene: Scene) -> None:
    """Refusing many clients in a row leaves nothing open."""
    before = len(os.listdir("/proc/self/fd"))
    scene.sock.errors = [errno.EMFILE]
    await scene.visit()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    scene.door.close()
    scene.door.close()  # twice is once
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) < before
