"""Looks at a finished sandbox from inside: does what it reports really hold?

Runs once at the start of the platform, in a throw-away sandbox, in the place of user code. Each
check tries something that must fail, or reads what the kernel says of this process.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from . import capabilities, namespaces


def check(spec: dict[str, Any], layers: dict[str, Any]) -> str:
    """Return the first claim that does not hold, in words; empty if all do."""
    status = _status()
    claims: list[tuple[str, bool]] = [
        ("no_new_privs is not set", status.get("NoNewPrivs", "1") == "1"),
        ("capabilities are left", capabilities.current() == 0),
        ("the user is another one", not spec["uid"] or os.geteuid() == spec["uid"]),
        ("user code would run as root", not spec["uid"] or os.geteuid() != 0),
    ]
    if layers["seccomp"]:
        claims.append(("the system call filter does not hold", status.get("Seccomp", "2") == "2"))
        claims.append(("a user namespace can be made", _refused(_new_user_namespace)))
    if "pid" in layers["namespaces"]:
        claims.append(("user code is pid 1", os.getpid() > 1))
    if layers["level"] in ("standard", "strict"):
        claims.append(("the system can be written to", _refused(_write_to_usr)))
        claims.append(("the host's files are there", not os.path.exists("/sys")))
    if layers["network"] == "none":
        claims.append(("there is a way to the network", _is_lonely()))
    return next((words for words, holds in claims if not holds), "")


def _status() -> dict[str, str]:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            pairs = (line.partition(":") for line in file)
            return {name: value.strip() for name, _, value in pairs}
    except OSError:
        return {}  # no /proc inside: reported as such


def _refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
    return False


def _new_user_namespace() -> None:
    namespaces.unshare(0x10000000, "user")


def _write_to_usr() -> None:
    os.rmdir(f"/usr/.taak-{os.getpid()}")  # EROFS or EACCES come before ENOENT


def _is_lonely() -> bool:
    return {name for _, name in socket.if_nameindex()} <= {"lo"}
