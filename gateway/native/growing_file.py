"""The end of a log that others write, line by line with byte offsets, over a change of files.

It must not know HTTP. Offsets are what a client resumes from; in a new file they start at 0 again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from scheduler.shared_file import shared_opener

#: Read at once; a line longer than this is given in pieces.
BLOCK_BYTES = 256 * 1024


class Line(NamedTuple):
    """A line without its end, and the offset after it."""

    text: str
    end: int


class GrowingFile:
    """Reads what is appended. The file may not exist yet, be emptied, or be moved away."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.offset = offset
        self._path = path
        self._descriptor: int | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def read_lines(self, *, whole: bool = False) -> list[Line]:
        """Return the lines that are complete; with `whole` also what stands after the last end.

        The file is held open, so that the rest of one that was moved away is read before the new
        one that took its place.
        """
        if self._descriptor is None and not self._open():
            return []
        moved = self._was_moved()  # asked first: what is written into it before is then read
        lines = self._take(whole=whole or moved)
        if lines or not moved:
            return lines
        self.close()
        self.offset = 0
        return self.read_lines(whole=whole)

    def _open(self) -> bool:
        try:
            self._descriptor = shared_opener(os.fspath(self._path), os.O_RDONLY)
        except FileNotFoundError:
            return False
        return True

    def _was_moved(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.stat(self._path).st_ino != os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False  # between two files: the new one will come

    def _take(self, *, whole: bool) -> list[Line]:
        assert self._descriptor is not None
        if os.fstat(self._descriptor).st_size < self.offset:
            self.offset = 0  # somebody emptied it, or the client's offset is of an older file
        chunk = os.pread(self._descriptor, BLOCK_BYTES, self.offset)
        full = len(chunk) == BLOCK_BYTES
        cut = chunk.rfind(b"\n") + 1
        # Only a line longer than the block has no end in a full one: it goes out in pieces.
        if (full and cut) or not (full or whole):
            chunk = chunk[:cut]
        return [self._line(piece) for piece in _split(chunk)]

    def _line(self, piece: bytes) -> Line:
        self.offset += len(piece)
        return Line(piece.decode("utf-8", "replace").rstrip("\r\n"), self.offset)


def _split(chunk: bytes) -> list[bytes]:
    """Split behind each line feed only: a lone carriage return is a progress bar's business."""
    pieces = chunk.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    return [*lines, pieces[-1]] if pieces[-1] else lines
