"""Run a program as a user without any right, when the tests themselves run as root.

The interpreter may lie below a folder that only root may enter (a version manager in root's home).
So the program gets a mount name space of its own, in which each such folder is replaced by an
empty one that anybody may enter, with nothing in it but what the program needs, at its own path.

As a program: `python unprivileged.py UID PROGRAM [ARGUMENT ...]`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

NOBODY = 65534
ROOT = Path(__file__).resolve().parents[2]

_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MS_NOSUID_NODEV = 2 | 4
_OPEN_TREE, _MOVE_MOUNT = 428, 429  # the same on all machines
_AT_FDCWD = -100
_CLONE_RECURSIVE = 1 | 0x8000 | os.O_CLOEXEC
_FROM_DESCRIPTOR = 4

_libc = ctypes.CDLL(None, use_errno=True)


def unprivileged_command(argv: Sequence[str], uid: int = NOBODY) -> list[str]:
    """Return the command that runs `argv` as `uid`; as it is when we are not root.

    The environment is passed on but for HOME. What the program writes to must be writable for the
    user: that is the caller's to see to.
    """
    if os.getuid() != 0:
        return list(argv)
    return [sys.executable, __file__, str(uid), *argv]


def own_mounts() -> None:
    """Enter a mount name space in which nothing that is mounted is seen elsewhere.

    Raises:
        OSError: the caller may not.
    """
    _check(_libc.unshare(_NEWNS), "unshare")
    _mount(None, "/", None, _MS_REC_PRIVATE)


def make_reachable(paths: Iterable[str | Path] = ()) -> None:
    """Let anybody reach the interpreter, the project and `paths`; only after `own_mounts`."""
    wanted = {os.path.realpath(p) for p in (sys.base_prefix, sys.prefix, ROOT, *paths)}
    closed: dict[str, list[str]] = {}
    for path in sorted(wanted):
        if (folder := _closed_parent(path)) is not None:
            closed.setdefault(folder, []).append(path)
    for folder, inside in closed.items():
        _replace(folder, inside)


def _closed_parent(path: str) -> str | None:
    """Return the topmost folder above `path` that others may not enter."""
    for parent in reversed(Path(path).parents):
        if not parent.stat().st_mode & 0o001:
            return str(parent)
    return None


def _replace(folder: str, paths: list[str]) -> None:
    # Held by descriptors meanwhile: so no staging folder is needed that would have to be removed.
    held = [(_open_tree(path), path) for path in paths]
    _mount("none", folder, "tmpfs", _MS_NOSUID_NODEV, "mode=755")
    for fd, path in held:
        os.makedirs(path, mode=0o755, exist_ok=True)
        _check(
            _libc.syscall(
                _MOVE_MOUNT, fd, b"", _AT_FDCWD, path.encode(), ctypes.c_long(_FROM_DESCRIPTOR)
            ),
            f"move_mount {path}",
        )
        os.close(fd)


def _open_tree(path: str) -> int:
    fd = _libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), ctypes.c_long(_CLONE_RECURSIVE))
    return _check(fd, f"open_tree {path}")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str = ""
) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def become(uid: int) -> None:
    """Give up root for good: user, group and groups; HOME goes with them."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.environ["HOME"] = "/"


def main(arguments: list[str]) -> None:
    """Become the user and the program."""
    os.umask(0o022)
    uid, *argv = arguments
    own_mounts()
    make_reachable()
    os.chdir("/" if _closed_parent(os.getcwd()) else os.getcwd())
    become(int(uid))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
