"""What a failure of user code may have to do with its sandbox, for whoever reads the log.

Code that comes from elsewhere meets walls that were not there before; the operating system's words
for them ("Network is unreachable") lead nobody to the setting that opens a door.
"""

from __future__ import annotations

import errno
import socket

_NO_NETWORK = (
    'Hint: this function has no network, which is the default. Set "taak": {"network": "outbound"} '
    "in its function.json or in host.json."
)
_NO_PORT = (
    'Hint: this function may connect to the TCP ports in "taak": {"ports": [53, 80, 443]} and to '
    "no others, and may not listen."
)
_READ_ONLY = (
    "Hint: the function's files are read-only. /tmp can be written to; it is private and goes with "
    "the sandbox."
)
_DEPTH = 8  # of exceptions behind an exception

_network = [""]  # of this process's sandbox; empty before the app is entered


def behind(network: str) -> None:
    """Learn what the sandbox's network is: "none", "outbound" or "host"."""
    _network[:] = [network]


def hint(error: BaseException) -> str:
    """Return a sentence for a failure that the sandbox is the likely cause of; else empty."""
    cause: BaseException | None = error
    for _ in range(_DEPTH):
        if cause is None:
            break
        if isinstance(cause, OSError) and (found := _of(cause)):
            return found
        cause = cause.__cause__ or cause.__context__
    return ""


def _of(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return _READ_ONLY
    if _network == ["none"] and (
        isinstance(error, socket.gaierror) or error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    ):
        return _NO_NETWORK
    # A file that may not be opened has a name.
    refused = error.errno in (errno.EACCES, errno.EPERM) and error.filename is None
    return _NO_PORT if refused and _network == ["outbound"] else ""
