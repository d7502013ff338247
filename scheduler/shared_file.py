"""Opening our own files where user code can write too: a job's data folder (webjobs.md 1.5).

A job could put a link to somebody else's file, or a pipe that blocks us, in the place of a log. So
nothing but a regular file is opened there, and no link is followed.
"""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def shared_opener(path: str, flags: int) -> int:
    """Serve as `opener` of open(): the descriptor of a regular file at exactly this path.

    Raises:
        OSError: ELOOP for a link, also in the place of the folder; EINVAL for what is no file.
    """
    if os.path.islink(os.path.dirname(path)):
        raise OSError(errno.ELOOP, "the folder is a symbolic link", path)
    descriptor = os.open(path, flags | _FLAGS, 0o644)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is no regular file", path)
