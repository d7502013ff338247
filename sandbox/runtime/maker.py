"""The maker: a short-lived process that steps into new namespaces and leaves an init in them.

A process cannot become pid 1 of a new pid namespace, only its next child can. So the launcher forks
a maker, the maker unshares and forks the init, tells the launcher its pid, and is gone; the init is
the launcher's child from then on, since the launcher adopts orphans.
"""

from __future__ import annotations

import contextlib
import os
from typing import NoReturn

from . import capabilities, init, namespaces


class MakeError(Exception):
    """No init came to be; the text names the step."""


def make(kind: str, fd: int, extra: list[str], *, privileged: bool, filtered: bool) -> int:
    """Return the pid of a new init, in the caller's pid namespace, that serves the channel `fd`.

    Raises:
        MakeError: the kernel refused a fork or a namespace.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        maker = os.fork()
    except OSError as error:
        os.close(told)
        os.close(tell)
        raise MakeError(f"fork: {error.strerror}") from error
    if maker == 0:
        _leave_init(kind, fd, extra, tell, privileged=privileged, filtered=filtered)
    os.close(tell)
    said = os.read(told, 4096).decode()
    os.close(told)
    with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: it has reaped itself
        os.waitpid(maker, 0)  # short: and no second maker while one is under way
    if not said.isdigit():
        raise MakeError(said or "the process that makes namespaces ended without a word")
    return int(said)


def _leave_init(
    kind: str, fd: int, extra: list[str], tell: int, *, privileged: bool, filtered: bool
) -> NoReturn:
    try:
        if not privileged:
            capabilities.set_dumpable(True)  # or the map files of the new user namespace are root's
        namespaces.enter(kind, privileged=privileged)
        pid = os.fork()
        if pid == 0:
            init.run(fd, kind, extra, privileged=privileged, filtered=filtered)  # never returns
        os.write(tell, str(pid).encode())
    except OSError as error:
        os.write(tell, (error.strerror or repr(error)).encode())
    finally:
        os._exit(0)
