"""The kernel's cgroup file interface: small files that are read and written whole, and folders.

Everything about cgroups goes through one value of this class, so that the rules (who may write
where, what is busy) can be played by a fake. No descriptor outlives a call.
"""

from __future__ import annotations

import os
from pathlib import Path

_READ_BYTES = 1 << 16


class CgroupFiles:
    """The real files. A method blocks for microseconds, and raises OSError as the kernel says."""

    def read(self, path: Path) -> str:
        """Return all that a control file says."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(descriptor, _READ_BYTES):
                chunks.append(chunk)
        finally:
            os.close(descriptor)
        return b"".join(chunks).decode("ascii", "replace")

    def write(self, path: Path, text: str) -> None:
        """Write a control file in one call, as the kernel wants it; never creates the file."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def make(self, path: Path) -> None:
        """Make one cgroup; its control files appear with it."""
        os.mkdir(path)

    def remove(self, path: Path) -> None:
        """Remove one cgroup; OSError EBUSY while it holds a process or another cgroup."""
        os.rmdir(path)

    def below(self, path: Path) -> list[Path]:
        """Return the cgroups directly below one; none if it is gone."""
        try:
            with os.scandir(path) as entries:
                return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
