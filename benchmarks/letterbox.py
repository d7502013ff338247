"""A named pipe in a job's data folder: the moment at which a program first does something.

It needs no clock inside and no polling outside, and a program in a sandbox can write to it as one
without can: the data folder is the one place that both see.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

_NAME = "bench.fifo"
_WAIT_S = 20.0


class Letterbox:
    """The reading end. A script writes with `echo WORD > "$WEBJOBS_DATA_PATH/bench.fifo"`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _NAME
        os.mkfifo(self.path)
        self.path.chmod(0o666)  # a sandbox may have a user of its own
        # Also held open for writing: else each writer that leaves would be an end of file.
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Remove the pipe."""
        os.close(self._fd)
        self.path.unlink()

    def forget(self) -> None:
        """Drop what has come so far."""
        while select.select([self._fd], [], [], 0)[0]:
            os.read(self._fd, 4096)

    def word(self) -> tuple[str, float]:
        """Wait for what is written next; return it and when it came (`perf_counter`)."""
        ready, _, _ = select.select([self._fd], [], [], _WAIT_S)
        now = time.perf_counter()
        assert ready, f"nothing was written within {_WAIT_S:g} s"
        return os.read(self._fd, 4096).decode().strip(), now

    def next(self, wanted: str) -> float:
        """Wait until this word comes; return when it came."""
        while True:
            word, now = self.word()
            if wanted in word.split():
                return now
