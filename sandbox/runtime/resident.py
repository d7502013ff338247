"""The resident: init's one child. Waits ahead, and becomes a program, a zygote or the self-test.

What does not depend on whom the sandbox is for is done before anybody waits for it: the fork, the
bounding set, the system call filter. What remains are the user, the capabilities, Landlock, exec.
Its socket to init is closed by a successful exec; until then it tells in which step it failed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import confine, selftest, wire
from .link import Link


def run(pair: int, host: Link, parent: int, extra: list[str], *, filtered: bool) -> NoReturn:
    """Be the resident, in a process just forked from init; `pair` is its socket to init."""
    try:
        host.send(wire.HERE)  # so that the kernel tells the host our pid
        confine.close_except({pair})
        os.setsid()
        signal.set_wakeup_fd(-1)
        confine.reset_signals()
        confine.confine_ahead(parent, filtered=filtered)
        _warm()
        _Resident(Link(pair), parent, extra).wait()
    except BaseException as error:  # the boundary of a process: a fork returns to nobody
        os.write(2, f"taak-resident: {error!r}\n".encode())
    finally:
        os._exit(1)


def _warm() -> None:
    """Touch what is walked when somebody waits: each page of it is copied at the first touch."""
    wire.unpack(wire.pack(_SAMPLE))
    confine.warm()


_SAMPLE = [wire.SETUP, "program", {"env": {"A": "b"}, "mounts": [["/a", "/a", False]] * 8}]


class _Resident:
    def __init__(self, link: Link, parent: int, extra: list[str]) -> None:
        self._link = link
        self._parent = parent
        self._extra = extra

    def wait(self) -> None:
        """Become what init says; nothing, if the sandbox is given up."""
        received = self._link.receive()
        if received is None:
            return
        (_setup, kind, spec), fds = received
        _take_streams(fds)
        try:
            layers = confine.confine(spec, self._parent, self._extra)
        except OSError as error:
            self._fail("confine", error, str(error.strerror or error))
            return
        self._link.send(wire.STARTED, layers)
        _BECOME[kind](self, spec, fds, layers)

    def become_program(self, spec: dict[str, Any], _fds: list[int], _layers: object) -> None:
        step, name = "chdir", spec["cwd"]
        try:
            os.chdir(spec["cwd"])
            step, name = "exec", spec["argv"][0]
            confine.close_except({self._link.fileno()})
            os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
        except OSError as error:
            self._fail(step, error, f"{error.strerror}: {name}")

    def become_zygote(self, spec: dict[str, Any], fds: list[int], _layers: object) -> None:
        from . import zygote  # in memory already: only a launcher of programs goes without

        channel = fds[2]
        confine.close_except({channel, self._link.fileno()})
        self._link.close()
        os.environ.clear()
        os.environ.update(spec["env"])
        try:
            zygote.run(channel)
        except BaseException:  # the same; it has run user code
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()

    def become_selftest(self, spec: dict[str, Any], _fds: list[int], layers: Any) -> None:
        """Say on stdout what does not hold, where another sandbox would run user code."""
        confine.close_except({self._link.fileno()})
        wrong = selftest.check(spec, layers)
        os.write(1, wrong.encode())
        os._exit(bool(wrong))

    def _fail(self, step: str, error: OSError, text: str) -> None:
        self._link.send(wire.FAILED, step, error.errno or 0, f"{step}: {text}")


_BECOME: dict[str, Callable[[_Resident, dict[str, Any], list[int], Any], None]] = {
    "program": _Resident.become_program,
    "zygote": _Resident.become_zygote,
    "selftest": _Resident.become_selftest,
}


def _take_streams(fds: list[int]) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(fds[0], 1)
    os.dup2(fds[1], 2)
