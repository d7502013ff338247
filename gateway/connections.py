"""The open connections of one listener: how many there may be, and how long each may be slow.

Decides and counts; accepts nothing and parses nothing. A Visit goes with a connection from the
accept to its end, through every protocol that serves it. Once in a while all are looked at: each
protocol checks its own times, and a client that does not read what we write is given up here,
since that can still happen when no protocol has a word in it any more.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from gateway.http_limits import HttpLimits, RefusedError
from gateway.metrics import Metrics

_log = logging.getLogger("taak.gateway.connections")
SWEEP_S = 0.5
_TELL_S = 10.0  # between two lines of the log about refusals for one reason
_TCP_INFO_BYTES = 128
_ACKED_AT = 120  # tcpi_bytes_acked of struct tcp_info, linux/tcp.h
#: Reasons that are the operator's business; the others are what strangers send.
_OURS = frozenset({"connections", "address", "descriptors"})


class Owner(Protocol):
    """The protocol that serves a connection now."""

    def check_time(self, now: float) -> None:
        """End the connection if its client is too slow; `now` is the loop's time."""


class Visit:
    """One connection, from its accept to its end."""

    __slots__ = ("_connections", "address", "owner", "stuck", "transport")

    def __init__(self, connections: Connections, address: str) -> None:
        self._connections = connections
        self.address = address
        self.owner: Owner | None = None
        self.transport: asyncio.Transport | None = None
        #: Since when the client has not taken all that was written, and what it had taken then.
        self.stuck: tuple[float, int] | None = None

    def taken(self, owner: Owner, transport: asyncio.Transport) -> None:
        """Note who serves the connection from now on."""
        self.owner = owner
        self.transport = transport

    def end(self) -> None:
        """Give the place back; also twice."""
        self._connections.leave(self)

    def refused(self, refusal: RefusedError) -> None:
        """Count that something this client sent was refused."""
        self._connections.refused(refusal.reason, refusal.text)

    def count(self, status: int) -> None:
        """Count an answer that nobody behind the connection has made."""
        self._connections.count(status)

    def hold(self) -> None:
        """Read no more of what the client sends."""
        if self.transport is not None:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class Farewell(asyncio.Protocol):
    """The last protocol of a refused client: reads and drops what it still sends, for a while.

    Closing with unread bytes would reset the connection and take the answer from the client.
    """

    def __init__(self, visit: Visit, transport: asyncio.Transport, limits: HttpLimits) -> None:
        self._visit = visit
        self._until = asyncio.get_running_loop().time() + limits.linger_s
        self._transport = transport
        visit.taken(self, transport)
        transport.set_protocol(self)
        transport.write_eof()

    def check_time(self, now: float) -> None:
        """End it when it was long enough."""
        if now > self._until:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        del exc
        self._visit.end()


