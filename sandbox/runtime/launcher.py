"""The launcher: forks an init for every sandbox, and has never seen user code or a secret.

Exec'd once with an empty environment, single-threaded for ever (user namespaces refuse threads),
with the runtime, msgpack and, in "preloaded" mode, azure-functions in memory. What it has run once,
no fork has to load again (performance.md 2).
"""

from __future__ import annotations

import gc
import os
import signal

from . import confine, init, packages, tree, wire, worker, zygote
from .link import Link

__all__ = ["main"]


def main(fd: int, arguments: list[str]) -> None:
    """Serve the host until it closes the channel. arguments: MODE SITE_DIR..."""
    mode, *site_dirs = arguments
    confine.name_process("taak-launcher")
    confine.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # inits are watched by the host, not waited for
    preloaded = _preload(mode, site_dirs)
    gc.collect()
    gc.freeze()
    link = Link(fd)
    link.send(wire.READY, preloaded)
    _serve(link)


def _preload(mode: str, site_dirs: list[str]) -> bool:
    preloaded = False
    if mode == "preloaded":
        preloaded = packages.preload(site_dirs)
    else:
        packages.offer(site_dirs)
    packages.warm()
    zygote.warm()
    worker.warm()
    return preloaded


def _serve(link: Link) -> None:
    inits: set[int] = set()
    while (received := link.receive()) is not None:
        message, fds = received
        if message[0] == wire.SPAWN:
            _spawn(link, message[1], fds, inits)
        elif message[0] == wire.SWEEP:
            _sweep(inits)


def _spawn(link: Link, token: int, fds: list[int], inits: set[int]) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        link.send(wire.SPAWN_FAILED, token, f"fork: {error.strerror}")
        pid = -1
    if pid == 0:
        init.run(fds[0])  # never returns
    for fd in fds:
        os.close(fd)
    if pid > 0:
        inits.add(pid)
        link.send(wire.SPAWNED, token, pid)


def _sweep(inits: set[int]) -> None:
    """End orphans: children of ours that are no init had an init that was killed."""
    mine = set(tree.children(os.getpid()))
    inits &= mine
    for pid in mine - inits:
        tree.kill_under(pid)
