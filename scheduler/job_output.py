"""What a job's process writes, on its way into a log: bytes to lines.

The sink is called from the drain thread. It never raises and never makes the process wait: what is
beyond a limit is read, counted and left out.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable

from sandbox.output import Stream
from scheduler.journal import Journal
from scheduler.log_line import Level

#: A line without an end is cut here, so that a job cannot fill our memory with one.
LINE_CHARACTERS = 64 * 1024

_LEVELS = {Stream.STDOUT: Level.OUT, Stream.STDERR: Level.ERR}


class JobOutput:
    """The sink of one process's output.

    Attributes:
        last_write: monotonic time of the last output; the idle rule reads it.
    """

    def __init__(
        self, journal: Journal, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.last_write = monotonic()
        self._journal = journal
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._splitters = {stream: _Lines() for stream in Stream}

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take some bytes of the process's output; called from the drain thread."""
        self.last_write = self._monotonic()
        splitter = self._splitters[stream]
        with self._lock:
            lines = splitter.feed(chunk)
            self._journal.output(_LEVELS[stream], lines, continued=splitter.continued)

    def close(self) -> None:
        """Write what stands after the last line end, and the end of what was beyond the limit."""
        with self._lock:
            for stream, splitter in self._splitters.items():
                lines = splitter.end()
                self._journal.output(_LEVELS[stream], lines, continued=splitter.continued)
            self._journal.output_over()


class _Lines:
    r"""Cuts a byte stream into lines at \n, \r\n or a lone \r; pure.

    A \r at the end of a chunk ends its line at once (a progress bar would else stand still), so a
    \n at the head of the next chunk belongs to it and is swallowed.

    Attributes:
        continued: the first of the lines that were returned last goes on the one before it, which
            was too long for one.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._after_return = False
        self._in_line = False
        self.continued = False

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
        self.continued = self._in_line
        if lines:
            self._in_line = False
            if self.continued and not lines[0]:
                del lines[0]  # the end of a line all of which was given is no line of its own
                self.continued = False
        if len(self._partial) > LINE_CHARACTERS:
            self.continued = self._in_line or (self.continued and bool(lines))
            lines.append(self._partial)
            self._partial = ""
            self._in_line = True
        return lines

    def end(self) -> list[str]:
        """Return what stands after the last line end."""
        rest = self._partial + self._decoder.decode(b"", final=True)
        self._partial = ""
        self.continued, self._in_line = self._in_line, False
        return [rest] if rest else []