class Connections:
    """All connections of one listener."""

    def __init__(
        self,
        listener: str,
        metrics: Metrics,
        *,
        most: int,
        most_per_address: int = 0,
        limits: HttpLimits | None = None,
        option: str = "--max-connections",
        acked: Callable[[asyncio.Transport], int] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Begin with none.

        Args:
            listener: "data" or "management", for metrics and the log.
            metrics: where refusals are counted and the number of connections is read.
            most: open at once.
            most_per_address: of those; 0 is any number. Clients on this machine are not counted:
                what comes from here is often a proxy for everybody.
            limits: of each connection.
            option: what changes `most`, for the client and the log.
            acked: how many bytes a client has taken, ever.
            clock: seconds; the loop's by default.
        """
        self.listener = listener
        self.limits = limits or HttpLimits()
        self.open: set[Visit] = set()
        self._metrics = metrics
        self._most = most
        self._most_per_address = most_per_address
        self._by_address: Counter[str] = Counter()
        self._option = option
        self._acked = acked or bytes_acked
        self._clock = clock or asyncio.get_running_loop().time
        self._told: dict[str, tuple[float, int]] = {}  # reason: when, and how many since
        metrics.open_connections[listener] = lambda: len(self.open)

    def admit(self, host: str) -> Visit | RefusedError:
        """Return the visit of a client at this address, or the reason why there is no room."""
        if len(self.open) >= self._most:
            text = f"{self._most} connections are open, the most that may be ({self._option})."
            return self._full("connections", text)
        address = counted_address(host) if self._most_per_address else ""
        if address:
            if self._by_address[address] >= self._most_per_address:
                text = (
                    f"{self._most_per_address} connections of this address are open, the most that"
                    " may be (--max-connections-per-address)."
                )
                return self._full("address", text)
            self._by_address[address] += 1
        visit = Visit(self, address)
        self.open.add(visit)
        return visit

    def leave(self, visit: Visit) -> None:
        """Free the place of a visit."""
        if visit not in self.open:
            return
        self.open.discard(visit)
        if visit.address:
            self._by_address[visit.address] -= 1
            if not self._by_address[visit.address]:
                del self._by_address[visit.address]

    def refused(self, reason: str, text: str) -> None:
        """Count a refusal; the log has a line of it now and then, however many there are."""
        self._metrics.count_refusal(self.listener, reason)
        now = self._clock()
        told_at, since = self._told.get(reason, (-_TELL_S, 0))
        if now - told_at < _TELL_S:
            self._told[reason] = (told_at, since + 1)
            return
        self._told[reason] = (now, 0)
        more = f" ({since} more since the last such line)" if since else ""
        level = logging.WARNING if reason in _OURS else logging.INFO
        _log.log(level, "%s listener: refused: %s%s", self.listener, text, more)

    def count(self, status: int) -> None:
        """Count an answer that is no function's and no page's."""
        self._metrics.count_request(self.listener, status)

    async def serve(self) -> None:
        """Look at all connections now and then, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Look at each connection once."""
        now = self._clock()
        for visit in list(self.open):
            if visit.transport is None or visit.owner is None:
                continue  # it was accepted in this very moment
            try:
                self._check_reader(visit, visit.transport, now)
                visit.owner.check_time(now)
            except Exception:  # noqa: BLE001  the boundary of a connection: it ends alone
                _log.exception("%s listener: a connection failed", self.listener)
                visit.transport.abort()

    def _check_reader(self, visit: Visit, transport: asyncio.Transport, now: float) -> None:
        """Give up a client that does not read: what it was sent lies in our memory."""
        if not transport.get_write_buffer_size():
            visit.stuck = None
            return
        acked = self._acked(transport)
        if visit.stuck is None:
            visit.stuck = (now, acked)
            return
        since, acked_then = visit.stuck
        if self.limits.is_crawl(now - since, acked - acked_then):
            transport.abort()
            text = f"A client read too little of its answer for {self.limits.body_s:g} s"
            self.refused("slow-reader", f"{text} (--body-timeout-s).")
        elif now - since > self.limits.body_s:
            visit.stuck = (now, acked)

    def _full(self, reason: str, text: str) -> RefusedError:
        self.refused(reason, text)
        return RefusedError(503, reason, text)


def counted_address(host: str) -> str:
    """Return what one client is counted under, "" for this machine.

    A machine with IPv6 usually has 2**64 addresses, so that the network is what is counted.
    """
    if host.startswith("127.") or host in ("::1", ""):
        return ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    mapped = address.ipv4_mapped
    if mapped is not None:
        return counted_address(str(mapped))
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def bytes_acked(transport: asyncio.Transport) -> int:
    """Return how many bytes the client's machine has confirmed (tcp(7), TCP_INFO).

    What is left in our buffer does not tell: a stream fills it again as fast as it is read.
    """
    sock = transport.get_extra_info("socket")
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0  # it is closed
    return int(struct.unpack_from("=Q", info, _ACKED_AT)[0])
