"""One raw stream of a worker: bytes on their way to the owner, and the end of a line without one.

Lives in the drain's thread. What a subprocess or C code wrote without a line's end is complete when
the call that wrote it has ended, or the stream has. That is looked for now and then while such a
line is open, so that a call costs nothing for it.
"""

from __future__ import annotations

from typing import Protocol

from sandbox.drain import Drain
from sandbox.output import Stream


class RawSource(Protocol):
    """The worker that writes. Called from the drain's thread."""

    @property
    def running(self) -> bytes:
        """Return the id of the one call that runs; empty if there is none, or more than one."""

    def wrote(self, stream: Stream, data: bytes) -> None:
        """Take some bytes."""

    def line_over(self, stream: Stream) -> None:
        """Learn that a line which has begun gets no end any more."""


class RawOutput:
    """Bytes of one stream, and whether a line is open."""

    __slots__ = ("_call", "_drain", "_fresh", "_looking", "_source", "_stream")

    def __init__(self, source: RawSource, stream: Stream, drain: Drain) -> None:
        self._source = source
        self._stream = stream
        self._drain = drain
        self._call = b""  # that ran when there was something to read
        self._fresh = False  # there was something to read since the last look
        self._looking = False

    def read(self, data: bytes) -> None:
        """Take what was read."""
        self._source.wrote(self._stream, data)
        self._call = self._source.running
        self._fresh = True
        if not self._looking and not data.endswith(b"\n"):
            self._looking = True
            self._drain.later(self._look)

    def ended(self) -> None:
        """Learn that every writer has closed the stream."""
        self._source.line_over(self._stream)

    def _look(self) -> None:
        if self._fresh or (self._call and self._call == self._source.running):
            self._fresh = False
            self._drain.later(self._look)
            return
        self._looking = False
        self._source.line_over(self._stream)
