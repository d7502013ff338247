"""Connections from the host into a sandbox, whose network may be all its own.

The sandbox's init makes the socket and sends it over a pair made for this one call
(runtime/dial.py). What comes is taken for hostile: it must be one TCP socket of the family that was
asked for, of the sandbox's network, connected to the loopback address and the port that the host
chose. Anything else is closed. Bounded in time, and in how many are under way.
"""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from functools import cache

from sandbox.errors import SandboxError
from sandbox.runtime import wire
from sandbox.runtime.dial import DIALLED, PLACES

CONNECT_S = 5.0
#: Dials of one sandbox that are under way, others wait; connections that stand do not count.
MOST_AT_ONCE = 32
_MOST_FDS = 8  # read, in order to close what is too many
_SO_NETNS_COOKIE = 71  # Linux 5.14
_COOKIE = struct.Struct("=Q")

Send = Callable[[bytes, list[int]], None]


class DialError(SandboxError):
    """There is no connection; the message says why. `refused`: nobody listens at that port."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Dialler:
    """Makes connections into one sandbox."""

    def __init__(self, send: Send, *, own_network: bool) -> None:
        """Begin.

        Args:
            send: sends a frame with descriptors to the sandbox's init; raises OSError.
            own_network: the sandbox has a network namespace of its own.
        """
        self._send = send
        self._own_network = own_network
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def dial(self, port: int, *, timeout_s: float = CONNECT_S) -> socket.socket:
        """Return a non-blocking socket connected to the port on the sandbox's loopback.

        127.0.0.1 is tried first, then ::1.

        Raises:
            DialError: nobody listens there, it takes too long, or what came is no such socket.
        """
        try:
            async with asyncio.timeout(timeout_s), self._places:
                return await self._first(port)
        except TimeoutError:
            text = f"port {port} of the sandbox did not answer within {timeout_s:g} s"
            raise DialError(text) from None

    async def _first(self, port: int) -> socket.socket:
        try:
            return await self._connected(port, 4)
        except DialError as error:
            if not error.refused:
                raise
            try:
                return await self._connected(port, 6)
            except DialError:
                raise error from None

    async def _connected(self, port: int, version: int) -> socket.socket:
        sock = await self._asked(port, version)
        try:
            check(sock, version, own_network=self._own_network)
            sock.setblocking(False)
            await _ready(sock, writing=True)
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise _failed(port, code)
            if sock.getpeername()[:2] != (PLACES[version][1], port):
                raise DialError("the sandbox sent a socket that is connected elsewhere")
        except OSError as error:
            sock.close()
            raise _failed(port, error.errno or errno.EIO) from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def _asked(self, port: int, version: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            ours.setblocking(False)
            with theirs:
                try:
                    self._send(wire.encode([wire.DIAL, port, version]), [theirs.fileno()])
                except OSError as error:
                    raise DialError("the sandbox does not listen to the platform") from error
            await _ready(ours)
            return received(ours, port)


def received(way: socket.socket, port: int) -> socket.socket:
    """Return the one socket that a sandbox has sent; whatever comes with it is closed.

    Raises:
        DialError: it sent a reason instead, another number of descriptors, or what is no socket.
    """
    room = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)
    try:
        data, ancillary, flags, _ = way.recvmsg(16, room, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        data, ancillary, flags = b"", [], 0
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    try:
        if data == DIALLED and len(fds) == 1 and not flags & socket.MSG_CTRUNC:
            sock = socket.socket(fileno=fds[0])
            fds.pop()
            return sock
    except OSError as error:
        raise DialError("the sandbox sent something that is no socket") from error
    finally:
        for fd in fds:
            os.close(fd)
    if not data:
        raise DialError("the sandbox ended before it answered")
    if len(data) == 1 and data != DIALLED and not fds:
        raise _failed(port, data[0])
    raise DialError("the sandbox sent something else than one socket")


def check(sock: socket.socket, version: int, *, own_network: bool) -> None:
    """Refuse a socket that is none of TCP, of this family, in the sandbox's network.

    Raises:
        DialError: it is something else.
        OSError: it cannot be asked.
    """

    def option(name: int) -> int:
        return sock.getsockopt(socket.SOL_SOCKET, name)

    wanted = (PLACES[version][0], socket.SOCK_STREAM, socket.IPPROTO_TCP, 0)
    told = (
        option(socket.SO_DOMAIN),
        option(socket.SO_TYPE),
        option(socket.SO_PROTOCOL),
        option(socket.SO_ACCEPTCONN),
    )
    if told != wanted:
        raise DialError("the sandbox sent a socket that is none of TCP")
    network, ours = _network_of(sock), _own_network()
    if network is not None and (network != ours) != own_network:
        raise DialError("the sandbox sent a socket of another network")


def _network_of(sock: socket.socket) -> int | None:
    """Return the kernel's number of the network namespace, None where it does not tell."""
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE.size)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise
    return int(_COOKIE.unpack(told)[0])


@cache
def _own_network() -> int | None:
    with socket.socket() as sock:
        return _network_of(sock)


async def _ready(sock: socket.socket, *, writing: bool = False) -> None:
    """Wait until something can be read, or written."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    )
    fd = sock.fileno()
    add(fd, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        remove(fd)


def _failed(port: int, code: int) -> DialError:
    if code == errno.ECONNREFUSED:
        return DialError(f"nothing listens at port {port} of the sandbox", refused=True)
    return DialError(f"port {port} of the sandbox: {os.strerror(code)}")
