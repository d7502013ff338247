"""The objects behind sys.stdout, sys.stderr and the root logger of a guest process.

They take what user code writes, line by line and apart for each invocation, and hand it to a
`Capture`. Until there is one, all goes to descriptors 1 and 2. Nothing here raises into user code,
and nothing can be closed by it.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import threading
from typing import Any, Protocol

PIECE = 32 << 10  # characters of one record; a longer line comes in several

_SYSTEM = ("azure.functions", "azure_functions_worker")


class Sink(Protocol):
    """Where records go; stdio.Capture is one."""

    def current(self) -> str:
        """Return the invocation whose output is being written."""

    def emit(
        self, stream: str, level: str, logger: str, text: str, owner: str | None = None
    ) -> None:
        """Take one record."""


class Output(io.TextIOBase):
    """A sys.stdout or sys.stderr that passes on whole lines, each to the call that wrote it."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = f"<{name}>"
        self.mode = "w"
        self.line_buffering = True
        self.write_through = False
        self.sink: Sink | None = None
        self._stream = name
        self._fd = fd
        self._level = "ERROR" if name == "stderr" else "INFO"
        self.partial: dict[str, str] = {}  # an unfinished line for each invocation
        self._lock = threading.RLock()  # re-entrant: a signal handler may print, too
        self._is_fork = False
        self._buffer = OutputBuffer(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Name the encoding as programs expect it."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Say what happens to characters without an encoding: they are shown escaped."""
        return "backslashreplace"

    @property
    def buffer(self) -> OutputBuffer:
        """Return the stream of bytes beneath, which leads to the same place."""
        return self._buffer

    def write(self, text: str, /) -> int:
        """Pass on the complete lines, keep the rest until the line or the call ends."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.sink is None:
            write_raw(self._fd, text)
        else:
            with self._lock:
                self._feed(self.sink, self.sink.current(), text)
        return len(text)

    def _feed(self, sink: Sink, owner: str, text: str) -> None:
        if "\n" not in text and len(text) < PIECE:
            text = self.partial.get(owner, "") + text
            if len(text) < PIECE:
                self.partial[owner] = text
                return
            self.partial.pop(owner, None)
            sink.emit(self._stream, self._level, "", text, owner)
            return
        *lines, rest = (self.partial.pop(owner, "") + text).split("\n")
        for line in lines:
            sink.emit(self._stream, self._level, "", line, owner)
        if rest:
            self.partial[owner] = rest

    def end_line(self, owner: str) -> None:
        """Pass on the unfinished line of a call."""
        if self.partial and (text := self.partial.pop(owner, "")) and self.sink:
            self.sink.emit(self._stream, self._level, "", text, owner)

    def end_all_lines(self) -> None:
        """Pass on every unfinished line: the process ends."""
        for owner in list(self.partial):
            self.end_line(owner)

    def forget(self) -> None:
        """Drop unfinished lines, in a fork: they belong to the parent."""
        self._lock = threading.RLock()
        self.partial = {}
        self._is_fork = True

    def reconfigure(self, **_options: Any) -> None:
        """Accept what programs ask of a text stream; lines leave at once anyway."""

    def flush(self) -> None:
        """Do nothing: complete lines are gone, and an incomplete one waits for its end.

        Only a fork of user code lets it go, because no call ends in it.
        """
        if self._is_fork:
            self.end_all_lines()

    def close(self) -> None:
        """Stay open: a library that closes stdout must not silence the function."""

    def fileno(self) -> int:
        """Return the descriptor for sub-processes; it is a pipe beside this stream."""
        return self._fd

    def isatty(self) -> bool:
        """Tell that nobody sits at a terminal."""
        return False

    def writable(self) -> bool:
        """Tell that this is an output."""
        return True


class OutputBuffer(io.BufferedIOBase):
    """The `buffer` of an Output: bytes in, text on, a character split over two writes included."""

    def __init__(self, text: Output) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    @property
    def raw(self) -> OutputBuffer:
        """Return this stream: there is no other buffer beneath."""
        return self

    def write(self, data: Any, /) -> int:
        """Decode and pass on."""
        size = memoryview(data).nbytes
        self._text.write(self._decoder.decode(bytes(data)))
        return size

    def close(self) -> None:
        """Stay open, as the text stream does: wrappers close their buffer when they are dropped."""

    def fileno(self) -> int:
        """Return the descriptor for sub-processes."""
        return self._text.fileno()

    def isatty(self) -> bool:
        """Tell that nobody sits at a terminal."""
        return False

    def writable(self) -> bool:
        """Tell that this is an output."""
        return True


class RecordHandler(logging.Handler):
    """Turns log records into ours. The message stands alone; exception and stack follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.sink: Sink | None = None
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one log record; a mistake in its arguments is printed, as logging does."""
        try:
            text = self.format(record)
        except Exception:  # the boundary to user code: its arguments make the text
            self.handleError(record)
            return
        if self.sink is None:
            write_raw(2, f"{record.levelname}: {text}\n")
            return
        stream = "system" if record.name.startswith(_SYSTEM) else "log"
        self.sink.emit(stream, record.levelname, record.name, text)


def write_raw(fd: int, text: str) -> None:
    """Write text to a descriptor; a reader that is gone is no error."""
    with contextlib.suppress(OSError):
        os.write(fd, text.encode("utf-8", "backslashreplace"))
