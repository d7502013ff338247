"""New namespaces for a process, by the system calls that Python 3.11 does not have.

The caller must be single-threaded (a user namespace refuses threads) and forks right after `enter`:
the first child is pid 1 of the new pid namespace (sandbox.md T8). Nothing here knows of files.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)

_USER: Final = 0x10000000
_CGROUP: Final = 0x02000000
#: name -> flag of unshare(2), as they are reported. A pid namespace begins with the next child.
FLAGS: Final = {
    "mount": 0x00020000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "net": 0x40000000,
}

#: What a sandbox is made for -> its namespaces. They are entered before it is known for whom.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "closed": ("mount", "pid", "ipc", "uts", "net"),
    "open": ("mount", "pid", "ipc", "uts"),  # on the host's network
    "trusted": ("mount", "pid"),
    "bare": (),
}

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP_RUNNING: Final = 0x41
#: The user inside a user namespace that would otherwise be called root, which it is not.
_INNER_ID: Final = 1000


def unshare(flags: int, what: str) -> None:
    """Leave the namespaces of these flags for new ones; OSError names `what`."""
    if _libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare({what}): {os.strerror(code)}")


def enter(kind: str, *, privileged: bool) -> None:
    """Enter the namespaces of a kind; without privileges inside a user namespace of its own.

    Raises:
        OSError: naming the call that the kernel refused.
    """
    names = KINDS[kind]
    if not names:
        return
    flags = sum(FLAGS[name] for name in names)
    if privileged:
        unshare(flags, ", ".join(names))
        return
    uid, gid = os.geteuid(), os.getegid()
    unshare(_USER | flags, ", ".join(("user", *names)))
    _map_one("setgroups", "deny")
    _map_one("gid_map", f"{gid or _INNER_ID} {gid} 1")
    _map_one("uid_map", f"{uid or _INNER_ID} {uid} 1")


def enter_cgroup() -> None:
    """Make the cgroup of this process the root of what it sees of the hierarchy."""
    unshare(_CGROUP, "cgroup")


def raise_loopback() -> None:
    """Switch on the loopback device of a fresh net namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING)
        try:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, request)
        except OSError as error:
            raise OSError(error.errno, f"loopback device: {error.strerror}") from None


def _map_one(name: str, text: str) -> None:
    # Unbuffered: a file object would swallow the kernel's refusal when it is closed.
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{name}: {error.strerror}") from None
    finally:
        os.close(fd)
