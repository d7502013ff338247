"""The launcher's process, and how it is started.

It takes as long to be ready as the platform to load its own code. So the first can be started
before that: this module imports next to nothing, and keeps the one that was begun for whoever asks
first.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import NamedTuple

_BOOT = Path(__file__).parent / "runtime" / "boot.py"


class Load(Enum):
    """What a launcher has in memory, and each of its sandboxes with it."""

    PRELOADED = "preloaded"  # what functions need, azure-functions included
    PLAIN = "plain"  # what functions need
    PROGRAMS = "programs"  # nothing: what is there costs the exec of a program more than a fork


class LauncherProcess(NamedTuple):
    """A launcher that has been started, and our end of its channel: it ends when that is closed."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


_begun: list[LauncherProcess] = []  # one at most, with azure-functions in memory


def begin() -> None:
    """Start a launcher with azure-functions in memory, for the first that asks for such a one."""
    with contextlib.suppress(OSError):  # who asks tries again, and tells
        _begun.append(_started(Load.PRELOADED))


def begun_or_new(load: Load) -> LauncherProcess:
    """Return the launcher that was begun, if it is such a one, else another.

    Raises:
        OSError: no process can be started.
    """
    return _begun.pop() if load is Load.PRELOADED and _begun else _started(load)


def _started(load: Load) -> LauncherProcess:
    host, guest = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    argv = [sys.executable, "-I", "-S", "-X", "utf8", str(_BOOT), "launcher"]
    argv += [str(guest.fileno()), _package_dir("msgpack"), load.value, *_site_dirs()]
    # An empty environment: no secret of ours is ever in the lineage (sandbox.md T1).
    process = subprocess.Popen(
        argv,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        pass_fds=[guest.fileno()],
        start_new_session=True,
    )
    guest.close()
    return LauncherProcess(process, host)


def _package_dir(name: str) -> str:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent.parent)


def _site_dirs() -> list[str]:
    """Return the folders that hold azure-functions and what it needs."""
    names = ("azure.functions", "werkzeug", "markupsafe")
    dirs = []
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            depth = name.count(".") + 1
            dirs.append(os.fspath(Path(spec.origin).parents[depth]))
    return list(dict.fromkeys(dirs))
