"""What a job's process writes, on its way into a log: bytes to lines, and the limit of one run.

The sink is called from the drain thread. It never raises and never makes the process wait: what is
beyond the limit is read, counted and left out.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable

from sandbox.output import Stream
from scheduler.job_log import Level, LogFile

#: Output of one triggered run that is kept.
RUN_BYTES = 10 * 1024 * 1024
#: A line without an end is cut here, so that a job cannot fill our memory with one.
LINE_CHARACTERS = 64 * 1024

_LEVELS = {Stream.STDOUT: Level.OUT, Stream.STDERR: Level.ERR}


class JobOutput:
    """The sink of one process's output.

    Attributes:
        last_write: monotonic time of the last output; the idle rule reads it.
    """

    def __init__(
        self,
        log: LogFile,
        *,
        limit_bytes: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_write = monotonic()
        self._log = log
        self._limit = limit_bytes
        self._monotonic = monotonic
        self._kept = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self._splitters = {stream: _Lines() for stream in Stream}

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take some bytes of the process's output; called from the drain thread."""
        self.last_write = self._monotonic()
        with self._lock:
            kept = self._within_limit(chunk)
            if kept:
                self._log.append(_LEVELS[stream], self._splitters[stream].feed(kept))

    def close(self) -> None:
        """Write what stands after the last line end, and how much was left out."""
        with self._lock:
            for stream, splitter in self._splitters.items():
                self._log.append(_LEVELS[stream], splitter.end())
            if self._dropped:
                self._log.warning(
                    f"Output was truncated: {self._dropped} bytes beyond the limit of "
                    f"{self._limit} bytes for one run were left out."
                )
                self._dropped = 0

    def _within_limit(self, chunk: bytes) -> bytes:
        """Return the part of a chunk that still fits; the process is never made to wait for us."""
        if self._limit is None:
            return chunk
        kept = chunk[: max(0, self._limit - self._kept)]
        self._kept += len(kept)
        self._dropped += len(chunk) - len(kept)
        return kept


class _Lines:
    r"""Cuts a byte stream into lines at \n, \r\n or a lone \r; pure.

    A \r at the end of a chunk ends its line at once (a progress bar would else stand still), so a
    \n at the head of the next chunk belongs to it and is swallowed.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._after_return = False

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._after_return and text[0] == "\n":
            text = text[1:]
        self._after_return = text.endswith("\r")
        lines = (self._partial + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._partial = lines.pop()
        if len(self._partial) > LINE_CHARACTERS:
            lines.append(self._partial)
            self._partial = ""
        return lines

    def end(self) -> list[str]:
        """Return what stands after the last line end."""
        rest = self._partial + self._decoder.decode(b"", final=True)
        self._partial = ""
        return [rest] if rest else []
