"""Time as a value that is passed in, so that life cycles of hours are tested in milliseconds.

Two clocks in one: `now` is the wall clock for records and schedules, `monotonic` and `sleep`
measure spans and never jump. Nothing below reads `time` or `datetime.now` itself.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the life cycles need of time."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of the monotonic clock."""


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


async def within(clock: Clock, seconds: float, event: asyncio.Event) -> bool:
    """Wait for the event, but at most so long; tell whether it came."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    async with asyncio.TaskGroup() as group:
        racers = (group.create_task(event.wait()), group.create_task(clock.sleep(seconds)))
        await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for racer in racers:
            racer.cancel()
    return event.is_set()
