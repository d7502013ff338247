"""Attacks over the network: the platform's own ports by every road, and families of sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

from .facts import Facts
from .registry import Stopped, attack, first_reached

_FAST_OPEN = 0x20000000
_MPTCP, _SMC, _SCTP = 262, 256, 132
_AF_SMC = 43
_V4, _V6 = "127.0.0.1", "::1"


def _greeted(facts: Facts, sock: socket.socket) -> None:
    """Take the listener's greeting: the connection is real, and to the host."""
    if sock.recv(256) != facts.token.encode():
        raise Stopped("another listener")


def _connect(
    facts: Facts,
    address: str,
    port: str,
    family: int = socket.AF_INET,
    protocol: int = 0,
) -> str:
    with socket.socket(family, socket.SOCK_STREAM, protocol) as sock:
        sock.settimeout(5)
        sock.connect((address, facts.ports[port]))
        _greeted(facts, sock)
    return f"{address}, {port} port"


@attack
def data_port(facts: Facts) -> str:
    """Connect to the platform's port for functions."""
    return _connect(facts, _V4, "data")


@attack
def management_port(facts: Facts) -> str:
    """Connect to the platform's port for its operators."""
    return _connect(facts, _V4, "management")


@attack
def management_port_v6(facts: Facts) -> str:
    """Connect to the platform's port over IPv6, and over IPv4 written as IPv6."""
    ways = {
        address: partial(_connect, facts, address, "management", socket.AF_INET6)
        for address in (_V6, "::ffff:127.0.0.1")
    }
    return first_reached(ways)


@attack
def management_port_fast_open(facts: Facts) -> str:
    """Connect to the platform's port with the first bytes instead of by connect()."""
    address = (_V4, facts.ports["management"])
    ways: dict[str, Callable[[socket.socket], object]] = {
        "sendto": lambda sock: sock.sendto(b"x", _FAST_OPEN, address),
        "sendmsg": lambda sock: sock.sendmsg([b"x"], [], _FAST_OPEN, address),
    }
    return first_reached({name: partial(_fast_open, facts, way) for name, way in ways.items()})


def _fast_open(facts: Facts, send: Callable[[socket.socket], object]) -> None:
    with socket.socket() as sock:
        send(sock)
        sock.settimeout(5)
        _greeted(facts, sock)


@attack
def management_port_other_protocols(facts: Facts) -> str:
    """Connect to the platform's port by protocols that fall back to TCP."""
    ways = {
        "MPTCP": partial(_connect, facts, _V4, "management", socket.AF_INET, _MPTCP),
        "MPTCP over IPv6": partial(_connect, facts, _V6, "management", socket.AF_INET6, _MPTCP),
        "SMC": partial(_connect, facts, _V4, "management", socket.AF_INET, _SMC),
        "SMC, by family": partial(_connect, facts, _V4, "management", _AF_SMC),
        "SCTP": partial(_connect, facts, _V4, "management", socket.AF_INET, _SCTP),
    }
    return first_reached(ways)


@attack
def udp_service(facts: Facts) -> str:
    """Ask a UDP service of the host."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((_V4, facts.ports["udp"]))  # so that a refusal is heard of
        sock.send(b"?")
        _greeted(facts, sock)
    return "the token"


@attack
def udp_port(facts: Facts) -> str:
    """Take datagrams that are meant for the host."""
    if _is_own_network(facts):
        raise Stopped("the network is the sandbox's own")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((_V4, 0))
        return f"port {sock.getsockname()[1]}"


@attack
def listen_on_host(facts: Facts) -> str:
    """Take connections that are meant for the host."""
    if _is_own_network(facts):
        raise Stopped("the network is the sandbox's own")
    return first_reached({"bind": partial(_listen, bind=True), "no bind": _listen})


def _listen(*, bind: bool = False) -> None:
    with socket.socket() as sock:
        if bind:
            sock.bind((_V4, 0))
        sock.listen()  # without a bind it takes a free port of the kernel's choice


def _is_own_network(facts: Facts) -> bool:
    try:
        return os.readlink("/proc/self/ns/net") != facts.namespaces["net"]
    except OSError:  # without /proc: an interface other than the loopback is the host's
        return len(socket.if_nameindex()) <= 1


@attack
def host_interfaces(facts: Facts) -> str:
    """See the host's network interfaces."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        raise Stopped("only lo")
    return ", ".join(names)


def _opens(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


@attack
def vsock(facts: Facts) -> str:
    """Open a socket to the machine that hosts this one; name spaces do not hold it."""
    _opens(40, socket.SOCK_STREAM)
    return "AF_VSOCK"


@attack
def packet_socket(facts: Facts) -> str:
    """Read all packets of an interface."""
    _opens(17, socket.SOCK_RAW, 0x0300)
    return "AF_PACKET"


@attack
def raw_socket(facts: Facts) -> str:
    """Send packets with any content."""
    ways = {
        "IPv4": partial(_opens, socket.AF_INET, socket.SOCK_RAW, 255),
        "IPv6": partial(_opens, socket.AF_INET6, socket.SOCK_RAW, 255),
    }
    return first_reached(ways)


@attack
def netlink(facts: Facts) -> str:
    """Talk to parts of the kernel other than its routing table, which getaddrinfo asks."""
    kinds = {"SOCK_DIAG": 4, "NETFILTER": 12, "KOBJECT_UEVENT": 15, "GENERIC": 16, "AUDIT": 9}
    ways = {n: partial(_opens, socket.AF_NETLINK, socket.SOCK_RAW, k) for n, k in kinds.items()}
    return first_reached(ways)


@attack
def kernel_crypto(facts: Facts) -> str:
    """Use the kernel's cryptography by sockets."""
    _opens(38, socket.SOCK_SEQPACKET)
    return "AF_ALG"


@attack
def rare_families(facts: Facts) -> str:
    """Open a socket of a family that hardly anybody needs and hardly anybody has looked at."""
    families = {
        "AX25": (3, socket.SOCK_DGRAM), "X25": (9, socket.SOCK_SEQPACKET), "KEY": (15, 3),
        "LLC": (26, socket.SOCK_DGRAM), "CAN": (29, 3), "TIPC": (30, socket.SOCK_SEQPACKET),
        "BLUETOOTH": (31, 3), "RDS": (21, socket.SOCK_SEQPACKET), "PPPOX": (24, 1),
        "IEEE802154": (36, 3), "NFC": (39, 3), "KCM": (41, socket.SOCK_SEQPACKET),
        "QIPCRTR": (42, socket.SOCK_DGRAM), "SMC": (_AF_SMC, 1), "XDP": (44, 3), "MCTP": (45, 2),
    }  # fmt: skip
    return first_reached({n: partial(_opens, *each) for n, each in families.items()})
