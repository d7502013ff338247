"""One line of a job's log: how it is written, and how it is read back.

The form is Kudu's (webjobs.md 1.7). Our own segments add what Kudu's files have no place for:
milliseconds, and a `+` behind the level of a line that goes on the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

_STAMP: Final = "%m/%d/%Y %H:%M:%S"
_LINE: Final = re.compile(
    r"\[(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)(?:\.(\d{3}))? > [^\]:]*: "
    r"(INFO|WARN|ERR |SYS INFO|SYS WARN|SYS ERR )(\+?)\] ?(.*)",
    re.DOTALL,
)


class Level(Enum):
    """The words between `>` and `]`; what the platform says is marked SYS."""

    OUT = "INFO"
    ERR = "ERR "
    SYS_INFO = "SYS INFO"
    SYS_WARN = "SYS WARN"
    SYS_ERR = "SYS ERR "

    @property
    def stream(self) -> str:
        """Return who wrote such a line: stdout or stderr of the job, or the system itself."""
        return {"INFO": "stdout", "ERR ": "stderr"}.get(self.value, "system")

    @property
    def word(self) -> str:
        """Return how grave it is: info, warning or error."""
        return {"WARN": "warning", "ERR": "error"}.get(self.value.split()[-1], "info")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line.

    Attributes:
        number: counts the lines of this log from 0; never used twice, also over restarts.
        at: aware UTC; None if the line is not of ours (then `level` is None too).
        continued: it goes on the line before, which was too long for one.
        raw: the line as it stands in the file, without its end.
    """

    number: int
    at: datetime | None
    level: Level | None
    text: str
    continued: bool
    raw: str

    @property
    def stream(self) -> str:
        """Return stdout, stderr or system; empty for a line of somebody else."""
        return self.level.stream if self.level else ""

    def as_json(self) -> dict[str, Any]:
        """Return the line as it stands in `/v1`."""
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if self.at else None
        return {
            "seq": self.number,
            "at": at,
            "stream": self.stream,
            "level": self.level.word if self.level else "",
            "text": self.text,
            "continued": self.continued,
        }


def kudu_block(at: datetime, instance: str, level: Level, lines: Sequence[str]) -> bytes:
    """Return lines as they stand in Kudu's files."""
    return _block(f"[{at:{_STAMP}} > {instance}: {level.value}] ", lines)


def segment_block(
    at: datetime, instance: str, level: Level, lines: Sequence[str], *, continued: bool = False
) -> bytes:
    """Return lines as they stand in our segments; `continued` is said of the first."""
    moment = f"[{at:{_STAMP}}.{at.microsecond // 1000:03} > {instance}: {level.value}"
    if not continued:
        return _block(f"{moment}] ", lines)
    first, *rest = lines
    more = _block(f"{moment}] ", rest) if rest else b""
    return _block(f"{moment}+] ", [first]) + more


def parse_line(number: int, raw: str) -> LogLine:
    """Return the line that stands in a file, whoever wrote it there."""
    found = _LINE.fullmatch(raw)
    if found is None:
        return LogLine(number, None, None, raw, continued=False, raw=raw)
    stamp, millis, level, more, text = found.groups()
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return LogLine(number, None, None, raw, continued=False, raw=raw)
    at = at.replace(microsecond=int(millis or 0) * 1000)
    return LogLine(number, at, Level(level), text, continued=bool(more), raw=raw)


def parse_lines(first: int, data: bytes) -> list[LogLine]:
    """Return the lines of a piece of a file, counted from `first`."""
    pieces = data.decode("utf-8", "replace").split("\n")
    if not pieces[-1]:
        pieces.pop()
    return [parse_line(first + at, raw.removesuffix("\r")) for at, raw in enumerate(pieces)]


def _block(head: str, lines: Sequence[str]) -> bytes:
    # Replacing goes through the text once in C: with one string per line, a chatty job's lines
    # would cost the drain's thread (and the interpreter lock) about twice as much.
    body = "\n".join(lines).replace("\n", f"\r\n{head}")
    return f"{head}{body}\r\n".encode("utf-8", "replace")
