"""An event loop whose clock jumps to the next timer when there is nothing to do: no case waits."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time; what is reported to its exception handler is kept in `reported`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reported: list[dict[str, Any]] = []
        super().__init__(_Selector(self))
        self.set_exception_handler(lambda _loop, context: self.reported.append(context))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now


class _Selector(selectors.EpollSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "a case waits for what will never come"
            self._loop.now += timeout
        return ready
