"""What stands around a host handle in a case: a sandbox, a drain, an owner, calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from sandbox.call import Call, Result
from sandbox.output import Stream
from sandbox.spec import Exit
from sandbox.tree import TreeState
from sandbox.worker import Worker

from .case import Case


class FakeTree:
    """A sandbox that only notes what is asked of it."""

    def __init__(self) -> None:
        self.state = TreeState.RUNNING
        self.layers: dict[str, Any] = {}
        self.main_pid = 1
        self.memory_bytes = 0
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.killed = False

    def kill(self) -> None:
        """Note that the whole sandbox is to end."""
        self.killed = True

    def kill_under(self, pid: int) -> None:
        """Note the end of a process."""
        assert type(pid) is int, "a kill of what is no pid"

    def starved(self) -> bool:
        """Tell that there was memory enough."""
        return False

    def tidy(self) -> None:
        """Take no notice."""

    def end(self) -> None:
        """Be gone."""
        self.state = TreeState.GONE
        if not self.ended.done():
            self.ended.set_result(Exit(None, 9))


class FakeDrain:
    """Owner of descriptors that nobody reads."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def attach(self, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Take a descriptor."""
        del on_data, on_end
        self._fds.append(fd)

    def close(self) -> None:
        """Close them all."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


class CountedCall(Call):
    """A call that counts its ends."""

    __slots__ = ("ends", "handed_back")

    def __init__(self, call_id: bytes, frame: bytes, now: float) -> None:
        super().__init__(call_id, frame, now)
        self.ends: list[Result] = []
        self.handed_back = 0

    def ended(self, result: Result) -> None:
        """Keep the result."""
        self.ends.append(result)

    @property
    def outcomes(self) -> int:
        """Return how often the owner was told what became of the call."""
        return len(self.ends) + self.handed_back


class Owner:
    """The pool's place: takes the worker when it is ready, and what it hands back."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.is_ready = 0
        self.is_gone = 0
        self.answered: list[int] = []  # numbers of calls, in the order of their replies

    def ready(self, worker: Worker) -> None:
        """Claim the worker."""
        self.is_ready += 1
        assert not self.is_gone, "ready after its end"
        worker.take()

    def replied(self, worker: Worker, call: Call, exec_us: int) -> None:
        """Check what the owner adds up."""
        assert not self.is_gone, "a reply after the end"
        assert 0 <= exec_us < 1 << 50, "a time that nobody can store"
        self.answered.append(call.number)
        self._case.saw("reply")

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        """Take calls back."""
        assert not self.is_gone, "calls come back after the end"
        self._take(calls)

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        """Take the worker's end, once."""
        self.is_gone += 1
        self._take(not_begun)

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        """Take no notice."""

    def output_over(self, worker: Worker, stream: Stream) -> None:
        """Take no notice."""

    def record(self, worker: Worker, record: list[Any]) -> None:
        """Take no notice."""

    def _take(self, calls: list[Call]) -> None:
        for call in calls:
            assert isinstance(call, CountedCall)
            call.handed_back += 1
            self._case.saw("call handed back")
