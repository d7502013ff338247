"""A log file as Kudu's tools read it (webjobs.md 1.7): whole lines, and an end to its growth.

Writing never raises and never waits for a reader: a full disk costs log lines, not the run. What
the platform reads itself are the segments that `journal.py` writes beside it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from scheduler.job_folders import short_instance
from scheduler.log_line import Level, kudu_block
from scheduler.shared_file import shared_opener

_log = logging.getLogger("taak.jobs")

#: A log that is rotated keeps this much, and as much again in the file before.
ROTATE_BYTES = 1024 * 1024


class LogFile:
    """A file of log lines.

    With `previous` the file is moved there when it has outgrown ROTATE_BYTES; without, it grows as
    far as its writers let it.
    """

    def __init__(
        self,
        path: Path,
        *,
        instance: str,
        now: Callable[[], datetime],
        previous: Path | None = None,
    ) -> None:
        self.path = path
        self._instance = short_instance(instance)
        self._now = now
        self._previous = previous
        self._lock = threading.Lock()
        self._failed = False

    def append(self, level: Level, lines: Sequence[str]) -> None:
        """Write lines with one time stamp and in one go."""
        if lines:
            block = kudu_block(self._now(), self._instance, level, lines)
            with self._lock:
                self._write(block)

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
