"""The host gets into a sandbox's network, and the sandbox gets no further for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from real.sandboxes import Lines, launchers, shell

from sandbox.dial import DialError
from sandbox.errors import SpawnFailedError
from sandbox.launchers import Launchers
from sandbox.process import Process
from sandbox.spec import Level, Network, SandboxSpec
from scheduler.job_environment import free_port

pytestmark = pytest.mark.real

WAIT_S = 20
#: Answers every connection with what it was sent, and says when it listens.
ECHO = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
server = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else 2)
print("listening", flush=True)
while True:
    other, _ = server.accept()
    data = other.recv(100)
    if data == b"end":
        break
    other.sendall(b"heard " + data)
    other.close()
"""
#: Tells what becomes of a list of (what, host, port).
TRY = """
import socket, sys
for each in sys.argv[1:]:
    what, port = each.split(":")
    try:
        if what == "bind":
            socket.create_server(("127.0.0.1", int(port))).close()
        else:
            socket.create_connection(("127.0.0.1", int(port)), 3).close()
        print(each, "open")
    except OSError as error:
        print(each, "stopped", error.errno)
"""


class Started(Lines):
    """A sink that tells when a word has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, stream, chunk) -> None:
        super().write(stream, chunk)
        if b"listening" in chunk:
            self._loop.call_soon_threadsafe(self.came.set)


def python(code: str, *arguments: str, **fields: object) -> SandboxSpec:
    spec = shell("")
    return replace(spec, argv=("python3", "-c", code, *arguments), **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def echo(
    both: Launchers, port: int, host: str = "127.0.0.1", **fields: object
) -> AsyncIterator[Process]:
    """Run an echo in a sandbox that listens at this port."""
    sink = Started()
    try:
        process = await both.run(python(ECHO, host, str(port), **fields), sink)
    except SpawnFailedError as error:
        if "may not read" in str(error):  # this Python lies in a folder of root's
            pytest.skip(str(error))
        raise
    try:
        async with asyncio.timeout(WAIT_S):
            await sink.came.wait()
        yield process
    finally:
        await process.kill()


async def said(sock: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with sock:
        await loop.sock_sendall(sock, data)
        async with asyncio.timeout(WAIT_S):
            return await loop.sock_recv(sock, 100)


async def tried(both: Launchers, *attempts: str, **fields: object) -> dict[str, str]:
    """Return what becomes of attempts to bind and connect in a sandbox."""
    sink = Lines()
    process = await both.run(python(TRY, *attempts, **fields), sink)
    await process.wait()
    assert sink.err == ""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in sink.out.splitlines()}


KINDS = {
    "none": {"network": Network.NONE},
    "strict": {"network": Network.NONE, "level": Level.STRICT},
    "outbound": {"network": Network.OUTBOUND},
    "trusted": {"network": Network.HOST, "level": Level.TRUSTED},
    "process": {
        "network": Network.NONE,
        "level": Level.PROCESS,
        "without": frozenset({"namespaces"}),
    },
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_host_reaches_a_port_in_every_kind_of_sandbox(kind: str) -> None:
    """A program that may listen at its port is reached there, again and again."""
    async with launchers() as both:
        port = free_port()
        async with echo(both, port, listen=(port,), **KINDS[kind]) as process:
            for number in range(5):
                sock = await process.dial(port)
                assert await said(sock, b"%d" % number) == b"heard %d" % number


async def test_a_port_of_the_host_is_not_a_port_of_the_sandbox() -> None:
    """Dialling what listens on the host's loopback ends inside, where nobody does."""
    async with launchers() as both:
        port = free_port()
        async with echo(both, port) as process:
            with socket.create_server(("127.0.0.1", 0)) as ours:
                with pytest.raises(DialError, match="nothing listens") as caught:
                    await process.dial(ours.getsockname()[1])
                assert caught.value.refused
                ours.settimeout(0)
                with pytest.raises(BlockingIOError):
                    ours.accept()
            async with echo(both, free_port()) as neighbour:
                with pytest.raises(DialError, match="nothing listens"):
                    await neighbour.dial(port)  # one sandbox's port is none of another's
            assert await said(await process.dial(port), b"still") == b"heard still"


async def test_the_sandbox_of_its_own_gets_nowhere() -> None:
    """A private network with a way in has no way out: neither to the host nor to a neighbour."""
    async with launchers() as both:
        port = free_port()
        with socket.create_server(("127.0.0.1", 0)) as platform:
            number = platform.getsockname()[1]
            async with echo(both, port):
                found = await tried(both, f"connect:{number}", f"connect:{port}")
        assert all(each.startswith("stopped") for each in found.values()), found


async def test_outbound_code_listens_only_where_it_was_told() -> None:
    """On the host's network one port may be bound; others, and every service here, stay closed."""
    async with launchers() as both:
        own, other = free_port(), free_port()
        with socket.create_server(("127.0.0.1", 0)) as platform:
            number = platform.getsockname()[1]
            async with echo(both, other, listen=(other,), network=Network.OUTBOUND):
                attempts = (
                    f"bind:{own}",
                    "bind:0",
                    f"bind:{number}",
                    f"connect:{number}",
                    f"connect:{other}",
                )
                found = await tried(both, *attempts, network=Network.OUTBOUND, listen=(own,))
        opened = [each for each, told in found.items() if told == "open"]
        assert opened == [f"bind:{own}"], found


async def test_only_ipv6_is_enough() -> None:
    """Programs that listen at ::1 alone are reached."""
    async with launchers() as both:
        port = free_port()
        async with echo(both, port, "::1") as process:
            assert await said(await process.dial(port), b"six") == b"heard six"


async def test_init_goes_on_while_nobody_accepts() -> None:
    """A full queue keeps dials waiting, not init: the end of the program is told as ever."""
    deaf = """
import socket, sys, time
server = socket.socket(); server.bind(("127.0.0.1", int(sys.argv[1]))); server.listen(0)
print("listening", flush=True)
time.sleep(600)
"""
    async with launchers() as both:
        port, sink = free_port(), Started()
        process = await both.run(python(deaf, str(port)), sink)
        async with asyncio.timeout(WAIT_S):
            await sink.came.wait()
            # The kernel takes one or two on behalf of who does not accept; others hang.
            dials = [asyncio.ensure_future(process.dial(port)) for _ in range(8)]
            await asyncio.sleep(0)
            process.terminate()
            ended = await process.wait()
        assert ended.signal == 15
        for made in await asyncio.gather(*dials, return_exceptions=True):
            if isinstance(made, socket.socket):
                made.close()
            else:
                assert isinstance(made, DialError)
        with pytest.raises(DialError, match="gone"):
            await process.dial(port)


def descriptors(pid: object) -> int:
    """Return how many a process has; 0 where only root may look at an init."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return 0


async def test_dials_leave_no_descriptors() -> None:
    """Neither the host nor init keeps anything of a connection that is over."""
    async with launchers() as both:
        port = free_port()
        async with echo(both, port) as process:
            init = process._tree.pid
            await said(await process.dial(port), b"x")
            before = (descriptors("self"), descriptors(init))
            for _ in range(50):
                await said(await process.dial(port), b"x")
                with pytest.raises(DialError):
                    await process.dial(1)
            after = (descriptors("self"), descriptors(init))
        # Spares come and go meanwhile: a few; what a hundred dials would leave is more.
        assert all(now < then + 20 for now, then in zip(after, before, strict=True))
