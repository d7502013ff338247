"""What a failure of user code may have to do with its sandbox, for whoever reads the log.

Code that comes from elsewhere meets walls that were not there before; the operating system's words
for them ("Network is unreachable") lead nobody to the setting that opens a door.
"""

from __future__ import annotations

import errno
import re
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
_OTHER_FUNCTION = (
    'Hint: "{name}" is another function of this app, and functions do not see each other\'s '
    "folders. Move what they share into a folder without a function.json, such as shared/, or let "
    'all functions share one sandbox with "taak": {{"isolation": "app"}} in host.json.'
)
_APP = "__app__"
#: `from __app__ import hello`: only Python 3.12 has that name as an attribute.
_NOT_IN_APP = re.compile(rf"cannot import name '(\w+)' from '{_APP}'")
_DEPTH = 8  # of exceptions behind an exception

_network = [""]  # of this process's sandbox; empty before the app is entered
_others = [""]  # names of the functions that are not here, as one text: there may be thousands


def behind(network: str, others: str = "") -> None:
    """Learn what the sandbox's network is, "none", "outbound" or "host", and who is outside."""
    _network[:] = [network]
    _others[:] = [others]


def hint(error: BaseException) -> str:
    """Return a sentence for a failure that the sandbox is the likely cause of; else empty."""
    cause: BaseException | None = error
    for _ in range(_DEPTH):
        if cause is None:
            break
        if isinstance(cause, OSError) and (found := _of(cause)):
            return found
        if isinstance(cause, ImportError) and (name := _other_function(cause)):
            return _OTHER_FUNCTION.format(name=name)
        cause = cause.__cause__ or cause.__context__
    return ""


def _other_function(error: ImportError) -> str:
    """Return the function whose module is missed, if it is one."""
    missed = _NOT_IN_APP.match(str(error))
    steps = [missed[1]] if missed else (error.name or "").removeprefix(f"{_APP}.").split(".")
    return steps[0] if steps[0] in _others[0].split() else ""


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
