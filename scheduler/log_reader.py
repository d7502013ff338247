"""Reading a log: from its end, by line, by byte, and on from where one stopped.

A place in a log is a line number with its byte, and each read looks at the folder anew. So a reader
holds no file and no lines, however slow it is, and what retention removed meanwhile is told as a
gap. All of it touches files: call it in a thread, one at a time.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.log_line import LogLine, parse_lines
from scheduler.log_segments import Segment, segments_in

#: Read at once; no line that we write is longer.
BLOCK_BYTES: Final = 512 * 1024
_COARSE_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a log, and the byte at which it begins; both count from the log's beginning."""

    line: int
    byte: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines that were there and are not any more: from `first` to before `end`."""

    first: int
    end: int
    size: int

    def __str__(self) -> str:
        return f"[{self.end - self.first} lines ({self.size} bytes) were removed here]"


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines that stand together.

    Attributes:
        gap: what is missing before them.
        end: where to read on.
    """

    gap: Gap | None
    start: Place
    data: bytes
    end: Place

    def lines(self) -> list[LogLine]:
        """Return the lines."""
        return parse_lines(self.start.line, self.data)


class LogReader:
    """Reads one log, of which somebody else may be the writer.

    Args:
        folder: of its segments; None if it never has any.
        file: Kudu's; it is read when there are no segments.
    """

    def __init__(self, folder: Path | None, file: Path) -> None:
        self._folder = folder
        self._file = file
        self._known: list[Segment] = []
        self._changed = -1

    def segments(self) -> list[Segment]:
        """Return what there is, in order."""
        found = self._listed()
        if found or not self._file.is_file():
            return found
        return [Segment(self._file.parent, self._file.name, 0, 0)]

    def _listed(self) -> list[Segment]:
        """Return the segments; a folder that has not changed for a while is not read again."""
        if self._folder is None:
            return []
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._changed:
            # The clock of files is coarse: what changes right after the listing may bear the same
            # time, so only an older time tells that nothing has changed since.
            is_old = time.time_ns() - changed > _COARSE_NS
            self._changed = changed if is_old else -1
            self._known = segments_in(self._folder)
        return self._known

    def first(self) -> Place:
        """Return the first line that is kept."""
        segments = self.segments()
        return Place(segments[0].line, segments[0].byte) if segments else Place(0, 0)

    def end(self) -> Place:
        """Return where the next line will be."""
        segments = self.segments()
        return _end_of(segments[-1]) if segments else Place(0, 0)

    def tail(self, lines: int) -> Place:
        """Return where the last lines begin, however many gaps are between them."""
        wanted, end = lines, self.end()
        if wanted <= 0:
            return end
        for one in reversed(self.segments()):
            data = one.read()
            count = _count(data)
            if count >= wanted:
                return _after(one, data, count - wanted)
            wanted -= count
        return self.first()

    def at_line(self, number: int) -> Place:
        """Return where a line begins, or the end if it is not there yet.

        The place of one that was removed is in the hole, so that reading from it tells the gap.
        """
        segments = self.segments()
        at = bisect_right(segments, number, key=lambda one: one.line) - 1
        if at < 0:
            return Place(number, 0) if segments else Place(0, 0)
        data = segments[at].read()
        lines = number - segments[at].line
        if lines <= _count(data):
            return _after(segments[at], data, lines)
        end = _end_of(segments[at])
        return end if at + 1 == len(segments) else Place(number, end.byte)

    def read(self, place: Place, *, size: int = BLOCK_BYTES, whole: bool = False) -> Piece:
        """Return the complete lines from a place on, in one block of a segment.

        Args:
            place: of an earlier answer. One behind the end of a log that was begun anew counts as
                its beginning.
            size: about how many bytes; there is always room for one line.
            whole: nothing is written any more: what stands after the last line end is a line.
        """
        segments = self.segments()
        at = bisect_right(segments, place.byte, key=lambda one: one.byte) - 1
        if not segments:
            return Piece(None, place, b"", place)
        if at >= 0:
            one = segments[at]
            length, is_last = one.size(), at + 1 == len(segments)
            if place.byte < one.byte + length:
                return _piece(one, place, size, whole=whole or not is_last)
            if is_last:
                begun_anew = place.byte > one.byte + length
                return (
                    self.read(self.first(), size=size, whole=whole) if begun_anew else _none(place)
                )
        following = segments[at + 1]
        start = Place(following.line, following.byte)
        gap = None
        if start.line > place.line:
            gap = Gap(place.line, start.line, max(start.byte - place.byte, 0))
        piece = _piece(following, start, size, whole=whole or at + 2 < len(segments))
        return Piece(gap, piece.start, piece.data, piece.end)

    def pieces(self, start: Place, end_line: int | None = None) -> Iterator[Piece]:
        """Yield all pieces up to a line, or to what the end was at the beginning."""
        place, last = start, self.end()
        stop = min(end_line, last.line) if end_line is not None else last.line
        while place.line < stop:
            piece = self.read(place, whole=True)
            if not piece.data:
                return
            yield _before(piece, stop)
            place = piece.end

    def extent(self, first: int, end: int) -> tuple[int, int]:
        """Return which bytes of these stand together: from the first that is kept to a hole."""
        begin = stop = end
        for one in self.segments():
            low, high = max(first, one.byte), min(end, one.byte + one.size())
            if low >= high:
                continue
            if begin == end:
                begin = low
            elif one.byte != stop:
                break
            stop = high
        return begin, stop

    def bytes_from(self, first: int, end: int) -> tuple[int, bytes]:
        """Return bytes of the log from the first that is kept at or after `first`.

        At most one block, never beyond a hole or `end`; empty when there are no more.
        """
        for one in self.segments():
            begin = max(first, one.byte)
            if begin >= end:
                break
            if begin < one.byte + one.size():
                return begin, one.read(begin - one.byte, min(end - begin, BLOCK_BYTES))
        return first, b""


def _none(place: Place) -> Piece:
    return Piece(None, place, b"", place)


def _piece(one: Segment, place: Place, size: int, *, whole: bool) -> Piece:
    """Return whole lines of one segment from a place in it."""
    offset = place.byte - one.byte
    data = one.read(offset, size)
    cut = data.rfind(b"\n") + 1
    if len(data) == size and not cut:  # a line longer than this: room for the longest
        data = one.read(offset, max(size, BLOCK_BYTES))
        cut = data.rfind(b"\n") + 1 or len(data)
    elif not whole or len(data) == size:
        data = data[:cut]
    else:
        cut = len(data)
    data = data[:cut]
    return Piece(None, place, data, Place(place.line + _count(data), place.byte + len(data)))


def _before(piece: Piece, stop: int) -> Piece:
    """Return the lines of a piece that stand before a line."""
    surplus = piece.end.line - stop
    if surplus <= 0:
        return piece
    keep = _offset_of(piece.data, stop - piece.start.line)
    end = Place(stop, piece.start.byte + keep)
    return Piece(piece.gap, piece.start, piece.data[:keep], end)


def _end_of(one: Segment) -> Place:
    data = one.read()
    return Place(one.line + _count(data), one.byte + len(data))


def _after(one: Segment, data: bytes, lines: int) -> Place:
    return Place(one.line + lines, one.byte + _offset_of(data, lines))


def _offset_of(data: bytes, lines: int) -> int:
    """Return where a line of a block begins."""
    offset = 0
    for _ in range(lines):
        offset = data.find(b"\n", offset) + 1
        if offset == 0:
            return len(data)
    return offset


def _count(data: bytes) -> int:
    """Return how many lines are in a block, one without an end included."""
    return data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
