"""What a job's process writes, on its way into a log: bytes to lines, and the limit of one run.

The sink is called from the drain thread. It never raises and never makes the process wait: what is
beyond the limit is read, counted and left out.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from sandbox.output import Stream
from scheduler.job_log import Level, LogFile

#: Output of one triggered run that is kept.
RUN_BYTES = 10 * 1024 * 1024
#: Of what is beyond the limit, this much of the end is kept: there stands why a run failed.
TAIL_BYTES = 64 * 1024
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
        self._tail = _Tail()
        self._lock = threading.Lock()
        self._splitters = {stream: _Lines() for stream in Stream}

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take some bytes of the process's output; called from the drain thread."""
        self.last_write = self._monotonic()
        with self._lock:
            kept = self._within_limit(chunk)
            self._append(stream, kept)
            if len(kept) < len(chunk):
                self._tail.add(stream, chunk[len(kept) :])

    def close(self) -> None:
        """Write what stands after the last line end, and how much was left out."""
        with self._lock:
            if self._tail:
                self._show_tail()
            self._end_lines()

    def _show_tail(self) -> None:
        tail, self._tail = self._tail, _Tail()
        if tail.dropped:
            self._end_lines()
            self._log.warning(
                f"Output was truncated: {tail.dropped} bytes beyond the limit of "
                f"{self._limit} bytes for one run were left out. Its end follows."
            )
        for stream, chunk in tail.chunks():
            self._append(stream, chunk)

    def _append(self, stream: Stream, chunk: bytes) -> None:
        if chunk:
            self._log.append(_LEVELS[stream], self._splitters[stream].feed(chunk))

    def _end_lines(self) -> None:
        for stream, splitter in self._splitters.items():
            self._log.append(_LEVELS[stream], splitter.end())

    def _within_limit(self, chunk: bytes) -> bytes:
        """Return the part of a chunk that still fits; the process is never made to wait for us."""
        if self._limit is None:
            return chunk
        kept = chunk[: max(0, self._limit - self._kept)]
        self._kept += len(kept)
        return kept


class _Tail:
    """The last bytes of all that came, in the order in which they came.

    Attributes:
        dropped: how many bytes came before them.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._chunks: deque[tuple[Stream, bytes]] = deque()
        self._size = 0
        self._cut: set[Stream] = set()

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, stream: Stream, chunk: bytes) -> None:
        """Take bytes; what is too old goes."""
        self._chunks.append((stream, chunk))
        self._size += len(chunk)
        while (surplus := self._size - TAIL_BYTES) > 0:
            stream, oldest = self._chunks.popleft()
            if len(oldest) > surplus:
                self._chunks.appendleft((stream, oldest[surplus:]))
            gone = min(surplus, len(oldest))
            self._cut.add(stream)
            self._size -= gone
            self.dropped += gone

    def chunks(self) -> Iterator[tuple[Stream, bytes]]:
        """Yield what is kept; of a stream with a gap, from its next line on."""
        for stream, chunk in self._chunks:
            begin = chunk.find(b"\n") + 1 if stream in self._cut else 0
            self._cut.discard(stream)
            yield stream, chunk[begin:]


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
