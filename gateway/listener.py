"""A listening socket: accepts connections while there is room, and tells the others so.

The accept loop is our own since uvloop's stands in the way of both. Without descriptors it closes
waiting clients without a word; and when it cannot reopen its spare descriptor then, it closes the
listening socket itself, without a word again. Here a client that finds no room gets a 503 in one
line, and a platform without descriptors pauses, keeps its socket and goes on when there are some.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from gateway import reply
from gateway.connections import Connections, Visit
from gateway.http_limits import RefusedError

_log = logging.getLogger("taak.gateway.connections")
_BATCH = 64  # accepted in one turn of the loop, so that those who are here get theirs
_PAUSE_S = 0.1  # without descriptors; the clients wait in the backlog
_LEAVING_S = 1.0  # a refused client may read its answer for so long
_MAX_LEAVING = 64
_RETRY_AFTER_S = 5
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: The client has left again, or a firewall forbids it (accept(2)): the next one may do better.
_PASSING = frozenset(
    {
        errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT,
        errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH,
    }
)  # fmt: skip

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Listener:
    """Takes the connections of one socket."""

    def __init__(
        self,
        sock: socket.socket,
        connections: Connections,
        protocol: Callable[[Visit], asyncio.Protocol],
        spawn: Spawn,
    ) -> None:
        """Prepare to listen.

        Args:
            sock: is listening already; it is closed by `close`.
            connections: who may come in.
            protocol: makes what serves a new connection; it tells the visit when it ends.
            spawn: runs a short coroutine in the owner's task group.
        """
        self._sock = sock
        self._connections = connections
        self._protocol = protocol
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._leaving: deque[socket.socket] = deque()
        self._spare = _spare_descriptor()
        self._resume: asyncio.TimerHandle | None = None
        self._open = False

    def open(self) -> None:
        """Begin to accept."""
        self._sock.setblocking(False)
        self._open = True
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more, and close the socket; the connections go on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock.fileno())
        if self._resume is not None:
            self._resume.cancel()
        self._sock.close()
        while self._leaving:
            self._part()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self) -> None:
        for _ in range(_BATCH):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                self._overloaded(error)
                return
            self._admit(sock, str(address[0]))

    def _admit(self, sock: socket.socket, host: str) -> None:
        visit = self._connections.admit(host)
        sock.setblocking(False)
        if isinstance(visit, RefusedError):
            self._refuse(sock, visit)
        else:
            self._spawn(self._take(sock, visit))

    async def _take(self, sock: socket.socket, visit: Visit) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._protocol(visit), sock)
        except Exception:  # noqa: BLE001  the boundary of a connection: it must not end the others
            _log.exception("%s listener: a connection failed", self._connections.listener)
            visit.end()
            sock.close()

    # -- no room

    def _refuse(self, sock: socket.socket, refusal: RefusedError) -> None:
        """Answer without having read; closed only a little later, so that the answer is read."""
        _tell(sock, refusal)
        self._leaving.append(sock)
        if len(self._leaving) > _MAX_LEAVING:
            self._part()
        else:  # so that there is a timer for each that leaves
            self._loop.call_later(_LEAVING_S, self._part)

    def _part(self) -> None:
        if self._leaving:
            self._leaving.popleft().close()

    def _overloaded(self, error: OSError) -> None:
        """Pause: asked again at once, accept would fail again at once, for ever."""
        text = os.strerror(error.errno or 0)
        if error.errno in _NO_RESOURCES:
            text = f"{text}; raise the limit with `ulimit -n` or LimitNOFILE="
            self._turn_away(RefusedError(503, "descriptors", f"No connection is possible: {text}."))
        self._connections.refused("descriptors", text)
        self._loop.remove_reader(self._sock.fileno())
        self._resume = self._loop.call_later(_PAUSE_S, self._again)

    def _turn_away(self, refusal: RefusedError) -> None:
        """Give the spare descriptor to those who wait, one after the other."""
        for _ in range(_BATCH):
            if self._spare >= 0:
                os.close(self._spare)
                self._spare = -1
            try:
                sock, _address = self._sock.accept()
            except OSError:
                break  # nobody waits any more, or another thread was faster
            sock.setblocking(False)
            _tell(sock, refusal)
            with contextlib.suppress(OSError):
                sock.recv(1 << 16)  # unread bytes would turn the close into a reset
            sock.close()
            self._spare = _spare_descriptor()
        if self._spare < 0:
            self._spare = _spare_descriptor()

    def _again(self) -> None:
        self._resume = None
        if self._open:
            self._loop.add_reader(self._sock.fileno(), self._accept)


def _tell(sock: socket.socket, refusal: RefusedError) -> None:
    headers = (("Retry-After", str(_RETRY_AFTER_S)),)
    answer = reply.plain(refusal.status, f"{refusal.text}\n", headers)
    with contextlib.suppress(OSError):  # it has left already
        sock.send(answer.encode("GET", keep_alive=False))
        sock.shutdown(socket.SHUT_WR)


def _spare_descriptor() -> int:
    """Return a descriptor that can be given up for a client, -1 if there is none."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
