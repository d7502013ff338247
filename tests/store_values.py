"""Words for tests of the store: a clock that is set, and filled-in runs and work."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.run import RunKind, RunState
from scheduler.store.port import Backoff, EndedCall, NewRun, NewWork

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class SetClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return (self.time - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.move(seconds)
        await asyncio.sleep(0)

    def move(self, seconds: float) -> None:
        """Let the time pass."""
        self.time += timedelta(seconds=seconds)


def new_run(clock: SetClock, **given: Any) -> NewRun:
    """Return a run of a triggered job that is just created."""
    fields: dict[str, Any] = {
        "public_id": "202603011200000001",
        "kind": RunKind.TRIGGERED,
        "name": "report",
        "trigger": "External - test",
        "state": RunState.QUEUED,
        "instance": "here",
        "created_at": clock.now(),
    }
    return NewRun(**(fields | given))


def call(clock: SetClock, **given: Any) -> NewRun:
    """Return a synchronous call that has ended."""
    now = clock.now()
    fields: dict[str, Any] = {
        "public_id": "00000000-0000-4000-8000-000000000001",
        "kind": RunKind.FUNCTION,
        "name": "hello",
        "trigger": "http",
        "state": RunState.SUCCESS,
        "started_at": now,
        "ended_at": now,
        "exec_ms": 1.5,
    }
    return new_run(clock, **(fields | given))


def ended_call(clock: SetClock, **given: Any) -> EndedCall:
    """Return the same in the form of `finish_calls`: 2 ms of waiting, then 1.5 ms at work."""
    fields: dict[str, Any] = {
        "call_id": bytes(range(16)),
        "name": "hello",
        "trigger": "http",
        "release": "r1",
        "state": RunState.SUCCESS,
        "reason": "",
        "ended_at": clock.now().timestamp(),
        "wait_s": 0.002,
        "exec_s": 0.0015,
    }
    return EndedCall(**(fields | given))


def work(function: str = "mail", **given: Any) -> NewWork:
    """Return work whose back-off has no jitter: 1, 2, 4 … seconds."""
    fields: dict[str, Any] = {"payload": b"{}", "backoff": Backoff(jitter=0.0)}
    return NewWork(function=function, **(fields | given))
