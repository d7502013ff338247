"""The app log stream: what all jobs write, as it comes, to whoever listens just now.

Nothing is kept for those who come later; a log's own files are for that. A batch that a listener
has no room for is counted and left out, so that a slow one costs neither memory nor anybody's time.
Publishing is done from the drain's thread and from the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.log_line import Level

#: Characters that wait for one slow listener.
WAITING_CHARACTERS: Final = 1 << 20
#: Who listens at the same time.
MAX_LISTENERS: Final = 100
_LINE_COST = 64  # what a line takes besides its characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Lines of one job that came together.

    Attributes:
        kind: `continuous` or `triggered`.
        run_id: of a triggered run; empty for a continuous job.
        level: tells the stream too: `level.stream` is stdout, stderr or system.
        aside: it is for those who follow this job alone, not part of the app's log.
        lines: without their ends, never empty.
    """

    at: datetime
    kind: str
    name: str
    run_id: str
    level: Level
    lines: tuple[str, ...]
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many lines came while there was no room for them; it stands where they would."""

    lines: int


class TooManyListenersError(Exception):
    """As many listen already as may. Raised by `LogStream.subscribe`; the gateway answers 503."""


class LogStream:
    """Hands what jobs write to its listeners."""

    def __init__(self, *, max_listeners: int = MAX_LISTENERS) -> None:
        self._max_listeners = max_listeners
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()

    @contextmanager
    def subscribe(
        self,
        wants: Callable[[Batch], bool] = lambda batch: not batch.aside,
        *,
        room: int = WAITING_CHARACTERS,
    ) -> Iterator[Subscription]:
        """Listen while the context lasts, to what one `wants`; call it in the event loop.

        Raises TooManyListenersError.
        """
        subscription = Subscription(asyncio.get_running_loop(), wants, room)
        with self._lock:
            if len(self._subscriptions) >= self._max_listeners:
                raise TooManyListenersError(
                    f"{self._max_listeners} listen to the log stream already, which is the limit"
                )
            self._subscriptions = (*self._subscriptions, subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                others = (known for known in self._subscriptions if known is not subscription)
                self._subscriptions = tuple(others)

    def publish(
        self,
        at: datetime,
        kind: str,
        name: str,
        run_id: str,
        level: Level,
        lines: Sequence[str],
        *,
        aside: bool = False,
    ) -> None:
        """Hand lines on; never waits. From any thread."""
        subscriptions = self._subscriptions  # replaced as a whole, so that it is read without lock
        if not subscriptions or not lines:
            return
        batch = Batch(
            at=at,
            kind=kind,
            name=name,
            run_id=run_id,
            level=level,
            lines=tuple(lines),
            aside=aside,
        )
        size = sum(map(len, batch.lines)) + _LINE_COST * len(batch.lines)
        for subscription in subscriptions:
            if subscription.wants(batch):
                subscription.put(batch, size)


class Subscription:
    """What waits for one listener: iterate over it for batches and, where some are missing, counts.

    It never ends by itself. One task at a time may iterate; a time limit around one step is fine.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wants: Callable[[Batch], bool], room: int
    ) -> None:
        self.wants = wants
        self._loop = loop
        self._room = room
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Batch | Dropped, int]] = deque()
        self._size = 0
        self._there = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Batch | Dropped]:
        return self

    async def __anext__(self) -> Batch | Dropped:
        while True:
            with self._lock:
                if self._waiting:
                    item, size = self._waiting.popleft()
                    self._size -= size
                    return item
                self._there.clear()
            await self._there.wait()

    def put(self, batch: Batch, size: int) -> None:
        """Take a batch if there is room, or if nothing waits; else count it. From any thread."""
        with self._lock:
            was_empty = not self._waiting
            if was_empty or self._size + size <= self._room:
                self._waiting.append((batch, size))
                self._size += size
            else:
                self._count(len(batch.lines))
        if was_empty:
            self._wake()

    def _count(self, lines: int) -> None:
        last, _ = self._waiting[-1]
        if isinstance(last, Dropped):
            self._waiting[-1] = (Dropped(last.lines + lines), 0)
        else:
            self._waiting.append((Dropped(lines), 0))

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._there.set)
        except RuntimeError:  # the loop has ended, and with it whoever listened
            return
