"""A job's journal: what it and the platform say about it, in every place where that is read.

One write goes to Kudu's file, to our segments and to the app log stream, under one lock, so that
the order is the same everywhere. Writing never raises and never waits for a reader: a full disk
costs lines, which are counted and told when there is room again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from scheduler.job_folders import short_instance
from scheduler.job_log import LogFile
from scheduler.log_line import Level, segment_block
from scheduler.log_overflow import Overflow
from scheduler.log_writer import SegmentWriter

_log = logging.getLogger("taak.jobs")

#: Takes the moment, the level and the lines of one write.
Listener = Callable[[datetime, Level, Sequence[str]], None]


class Journal:
    """The log of a continuous job, or of one run.

    Args:
        file: as Kudu's tools read it.
        segments: as we read it.
        limit_bytes: of the process's output in the file; what is beyond it is cut in the middle.
        listener: hears of everything; called from any thread.
    """

    def __init__(
        self,
        file: LogFile,
        segments: SegmentWriter,
        *,
        instance: str,
        now: Callable[[], datetime],
        limit_bytes: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.file = file
        self._segments = segments
        self._instance = short_instance(instance)
        self._now = now
        self._overflow = None if limit_bytes is None else Overflow(limit_bytes)
        self._listener = listener
        self._lock = threading.Lock()
        self._lost = 0

    # --- What the platform says

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
        """Write lines that no limit cuts, with one time stamp and in one go."""
        if not lines:
            return
        with self._lock:
            self.file.append(level, lines)
            self._keep(level, lines)

    # --- What its process says

    def output(self, level: Level, lines: Sequence[str], *, continued: bool = False) -> None:
        """Write lines of the process; `continued`: the first goes on the last of this stream."""
        if not lines:
            return
        with self._lock:
            self.file.append(level, self._overflow.take(level, lines) if self._overflow else lines)
            self._keep(level, lines, continued=continued)

    def output_over(self) -> None:
        """Write the end of the output into the file, and how much was left out before it."""
        if self._overflow is None:
            return
        with self._lock:
            rest = self._overflow.rest()
            if rest.lines:
                told = (
                    f"Output was truncated: {rest.lines} lines ({rest.size} bytes) beyond the "
                    f"limit of {self._overflow.limit} bytes for this file were left out. Its end "
                    "follows. `taak runs log` has more."
                )
                self.file.append(Level.SYS_WARN, [told])
            for level, lines in _grouped(rest.end):
                self.file.append(level, lines)

    # --- Our own copy

    def _keep(self, level: Level, lines: Sequence[str], *, continued: bool = False) -> None:
        now = self._now()
        try:
            if self._lost:
                told = f"{self._lost} lines are missing here: they could not be written"
                self._write(now, Level.SYS_WARN, [told])
                self._lost = 0
            self._write(now, level, lines, continued=continued)
        except OSError as error:
            if not self._lost:
                folder = self._segments.folder
                _log.error("log lines are lost, %s cannot be written: %s", folder, error)
            self._lost += len(lines)
        if self._listener is not None:
            self._listener(now, level, lines)

    def _write(
        self, now: datetime, level: Level, lines: Sequence[str], *, continued: bool = False
    ) -> None:
        block = segment_block(now, self._instance, level, lines, continued=continued)
        self._segments.append(block, len(lines))


def _grouped(lines: Sequence[tuple[Level, str]]) -> list[tuple[Level, list[str]]]:
    """Return neighbouring lines of one level together."""
    groups: list[tuple[Level, list[str]]] = []
    for level, line in lines:
        if not groups or groups[-1][0] is not level:
            groups.append((level, []))
        groups[-1][1].append(line)
    return groups
