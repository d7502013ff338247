"""Init of one sandbox: trusted, tiny. Starts the one main child, reaps, and ends the whole tree.

Its channel to the host is its life: when the host is gone, so is everything below. It waits
unbound ("spare") until SETUP says what the sandbox is.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import Any, NoReturn

from . import confine, tree, wire, zygote
from .link import Link


def run(fd: int) -> NoReturn:
    """Be the init of a sandbox, in a process just forked from the launcher."""
    try:
        confine.close_except({fd})
        os.setsid()
        confine.name_process("taak-init")
        confine.adopt_orphans()
        _Init(Link(fd)).serve()
    except BaseException as error:
        os.write(2, f"taak-init: {error!r}\n".encode())
    finally:
        tree.kill_all()
        os._exit(0)


class _Init:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._main = -1
        self._is_zygote = False
        self._status: int | None = None  # of the main child, once it is reaped
        self._wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Wait for SETUP, then for commands and deaths, until the tree is to end."""
        poller = select.poll()
        poller.register(self._link, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN)
        alive = True
        while alive:
            ready = {fd for fd, _events in poller.poll()}
            if self._wake_r in ready:
                os.read(self._wake_r, 4096)
                alive = self._reap()
            if alive and self._link.fileno() in ready:
                alive = self._command()

    def _command(self) -> bool:
        received = self._link.receive()
        if received is None:
            return False
        message, fds = received
        if message[0] == wire.SETUP:
            return self._setup(message[1], message[2], fds)
        if message[0] == wire.SIGNAL and self._main > 0:
            self._signal(message[1])
        elif message[0] == wire.KILL_UNDER:
            if message[1] in tree.descendants(os.getpid()):  # the host's pid may be stale
                tree.kill_under(message[1])
        elif message[0] == wire.KILL:
            self._ended(tree.kill_all().get(self._main, self._status))
            return False
        return True

    def _signal(self, number: int) -> None:
        """Signal every process of the tree: a job's shell would keep its children ignorant."""
        tree.signal_all(tree.descendants(os.getpid()), number)

    def _reap(self) -> bool:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self._childless()
            if pid == 0:
                return True
            if pid == self._main:
                self._status = status
                if not self._is_zygote:  # workers outlive their zygote
                    tree.kill_all()
                    self._ended(status)
                    return False

    def _childless(self) -> bool:
        if self._main < 0:
            return True  # a spare has no child yet
        self._ended(self._status)
        return False

    def _ended(self, status: int | None) -> None:
        """Say how the main child ended: an init that goes without this was killed."""
        code = signum = None
        if status is not None and os.WIFSIGNALED(status):
            signum = os.WTERMSIG(status)
        elif status is not None:
            code = os.WEXITSTATUS(status)
        self._link.send(wire.EXITED, code, signum)

    def _setup(self, kind: str, spec: dict[str, Any], fds: list[int]) -> bool:
        self._is_zygote = kind == "zygote"
        start = _start_zygote if self._is_zygote else _start_program
        try:
            self._main = start(spec, fds)
        except _StartError as failure:
            self._link.send(wire.FAILED, *failure.args)
            return False
        finally:
            for fd in fds:
                os.close(fd)
        self._link.send(wire.STARTED, self._main, confine.report())
        return True


class _StartError(Exception):
    """args: step, errno, text."""


def _start_program(spec: dict[str, Any], fds: list[int]) -> int:
    parent = os.getpid()
    # Closed by a successful exec; otherwise the child says in which step it failed.
    status_r, status_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become_program(spec, fds, parent, status_w)
    os.close(status_w)
    with os.fdopen(status_r, "rb") as status:
        failure = status.read()
    if failure:
        os.waitpid(pid, 0)
        step, code, text = wire.unpack(failure)
        raise _StartError(step, code, text)
    return pid


def _become_program(spec: dict[str, Any], fds: list[int], parent: int, status: int) -> NoReturn:
    step = "streams"
    try:
        _take_streams(fds)
        step = "confine"
        confine.apply(spec, parent)
        step = "chdir"
        os.chdir(spec["cwd"])
        step = "exec"
        confine.close_except({status})
        confine.reset_signals()
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        name = spec["argv"][0] if step == "exec" else spec["cwd"]
        os.write(status, wire.pack([step, error.errno, f"{step}: {error.strerror}: {name}"]))
    except BaseException as error:
        os.write(status, wire.pack([step, 0, f"{step}: {error!r}"]))
    os._exit(127)


def _start_zygote(spec: dict[str, Any], fds: list[int]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _take_streams(fds[:2])
            confine.apply(spec, parent)
            channel = fds[2]
            confine.close_except({channel})
            confine.reset_signals()
            signal.set_wakeup_fd(-1)
            os.environ.clear()
            os.environ.update(spec["env"])
            zygote.run(channel)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(1)
    return pid


def _take_streams(fds: list[int]) -> None:
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(fds[0], 1)
    os.dup2(fds[1], 2)
