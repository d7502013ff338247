"""The text of a batch file: how its bytes are read, its lines, its labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import RefusedError

_LABEL = re.compile(r"[\s,;=]*:([^\s:+,;=&|<>()]+)")
#: Not expanded when it is read: what looks like a variable in a comment is none.
_REMARK = re.compile(r"[\s,;=@]*rem(?![^\s,;=])", re.IGNORECASE)


def decode(data: bytes) -> str:
    """Return the text of a file that is UTF-8, or else in the Western code page of Windows."""
    if b"\0" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedError("The file is not text, or is UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


@dataclass(frozen=True, slots=True)
class Source:
    """A batch file in lines, without their ends."""

    path: str
    lines: tuple[str, ...]

    @classmethod
    def read(cls, path: str) -> Source:
        """Read a file; OSError if it cannot be."""
        with open(path, "rb") as file:
            return cls.parse(path, file.read())

    @classmethod
    def parse(cls, path: str, data: bytes) -> Source:
        """Take a file's bytes apart."""
        lines = decode(data).rstrip("\x1a").split("\n")
        return cls(path, tuple(line.removesuffix("\r") for line in lines))

    def find_label(self, label: str, after: int) -> int | None:
        """Return the line behind a label, as cmd looks for it: onwards first, then from the top."""
        count = len(self.lines)
        for index in (*range(after, count), *range(min(after, count))):
            found = _LABEL.match(self.lines[index])
            if found and found[1].lower() == label.lower():
                return int(index) + 1
        return None


def is_label(line: str) -> bool:
    """Tell whether a line is a label or a `::` comment, neither of which runs."""
    return line.lstrip(" \t,;=@").startswith(":")


def is_remark(line: str) -> bool:
    """Tell whether a line is a `rem`."""
    return _REMARK.match(line) is not None
