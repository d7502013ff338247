"""Writing a log's segments: whole blocks of lines, the next file in time, an end to its growth.

A log may keep its head: then it is the middle that goes, and the newest segments are always there.
After a kill the last segment may end in half a line: it gets its end, and counting goes on from
what the file holds, so that nothing has to be repaired and no number is given twice.
"""

from __future__ import annotations

import errno
from collections import deque
from pathlib import Path

from scheduler.log_segments import SEGMENT_BYTES, Segment, remove, segment, segments_in
from scheduler.shared_file import shared_opener


class SegmentWriter:
    """The one writer of a log; whoever uses it takes care that calls do not overlap.

    Args:
        folder: of this log alone; made when something is written.
        limit_bytes: about how much is kept, in whole segments; more than two of them always are.
        head_bytes: what began before this byte of the log is never removed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        head_bytes: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self._limit = limit_bytes
        self._head = head_bytes
        self._full = min(segment_bytes, max(limit_bytes // 8, 1))
        self._current: Segment | None = None  # None: not opened, or not to be trusted any more
        self._size = 0
        self._line = 0
        self._sizes: deque[tuple[Segment, int]] = deque()  # of those before, without the head
        self._kept = 0

    def append(self, block: bytes, lines: int) -> None:
        """Write a block of so many whole lines.

        Raises:
            OSError: it is not written, or only in part.
        """
        try:
            self._write(block)
        except FileNotFoundError:  # the folder was removed under us, with its job
            self._current = None
            self._write(block)
        self._line += lines
        self._size += len(block)

    def _write(self, block: bytes) -> None:
        if self._current is None:
            self._open()
        elif self._size >= self._full:
            self._begin_next(self._current)
        assert self._current is not None
        current, self._current = self._current, None  # until it is known to be whole
        with open(current.path, "ab", buffering=0, opener=shared_opener) as file:
            written = file.write(block)
        if written != len(block):
            raise OSError(errno.ENOSPC, "only a part was written", str(current.path))
        self._current = current

    def _open(self) -> None:
        """Go on where the log ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        *before, last = segments_in(self.folder) or [segment(self.folder, 0, 0)]
        text = last.read()
        if text and not text.endswith(b"\n"):
            with open(last.path, "ab", buffering=0, opener=shared_opener) as file:
                file.write(b"\r\n")
            text += b"\r\n"
        self._current, self._size = last, len(text)
        self._line = last.line + text.count(b"\n")
        self._sizes.clear()
        self._kept = 0
        for one in before:
            self._note(one, one.size())

    def _begin_next(self, current: Segment) -> None:
        self._note(current, self._size)
        self._current = segment(self.folder, self._line, current.byte + self._size)
        self._size = 0
        while self._kept + self._full > self._limit and len(self._sizes) > 1:
            oldest, size = self._sizes.popleft()
            remove([oldest])
            self._kept -= size

    def _note(self, one: Segment, size: int) -> None:
        self._kept += size
        if one.byte >= self._head:
            self._sizes.append((one, size))
