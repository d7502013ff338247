"""What a sandbox sends when it is dialled is looked at: one TCP socket of its own, or nothing."""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.dial import MOST_AT_ONCE, DialError, Dialler, _network_of, received
from sandbox.runtime import dial as guest
from sandbox.runtime import wire

#: A sandbox on our network: what the tests make is of this one.
PORT_NOBODY_HAS = 9


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Something that listens on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def answering(reply: Callable[[socket.socket], object]) -> Callable[[bytes, list[int]], None]:
    """Return an init that answers a dial by what `reply` sends over the way it was given."""

    def send(_frame: bytes, fds: list[int]) -> None:
        with socket.socket(fileno=os.dup(fds[0])) as way:
            reply(way)

    return send


def honest(frame: bytes, fds: list[int]) -> None:
    """Be an init that does what it is asked."""
    (_kind, port, version) = wire.unpack(frame[4:])
    guest.dial(port, version, [os.dup(fds[0])])


def sending(*socks: socket.socket, data: bytes = guest.DIALLED) -> Callable[..., None]:
    """Return an init that sends these, whatever it is asked for."""
    return answering(lambda way: socket.send_fds(way, [data], [sock.fileno() for sock in socks]))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_dialled_socket_talks_to_the_port(server: socket.socket) -> None:
    """What is written comes out on the other side."""
    sock = await Dialler(honest, own_network=False).dial(port_of(server))
    with sock, server.accept()[0] as other:
        sock.send(b"hello")
        assert other.recv(9) == b"hello"
        assert sock.getblocking() is False


async def test_the_other_loopback_is_tried_as_well() -> None:
    """A server on ::1 alone is found; 127.0.0.1 comes first."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        sock = await Dialler(honest, own_network=False).dial(port_of(server))
        assert sock.getpeername()[0] == "::1"
        sock.close()


async def test_nobody_listening_is_told_as_such(server: socket.socket) -> None:
    """A port that nobody has is a refusal, which a caller may try again."""
    port = port_of(server)
    server.close()
    with pytest.raises(DialError, match="nothing listens") as caught:
        await Dialler(honest, own_network=False).dial(port)
    assert caught.value.refused


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", PORT_NOBODY_HAS))
    return sock


def file() -> Any:
    return os.fdopen(os.memfd_create("x"), "w")


HOSTILE: dict[str, Callable[[], list[Any]]] = {
    "a unix socket": lambda: [socket.socket(socket.AF_UNIX)],
    "a datagram socket": lambda: [udp()],
    "no socket at all": lambda: [file()],
    "nothing": list,
    "two sockets": lambda: [socket.socket(), socket.socket()],
    "more than fit": lambda: [socket.socket() for _ in range(40)],
    "a listening socket": lambda: [socket.create_server(("127.0.0.1", 0))],
    "the other family": lambda: [socket.socket(socket.AF_INET6)],
    "one that is not connected": lambda: [socket.socket()],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_anything_else_is_closed_and_refused(name: str, server: socket.socket) -> None:
    """What is not one TCP socket that goes where it should is not used, and nothing stays open."""
    sent = HOSTILE[name]()
    before = descriptors()
    with pytest.raises(DialError):
        await Dialler(sending(*sent), own_network=False).dial(port_of(server), timeout_s=0.5)
    assert descriptors() == before
    for sock in sent:
        sock.close()


async def test_a_socket_that_is_connected_elsewhere_is_refused(server: socket.socket) -> None:
    """The host chose the port: a connection to another one is not it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = socket.create_connection(other.getsockname())
        with pytest.raises(DialError, match="elsewhere"), elsewhere:
            await Dialler(sending(elsewhere), own_network=False).dial(port_of(server))


async def test_a_socket_of_the_host_is_no_socket_of_a_sandbox(server: socket.socket) -> None:
    """Where the sandbox has a network of its own, one of ours cannot come out of it."""
    sock = socket.create_connection(server.getsockname())
    with sock:
        if _network_of(sock) is None:
            pytest.skip("this kernel does not number its networks")
        with pytest.raises(DialError, match="another network"):
            await Dialler(sending(sock), own_network=True).dial(port_of(server))


@pytest.mark.parametrize("data", [b"", b"\x01\x02", b"\0", b"x" * 16])
async def test_what_is_said_instead_is_bounded(data: bytes) -> None:
    """Words without a socket are a reason or a refusal, never a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(data)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(DialError):
            received(ours, 1)


def test_a_reason_is_told_in_words() -> None:
    """An errno becomes the kernel's words for it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(bytes([errno.EMFILE]))
        with pytest.raises(DialError, match="Too many open files"):
            received(ours, 1)


async def test_a_sandbox_that_does_not_answer_costs_bounded_time() -> None:
    """An init that keeps the way and says nothing is given up."""
    kept: list[int] = []
    silent = Dialler(lambda _frame, fds: kept.append(os.dup(fds[0])), own_network=False)
    with pytest.raises(DialError, match="within 0.05 s"):
        await silent.dial(1, timeout_s=0.05)
    os.close(kept[0])


async def test_a_sandbox_that_is_gone_is_told() -> None:
    """The end of init is the end of the dial."""
    with pytest.raises(DialError, match="ended"):
        await Dialler(lambda _frame, _fds: None, own_network=False).dial(1)


async def test_no_more_than_so_many_are_under_way() -> None:
    """What has no place waits for its turn, in bounded time, and holds no descriptor meanwhile."""
    kept: list[int] = []
    silent = Dialler(lambda _frame, fds: kept.append(os.dup(fds[0])), own_network=False)
    under_way = [asyncio.create_task(silent.dial(1, timeout_s=60)) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    for _ in range(5):
        with pytest.raises(DialError, match="within 0.05 s"):
            await silent.dial(1, timeout_s=0.05)
    assert len(kept) == MOST_AT_ONCE
    for dial in under_way:
        dial.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    for fd in kept:
        os.close(fd)


async def test_a_burst_is_served(server: socket.socket) -> None:
    """More at once than have a place get one each after the other."""
    server.listen(500)
    dialler = Dialler(honest, own_network=False)
    dials = (dialler.dial(port_of(server)) for _ in range(5 * MOST_AT_ONCE))
    socks = await asyncio.gather(*dials)
    for sock in socks:
        sock.close()


def test_the_guest_closes_what_it_was_given(server: socket.socket) -> None:
    """A dial leaves nothing open in init, also when more descriptors came along."""
    ours, theirs = socket.socketpair()
    before = descriptors()
    extra = [os.dup(theirs.fileno()) for _ in range(3)]
    guest.dial(port_of(server), 4, [theirs.detach(), *extra])
    assert descriptors() == before - 1
    data, fds, _flags, _address = socket.recv_fds(ours, 4, 4)
    assert (data, len(fds)) == (guest.DIALLED, 1)
    for fd in array.array("i", fds):
        os.close(fd)
    ours.close()
