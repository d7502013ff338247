"""Init of one sandbox: trusted, tiny. Builds it, reaps in it, and ends the whole tree.

Its channel to the host is its life: when the host is gone, so is everything below. It waits
unbound ("spare") until SETUP says what the sandbox is, and with it waits its one child, the
resident, that becomes the program or the zygote.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import Any, NoReturn

from . import confine, dial, resident, tree, wire
from .link import Link


def run(fd: int, kind: str, extra: list[str], *, privileged: bool, filtered: bool) -> NoReturn:
    """Be the init of a sandbox, in the first process of its namespaces."""
    try:
        confine.close_except({fd})
        os.setsid()
        confine.name_process("taak-init")
        if kind == "bare":
            confine.adopt_orphans()
        _Init(Link(fd), kind, extra, privileged=privileged, filtered=filtered).serve()
    except BaseException as error:  # the boundary of a process: a fork returns to nobody
        os.write(2, f"taak-init: {error!r}\n".encode())
    finally:
        tree.kill_all()
        os._exit(0)


class _Init:
    def __init__(
        self, link: Link, kind: str, extra: list[str], *, privileged: bool, filtered: bool
    ) -> None:
        self._link = link
        self._is_zygote = False
        self._status: int | None = None  # of the resident, once it is reaped
        self._facts = {"kind": kind, "privileged": privileged, "filtered": filtered}
        self._extra = extra
        self._note = ""
        self._broken: OSError | None = None
        self._wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        try:
            self._note = confine.prepare(kind, extra)
        except OSError as error:
            self._broken = error  # told when somebody wants the sandbox
        self._main = -1
        self._resident: Link

    def _take_resident(self) -> None:
        """Fork the child that waits with us; not before all of us stand in our cgroup."""
        ours, theirs = socket.socketpair()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            filtered = bool(self._facts["filtered"])
            resident.run(theirs.detach(), self._link, parent, self._extra, filtered=filtered)
        theirs.close()
        self._resident, self._main = Link(ours.detach()), pid
        confine.seal(str(self._facts["kind"]))

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
        if message[0] == wire.HELD:
            self._take_resident()
        elif message[0] == wire.SETUP:
            return self._setup(message, fds)
        elif message[0] == wire.SIGNAL:
            self._signal(message[1])
        elif message[0] == wire.KILL_UNDER:
            if message[1] in tree.descendants(os.getpid()):  # the host's pid may be stale
                tree.kill_under(message[1])
        elif message[0] == wire.TIDY:
            self._tidy()
        elif message[0] == wire.DIAL:
            dial.dial(message[1], message[2], fds)
        elif message[0] == wire.KILL:
            self._ended(tree.kill_all().get(self._main, self._status))
            return False
        return True

    def _signal(self, number: int) -> None:
        """Signal every process of the tree: a job's shell would keep its children ignorant."""
        tree.signal_below(number)

    def _tidy(self) -> None:
        """End orphans: as long as the zygote lives, no other child of ours is a worker."""
        if self._is_zygote and self._status is None:
            for pid in tree.children(os.getpid()):
                if pid != self._main:
                    tree.kill_under(pid)

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
            return True  # the resident is still to come
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

    def _setup(self, message: list[Any], fds: list[int]) -> bool:
        _kind, what, spec = message
        self._is_zygote = what == "zygote"
        try:
            if self._broken is not None:
                raise self._broken
            spec |= self._facts
            spec["because"] = spec["because"] or self._note
            confine.build(spec, self._extra)
            self._resident.send_with_fds([wire.SETUP, what, spec], fds)
            confine.enclose(spec)  # while the resident does the same for itself
        except OSError as error:
            text = f"sandbox: {error.strerror or error}"
            self._link.send(wire.FAILED, "sandbox", error.errno or 0, text)
            return False
        finally:
            for fd in fds:
                os.close(fd)
        return self._hear_resident()

    def _hear_resident(self) -> bool:
        """Pass on what the resident says until it has become what it is to be."""
        layers: dict[str, Any] | None = None
        while received := self._resident.receive():
            message, _fds = received
            if message[0] == wire.FAILED:
                self._link.send(*message)
                return False
            layers = message[1]
        self._resident.close()
        if layers is None:
            text = "the process ended while its sandbox was closed around it"
            self._link.send(wire.FAILED, "start", 0, text)
            return False
        self._link.send(wire.STARTED, layers)
        return True
