"""The layers around user code, one function each, in the order in which they are applied.

`init` calls them; each either holds afterwards or raises OSError, so that the report tells the
truth. What stands here now is the "process" level: a session of its own, death with the parent,
no new privileges, resource limits, no inherited descriptors. Namespaces, the read-only tree,
capabilities, Landlock and seccomp join the same list.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)

_RLIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "file_bytes": resource.RLIMIT_FSIZE,
    "address_bytes": resource.RLIMIT_AS,
    "core_bytes": resource.RLIMIT_CORE,
}


def _prctl(option: int, value: int | bytes) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show (15 bytes at most)."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends; closes the race in which it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def forbid_privileges() -> None:
    """Let no later exec gain privileges (set-user-id programs, file capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_resources(limits: dict[str, Any]) -> None:
    """Apply the rlimits that are given; a limit above the hard one is cut to it."""
    for key, kind in _RLIMITS.items():
        wanted = limits.get(key)
        if wanted is None:
            continue
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(kind, (wanted, wanted))


def apply(spec: dict[str, Any], parent: int) -> dict[str, Any]:
    """Put every layer of the "process" level around the calling process.

    Returns what holds now, for the status of the function or run.
    """
    os.umask(0o022)
    limit_resources(spec["limits"])
    forbid_privileges()
    # Last: privilege changes clear it (sandbox.md T11).
    die_with_parent(parent)
    return report()


def report() -> dict[str, Any]:
    """Say what this version puts around user code, and what it does not."""
    return {
        "level": "process",
        "namespaces": [],
        "no_new_privs": True,
        "rlimits": True,
        "landlock_abi": None,
        "seccomp": False,
        "cgroup": "none",
        "memory": "none",
        "tree_kill": "subreaper",
        "degraded_because": "namespaces, Landlock and seccomp are not part of this version",
    }


def reset_signals() -> None:
    """Give the next program the dispositions that it would have under a shell."""
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def close_except(keep: set[int]) -> None:
    """Close every descriptor above stderr that is not in `keep`."""
    low = 3
    for fd in sorted(keep):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, _max_fd())


def _max_fd() -> int:
    try:
        return max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    except OSError:
        return 65536
