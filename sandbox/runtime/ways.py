"""Ways to what a sandbox's user may read, through folders that only root may enter.

A trusted sandbox sees the host's tree, under a user of its own. If Python or the app lies below a
closed folder (root's home, usually), that folder is covered with an empty one, open to all, in
which only what is needed appears. Nobody loses anything: the user could not have entered it.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_SYS_OPEN_TREE: Final = 428  # the same everywhere
_SYS_MOVE_MOUNT: Final = 429
_AT_FDCWD: Final = -100
_CLONE_RECURSIVE: Final = 1 | 0x8000 | os.O_CLOEXEC
_FROM_DESCRIPTOR: Final = 4
_NOSUID_NODEV: Final = 2 | 4


def open_ways(paths: Iterable[str]) -> None:
    """Make these reachable for everybody; runs as root in a mount namespace of its own.

    Raises:
        OSError: naming the path.
    """
    closed: dict[str, list[str]] = {}
    for path in sorted({os.path.realpath(path) for path in paths if os.path.exists(path)}):
        folder = _closed_folder(path)
        if folder and not any(path.startswith(f"{shown}/") for shown in closed.get(folder, ())):
            closed.setdefault(folder, []).append(path)
    for folder, shown in closed.items():
        _cover(folder, shown)


def _closed_folder(path: str) -> str:
    """Return the first folder on the way that others may not enter; empty if there is none."""
    steps = path.split("/")[1:-1]
    for end in range(1, len(steps) + 1):
        folder = "/" + "/".join(steps[:end])
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            return folder
    return ""


def _cover(folder: str, shown: list[str]) -> None:
    trees = [(path, os.path.isdir(path), _cloned(path)) for path in shown]
    options = b"mode=755,size=1m"
    if (
        _libc.mount(b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(_NOSUID_NODEV), options)
        != 0
    ):
        raise _failed("mount", folder)
    for path, is_folder, tree in trees:
        os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
        if not is_folder:
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o644))
        _call("move_mount", path, _SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _FROM_DESCRIPTOR)
        os.close(tree)


def _cloned(path: str) -> int:
    return _call("open_tree", path, _SYS_OPEN_TREE, _AT_FDCWD, path, _CLONE_RECURSIVE)


def _call(name: str, path: str, number: int, *arguments: int | str | bytes) -> int:
    wide = [
        ctypes.c_long(each)
        if isinstance(each, int)
        else ctypes.c_char_p(each.encode() if isinstance(each, str) else each)
        for each in arguments
    ]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise _failed(name, path)
    return result


def _failed(name: str, path: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{name}({path}): {os.strerror(code)}")
