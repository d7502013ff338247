"""The zygote: imports the user's module once, after every restriction, and forks workers of it.

From BIND on it runs user code, so the host treats what it says as hostile too. It must be
single-threaded when it forks; a module that starts threads or opens sockets while it is imported
is reported, and the host then asks for workers that import by themselves (sandbox.md T7).
"""

from __future__ import annotations

import gc
import os
import select
from typing import Any

from . import confine, loader, wire, worker
from .link import Link


def warm() -> None:
    """Walk the cold path once in the launcher, so that its pages and imports are there."""
    poller = select.poll()
    read, write = os.pipe()
    poller.register(read, select.POLLIN)
    os.write(write, b"x")
    poller.poll(0)
    os.close(read)
    os.close(write)


def run(fd: int) -> None:
    """Serve the host: one BIND, then FORKs, until the channel closes."""
    confine.name_process("taak-zygote")
    link = Link(fd)
    received = link.receive()
    if received is None:
        return
    _Zygote(link, received[0][1], import_here=received[0][2]).serve()


class _Zygote:
    def __init__(self, link: Link, bind: dict[str, Any], *, import_here: bool) -> None:
        self._link = link
        self._functions = {function["name"]: function for function in bind["functions"]}
        self._entries: dict[str, loader.Entry | loader.LoadError] = {}
        self._workers: dict[int, int] = {}  # pidfd -> pid
        self._poller = select.poll()
        loader.enter(bind)
        if import_here:
            self._import()
        errors = {
            name: list(entry.args) if isinstance(entry, loader.LoadError) else None
            for name, entry in self._entries.items()
        }
        link.send(wire.BOUND, errors, loader.importable_side_effects() if import_here else [])
        self._poller.register(link, select.POLLIN)

    def serve(self) -> None:
        """Fork on request and reap, until the host closes the channel."""
        while True:
            for fd, _events in self._poller.poll():
                if fd in self._workers:
                    self._reap(fd)
                elif not self._command():
                    return

    def _import(self) -> None:
        for name, function in self._functions.items():
            self._entries[name] = load(function)
        gc.collect()
        gc.freeze()

    def _command(self) -> bool:
        received = self._link.receive()
        if received is None:
            return False
        (kind, token, name), fds = received
        assert kind == wire.FORK
        try:
            pid = os.fork()
        except OSError as error:
            self._link.send(wire.FORK_FAILED, token, f"fork: {error.strerror}")
            pid = -1
        if pid == 0:
            self._become_worker(name, fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self._watch(pid)
            self._link.send(wire.FORKED, token, pid)
        return True

    def _become_worker(self, name: str, fds: list[int]) -> None:
        try:
            self._link.close()
            for pidfd in self._workers:
                os.close(pidfd)
            worker.run(fds, self._entry(name) if name else self._entry)
        finally:
            os._exit(1)

    def _entry(self, name: str) -> loader.Entry | loader.LoadError:
        return self._entries.get(name) or load(self._functions[name])

    def _watch(self, pid: int) -> None:
        # A pidfd, not SIGCHLD: user code may replace signal handlers and the wake-up descriptor.
        pidfd = os.pidfd_open(pid)
        self._workers[pidfd] = pid
        self._poller.register(pidfd, select.POLLIN)

    def _reap(self, pidfd: int) -> None:
        pid = self._workers.pop(pidfd)
        self._poller.unregister(pidfd)
        os.close(pidfd)
        try:
            _pid, status = os.waitpid(pid, 0)
        except ChildProcessError:
            return  # user code set SIGCHLD to "ignore" or waited for any child
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self._link.send(wire.WORKER_EXIT, pid, code, signum)


def load(function: dict[str, Any]) -> loader.Entry | loader.LoadError:
    """Return the function's entry, or why there is none."""
    try:
        return loader.load(function)
    except loader.LoadError as error:
        return error
