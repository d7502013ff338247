"""The Range header of a request for a file (RFC 9110, 14). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Who asks for more parts gets the whole: many small parts cost more to frame than they save.
MAX_PARTS = 16
_PART = re.compile(r"(\d{0,18})-(\d{0,18})")


class Part(NamedTuple):
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        """Return what a Content-Range header says of it."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


class UnsatisfiableError(ValueError):
    """No part of the file is asked for: answered with 416."""


def parts(header: str, size: int) -> list[Part]:
    """Return what is asked for of a file of this size; [] is the whole.

    A header that cannot be read counts as none. UnsatisfiableError if all begins behind the end.
    """
    unit, _, text = header.strip().partition("=")
    asked = [part.strip() for part in text.split(",") if part.strip()]
    found = [_PART.fullmatch(part) for part in asked]
    if unit.strip().lower() != "bytes" or not asked or len(asked) > MAX_PARTS:
        return []
    told = [_part(match[1], match[2], size) for match in found if match and match[0] != "-"]
    if len(told) < len(asked) or Part(1, 0) in told:
        return []
    inside = [part for part in told if part.start < part.end]
    if not inside:
        raise UnsatisfiableError(header)
    return inside if sum(part.end - part.start for part in inside) <= 2 * size else []


def _part(first: str, last: str, size: int) -> Part:
    """Return the part, an empty one if it lies behind the end, and (1, 0) if it is no range."""
    if not first:
        length = min(int(last), size)
        return Part(size - length, size)
    start, end = int(first), int(last) + 1 if last else size
    if last and end <= start:
        return Part(1, 0)
    return Part(min(start, size), max(min(start, size), min(end, size)))
