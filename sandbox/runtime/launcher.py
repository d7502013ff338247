"""The launcher: has an init made for every sandbox, and has never seen user code or a secret.

Exec'd once with an empty environment, single-threaded for ever (user namespaces refuse threads),
with the runtime, msgpack and, in "preloaded" mode, azure-functions in memory. What it has run once,
no fork has to load again (performance.md 2).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from typing import Any

from . import capabilities, confine, maker, seccomp, shown, tree, wire
from .link import Link

__all__ = ["main"]

_CLEAN_TRIES = 250
_CLEAN_PAUSE_S = 0.02


def main(fd: int, arguments: list[str]) -> None:
    """Serve the host until it closes the channel. arguments: MODE SITE_DIR..."""
    mode, *site_dirs = arguments
    confine.name_process("taak-launcher")
    confine.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # inits are watched by the host, not waited for
    preloaded = mode != "programs" and _preload(mode, site_dirs)
    if not seccomp.available():
        seccomp.program(os.uname().machine)  # assembled once, for every fork
    # Without a virtual environment around it: that one does not exist in a sandbox.
    sys.executable = os.path.realpath(sys.executable)
    capabilities.set_dumpable(False)
    gc.collect()
    gc.freeze()
    link = Link(fd)
    link.send(wire.READY, preloaded)
    _serve(link, _shown(site_dirs))


def _preload(mode: str, site_dirs: list[str]) -> bool:
    """Load what functions need; a program would only wait until the exec has thrown it away."""
    from . import packages, worker, zygote  # asyncio and all

    preloaded = False
    if mode == "preloaded":
        preloaded = packages.preload(site_dirs)
    else:
        packages.offer(site_dirs)
    packages.warm()
    zygote.warm()
    worker.warm()
    return preloaded


def _shown(site_dirs: list[str]) -> list[str]:
    """Return the trees beside the system's own that every sandbox shows: Python and the library."""
    trees = [sys.base_prefix, os.path.dirname(os.__file__)]
    for folder in site_dirs:
        trees += shown.parts(folder)
    return [path for path in dict.fromkeys(trees) if not path.startswith("/usr/")]


def _serve(link: Link, shown: list[str]) -> None:
    inits: set[int] = set()
    folders: list[str] = []
    while (received := link.receive()) is not None:
        message, fds = received
        if message[0] == wire.SPAWN:
            _spawn(link, message[1:], fds, inits, shown)
        elif message[0] == wire.SWEEP:
            _sweep(inits)
        elif message[0] == wire.AFTERWARDS:
            folders = message[1]
    _clean_up(folders)


def _spawn(
    link: Link, message: list[Any], fds: list[int], inits: set[int], shown: list[str]
) -> None:
    token, kind, privileged, filtered = message
    try:
        pid = maker.make(kind, fds[0], shown, privileged=privileged, filtered=filtered)
    except maker.MakeError as error:
        link.send(wire.SPAWN_FAILED, token, str(error))
    else:
        inits.add(pid)
        link.send(wire.SPAWNED, token, pid)
    finally:
        for fd in fds:
            os.close(fd)


def _sweep(inits: set[int]) -> None:
    """End orphans: children of ours that are no init had an init that was killed."""
    mine = set(tree.children(os.getpid()))
    inits &= mine
    for pid in mine - inits:
        tree.kill_under(pid)


def _clean_up(folders: list[str]) -> None:
    """Remove the cgroups of sandboxes that end with the host: a killed host cannot do it."""
    for _ in range(_CLEAN_TRIES):
        left = 0
        for folder in folders:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    path = os.path.join(folder, name)
                    if os.path.isdir(path):
                        left += not _removed(path)
        if not left:
            break
        time.sleep(_CLEAN_PAUSE_S)
    for folder in folders:
        _removed(folder) and _removed(os.path.dirname(folder))


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
