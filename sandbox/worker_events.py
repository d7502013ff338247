"""What the owner of a worker is told: the one direction in which a worker speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from sandbox.call import Call
from sandbox.output import Stream

if TYPE_CHECKING:
    from sandbox.worker import Worker


class WorkerEvents(Protocol):
    """What the owner of a worker is told. Called from the loop, unless said otherwise."""

    def ready(self, worker: Worker) -> None:
        """The worker serves; `load_error` says if its code did not load."""

    def replied(self, worker: Worker, call: Call, exec_us: int) -> None:
        """A call has its reply; the worker may take another."""

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        """These calls, asked back by `recall`, never began and may be given to another."""

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        """The worker has ended. These calls never began and may be given to another."""

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        """Bytes on the raw stdout or stderr. From the drain's thread."""

    def output_over(self, worker: Worker, stream: Stream) -> None:
        """What the stream began a line with is all of it. From the drain's thread."""

    def record(self, worker: Worker, record: list[Any]) -> None:
        """One log record of the guest (stdio.py). From the drain's thread."""


class Unclaimed:
    """What is told of a worker that was forked ahead, until somebody claims it: only its end."""

    def __init__(self, on_gone: Callable[[Worker], None]) -> None:
        self._on_gone = on_gone

    def ready(self, worker: Worker) -> None:
        """End it: it speaks before it was asked for what it is to be."""
        worker.kill("it greeted before it was wanted")

    def replied(self, worker: Worker, call: Call, exec_us: int) -> None:
        """It has no call."""

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        """It has no call."""

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        """It is a spare no more."""
        del not_begun
        self._on_gone(worker)

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        """Of no function: what hooks of the fork print before it has one."""

    def output_over(self, worker: Worker, stream: Stream) -> None:
        """Of no function, too."""

    def record(self, worker: Worker, record: list[Any]) -> None:
        """Of no function, too."""
