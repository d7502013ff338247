"""The segments of a log: files of bounded size whose names say which lines and bytes they hold.

The names are the whole index. `LINE-BYTE.log` holds what begins at that line and at that byte of
the log, so a line is found by bisecting a listing and reading one file of about a megabyte, however
long the log is, and there is no second file that a crash could leave in disagreement. What was
removed shows as a hole between the end of one segment and the name of the next.

Segments are ours alone: no job can reach their folder. The same reading serves a plain file (one of
Kudu's), as a single segment that begins at 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.shared_file import shared_opener

#: A segment is followed by the next when it has become this large.
SEGMENT_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[0-9]{15}-[0-9]{16}\.log")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log; its first line and byte count from the log's beginning."""

    folder: Path
    name: str
    line: int
    byte: int

    @property
    def path(self) -> Path:
        """Return where it is."""
        return self.folder / self.name

    def size(self) -> int:
        """Return its size now; 0 if it is gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes from an offset on; none if the file is gone.

        Raises:
            OSError: it cannot be read, or is not a regular file.
        """
        try:
            with open(self.path, "rb", buffering=0, opener=shared_opener) as file:
                file.seek(offset)
                return file.read(size) or b""
        except FileNotFoundError:
            return b""


def segment(folder: Path, line: int, byte: int) -> Segment:
    """Return the segment that begins there."""
    return Segment(folder, f"{line:015}-{byte:016}.log", line, byte)


def segments_in(folder: Path) -> list[Segment]:
    """Return the segments of a log in their order; none if there is no such folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    # As texts of one length the names sort as their numbers do. A long log has thousands of them,
    # so this is kept cheap: no path is made before it is needed.
    return [
        Segment(folder, name, int(name[:15]), int(name[16:32]))
        for name in sorted(filter(_NAME.fullmatch, names))
    ]


def remove(segments: Iterable[Segment]) -> None:
    """Remove segments; one that is gone already is no failure."""
    for one in segments:
        one.path.unlink(missing_ok=True)
