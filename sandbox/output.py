"""Where the output of user code goes: the two streams and the one method a sink has."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Stream(Enum):
    """The two output streams of a process."""

    STDOUT = "stdout"
    STDERR = "stderr"


class OutputSink(Protocol):
    """Takes what a process writes. Called from the drain thread, never from the event loop."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take some bytes; must not raise and must not block for long."""

    def close(self) -> None:
        """Both streams have ended."""
