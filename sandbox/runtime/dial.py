"""A connection into this sandbox for the host: made here, used there.

A socket belongs to the network namespace that made it, in whatever process it is. So init makes it
and gives it away, and needs to know nothing of what is said over it. Nothing here waits: the
connect goes on while the socket travels, and who has it sees how it ends.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

#: IP version -> family and the one address that can be dialled: this namespace's own loopback.
PLACES: Final = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}
#: The byte that goes with a socket; every other one is an errno, and comes alone.
DIALLED: Final = b"\0"


def dial(port: int, version: int, fds: list[int]) -> None:
    """Send a socket that connects to the port, or the reason why there is none, over `fds[0]`."""
    try:
        with socket.socket(fileno=fds.pop(0)) as way:
            _send(way, port, version)
    except (OSError, IndexError):
        pass  # the host has given up waiting
    finally:
        for fd in fds:
            os.close(fd)


def _send(way: socket.socket, port: int, version: int) -> None:
    way.setblocking(False)
    try:
        family, address = PLACES[version]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            code = sock.connect_ex((address, port))
            if code in (0, errno.EINPROGRESS):
                socket.send_fds(way, [DIALLED], [sock.fileno()])
                return
    except OSError as error:
        code = error.errno or errno.EIO
    way.send(bytes([code & 0xFF or errno.EIO]))
