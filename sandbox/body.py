"""A large body in a file of memory: it lies beside its frame, so that no heap holds it.

A file belongs to the host, which makes it, for requests and for replies alike, and never takes one
from a guest: so there is no descriptor of a guest's to be checked, and none to fill our table. What
a guest can do to the file that it was lent for a reply is to write other bytes; its size is sealed.
Files are read with pread, never mapped.
"""

from __future__ import annotations

import errno
import fcntl
import os

from sandbox.runtime import wire

#: How many there may be at a time: each takes a descriptor, and whoever gets none sends its bytes
#: in the frame, which costs copies and nothing else.
MOST = 128
_SIZED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Body:
    """Bytes in memory that can be handed to another process. Closed with its last reference."""

    __slots__ = ("_fd", "size")
    open = 0  # of all
    LARGE = wire.APART  # bytes from which one is worth it

    def __init__(self) -> None:
        """Begin an empty one.

        Raises:
            OSError: there are too many.
        """
        self._fd = -1
        self.size = 0  # bytes
        if Body.open >= MOST:
            raise OSError(errno.EMFILE, f"{MOST} large bodies are under way")
        self._fd = os.memfd_create("taak-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        Body.open += 1

    @classmethod
    def room(cls, size: int) -> Body:
        """Return one of this size for somebody else to fill; it takes no memory before.

        Raises:
            OSError: there are too many.
        """
        made = cls()
        os.ftruncate(made._fd, size)
        made.size = size
        fcntl.fcntl(made._fd, fcntl.F_ADD_SEALS, _SIZED)
        return made

    def __len__(self) -> int:
        return self.size

    def __del__(self) -> None:
        self.close()

    def append(self, data: bytes) -> None:
        """Write at the end.

        Raises:
            OSError: there is no memory, or it is sealed.
        """
        left = memoryview(data)
        while left:
            done = os.write(self._fd, left)
            self.size += done
            left = left[done:]

    def seal(self) -> None:
        """Let nobody change it any more."""
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SIZED | fcntl.F_SEAL_WRITE)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._fd

    def read(self, at: int, size: int) -> bytes:
        """Return up to so many bytes from `at` on; there are none beyond the end."""
        return os.pread(self._fd, size, at)

    def close(self) -> None:
        """Give the memory up, as far as nobody else has it; also twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            Body.open -= 1
