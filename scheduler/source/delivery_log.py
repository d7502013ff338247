"""The log of a delivery while it grows: a file for later, and whoever follows it now.

Output of programs comes from the drain's thread; all else from the loop. Bounded: a build that
prints without end loses the middle of its output, never its end.
"""

from __future__ import annotations

import codecs
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from sandbox.output import Stream
from scheduler.clock import Clock
from scheduler.source.record import LogLine

_log = logging.getLogger("taak.deployments")

Listener = Callable[[LogLine], None]
MAX_LINES = 20_000
MAX_CHARACTERS = 4_000
WORDS, WARNING, ERROR = 0, 1, 2


class DeliveryLog:
    """Lines of one delivery. `listener` hears each; it must neither raise nor block."""

    def __init__(self, path: Path, clock: Clock, listener: Listener | None = None) -> None:
        self._path = path
        self._clock = clock
        self._listener = listener or (lambda _: None)
        self._lock = threading.Lock()
        self._lines = 0

    def say(self, text: str, level: int = WORDS) -> None:
        """Add what the platform has to say, line by line."""
        for line in text.splitlines() or [""]:
            self._add(line, level)

    def output(self, line: str) -> None:
        """Add a line that a program has printed; of too many the rest is left out."""
        if self._lines == MAX_LINES:
            self._add(f"(more than {MAX_LINES} lines: the rest is left out)", WARNING)
        elif self._lines < MAX_LINES:
            self._add(line, WORDS)

    def _add(self, text: str, level: int) -> None:
        line = LogLine(self._clock.now(), text[:MAX_CHARACTERS], level)
        with self._lock:
            self._lines += 1
            entry = json.dumps([line.at.isoformat(), level, line.text], ensure_ascii=False)
            try:
                with self._path.open("a", encoding="utf-8", errors="replace") as file:
                    file.write(entry + "\n")
            except OSError as error:  # a full disk costs log lines, not the deployment
                _log.warning("%s: %s", self._path, error)
            self._listener(line)


class ProgramOutput:
    """The sink of one program: its bytes as lines, and its last lines for the reason of a failure.

    Attributes:
        last_write: monotonic time of its last output.
    """

    def __init__(self, tell: Callable[[str], None], clock: Clock) -> None:
        self.last_write = clock.monotonic()
        self.tail: list[str] = []
        self._take = tell
        self._clock = clock
        self._lock = threading.Lock()
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: decoder("replace") for stream in Stream}
        self._open = dict.fromkeys(Stream, "")

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take some bytes; called from the drain's thread."""
        self.last_write = self._clock.monotonic()
        with self._lock:
            text = self._open[stream] + self._decoders[stream].decode(chunk)
            *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            if len(rest) > MAX_CHARACTERS:
                lines, rest = [*lines, rest], ""
            self._open[stream] = rest
            self._tell(lines)

    def close(self) -> None:
        """Take what stands after the last line end."""
        with self._lock:
            self._tell([rest for rest in self._open.values() if rest])
            self._open = dict.fromkeys(Stream, "")

    def abort(self, reason: str) -> None:
        """Add why the program is ended."""
        with self._lock:
            self._tell([reason])

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            self._take(line)
        self.tail = [*self.tail, *filter(str.strip, lines)][-20:]
