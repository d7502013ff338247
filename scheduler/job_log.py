"""A job's log file: the line format of webjobs.md 1.7, whole lines, an end to its growth.

Writing never raises and never waits for a reader: a full disk costs log lines, not the run. Reading
needs nothing of the writer, which may be in another process or long gone. What makes lines of a
process's output is `job_output.py`; following a log is the gateway's.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path

from scheduler.job_folders import short_instance
from scheduler.shared_file import shared_opener

_log = logging.getLogger("taak.jobs")

#: A log that is rotated keeps this much, and as much again in the file before.
ROTATE_BYTES = 1024 * 1024
_BLOCK = 64 * 1024


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


#: Takes the moment, the level and the lines of one write.
Listener = Callable[[datetime, Level, Sequence[str]], None]


class LogFile:
    """A file of log lines.

    With `previous` the file is moved there when it has outgrown ROTATE_BYTES; without, it grows as
    far as its writers let it. `listener` hears of all lines, from whatever thread they come.
    """

    def __init__(
        self,
        path: Path,
        *,
        instance: str,
        now: Callable[[], datetime],
        previous: Path | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.path = path
        self._instance = short_instance(instance)
        self._now = now
        self._previous = previous
        self._listener = listener
        self._lock = threading.Lock()
        self._failed = False

    def info(self, message: str) -> None:
        """Write a line of the platform's."""
        self.append(Level.SYS_INFO, message.splitlines())

    def warning(self, message: str) -> None:
        """Write a warning of the platform's."""
        self.append(Level.SYS_WARN, message.splitlines())

    def error(self, message: str) -> None:
        """Write an error of the platform's."""
        self.append(Level.SYS_ERR, message.splitlines())

    def status(self, word: str) -> None:
        """Write that the status has changed."""
        self.info(f"Status changed to {word}")

    def append(self, level: Level, lines: Sequence[str]) -> None:
        """Write lines with one time stamp and in one go."""
        if not lines:
            return
        now = self._now()
        head = f"[{now:%m/%d/%Y %H:%M:%S} > {self._instance}: {level.value}] "
        block = "".join(f"{head}{line}\r\n" for line in lines)
        with self._lock:
            self._write(block.encode("utf-8", "replace"))
        if self._listener is not None:
            self._listener(now, level, lines)

    def _write(self, block: bytes) -> None:
        # Opened per block: the file may be removed or moved by hand at any time, and a log that
        # goes on in a deleted file is a lost log.
        try:
            self._rotate()
            with open(self.path, "ab", buffering=0, opener=shared_opener) as file:
                file.write(block)
        except FileNotFoundError:
            self._write_in_new_folder(block)
        except OSError as error:
            self._lose(error)
        else:
            self._failed = False

    def _write_in_new_folder(self, block: bytes) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=0, opener=shared_opener) as file:
                file.write(block)
        except OSError as error:
            self._lose(error)

    def _rotate(self) -> None:
        if self._previous is None or not self.path.exists():
            return
        if self.path.stat().st_size > ROTATE_BYTES:
            self.path.replace(self._previous)

    def _lose(self, error: OSError) -> None:
        if not self._failed:
            _log.error("log lines are lost, %s cannot be written: %s", self.path, error)
        self._failed = True


def tail(path: Path, max_lines: int) -> list[str]:
    """Return the last lines of a log; [] if there is none. Reads from the end only."""
    try:
        with open(path, "rb", opener=shared_opener) as file:
            file.seek(_last_lines(file.fileno(), max_lines))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def tail_offset(path: Path, max_lines: int) -> int:
    """Return the byte at which the last lines of a log begin."""
    try:
        with open(path, "rb", opener=shared_opener) as file:
            return _last_lines(file.fileno(), max_lines)
    except FileNotFoundError:
        return 0


def _last_lines(descriptor: int, lines: int) -> int:
    """Return where the last lines begin, reading blocks from the end backwards."""
    end = position = os.fstat(descriptor).st_size
    if lines <= 0 or end == 0:
        return end
    wanted = lines + (os.pread(descriptor, 1, end - 1) == b"\n")  # the last end begins no line
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        chunk = os.pread(descriptor, size, position)
        ends = chunk.count(b"\n")
        if ends >= wanted:
            return position + _nth_last(chunk, wanted) + 1
        wanted -= ends
    return 0


def _nth_last(chunk: bytes, number: int) -> int:
    at = len(chunk)
    for _ in range(number):
        at = chunk.rindex(b"\n", 0, at)
    return at
