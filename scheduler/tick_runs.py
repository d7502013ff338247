"""The runs of functions by their timers: recorded with the tick, closed with the function's end.

A tick and its run are one commit, so a tick that was recorded always shows what became of it: a run
that a kill cut off is found open at the next start and closed as aborted (promises D3, D4), and a
monitored timer runs that tick once more (D2). When a tick is due is not known here.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from scheduler import ticks
from scheduler.clock import Clock
from scheduler.errors import BusyError, UnavailableError
from scheduler.events import DataEvent, Outcome
from scheduler.functions import Function
from scheduler.history import STATE_OF
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.run_ending import insist_on_end
from scheduler.store.port import NewRun, RunFilter, Store


class Invoke(Protocol):
    """`Dispatcher.invoke`, as far as it is used here."""

    def __call__(
        self, function: Function, event: DataEvent, *, trigger: str, run: Run
    ) -> Awaitable[Outcome]:
        """Run the function for a run whose row somebody else keeps."""


class TickRuns:
    """Keeps the rows of timer runs."""

    def __init__(self, store: Store, invoke: Invoke, *, instance: str, clock: Clock) -> None:
        self._store = store
        self._invoke = invoke
        self._instance = instance
        self._clock = clock

    async def record(self, function: Function, due_at: datetime) -> Run | None:
        """Record a tick with its run; None if somebody has recorded the tick before."""
        timer_id = ticks.function_timer(function.name)
        fired = await self._store.fire(timer_id, due_at, run=self._new(function))
        return fired.run if fired else None

    async def record_again(self, function: Function) -> Run | None:
        """Make a further attempt at the newest tick; None if its run has come to its end."""
        where = RunFilter(kind=RunKind.FUNCTION, name=function.name, trigger=ticks.TIMER)
        page = await self._store.query_runs(where, limit=1)
        newest = page.items[0] if page.items else None
        if newest is not None and is_final(newest.state) and newest.state is not RunState.ABORTED:
            return None
        attempt = newest.attempt + 1 if newest else 1
        return await self._store.create_run(self._new(function, attempt))

    async def carry_out(self, run: Run, function: Function, event: DataEvent) -> None:
        """Run the function to its end and record it.

        Raises BusyError and UnavailableError: nothing has run, and the tick may be tried again.
        """
        try:
            outcome = await self._invoke(function, event, trigger=ticks.TIMER, run=run)
        except BusyError:
            raise  # the run goes on: its tick is tried again
        except Exception as error:
            state = RunState.ABORTED if isinstance(error, UnavailableError) else RunState.FAILED
            await self._end(run, state, str(error))
            raise
        await self._end(run, STATE_OF[outcome.ending], outcome.error, outcome.exec_s * 1000)

    async def _end(self, run: Run, state: RunState, reason: str, exec_ms: float = 0.0) -> None:
        now = self._clock.now()
        final = replace(run, state=state, reason=reason, ended_at=now, exec_ms=exec_ms)
        await insist_on_end(self._store, self._clock, final)

    def _new(self, function: Function, attempt: int = 1) -> NewRun:
        now = self._clock.now()
        return NewRun(
            public_id=uuid.uuid4().hex,
            kind=RunKind.FUNCTION,
            name=function.name,
            trigger=ticks.TIMER,
            state=RunState.RUNNING,
            instance=self._instance,
            release=function.bundle.digest,
            created_at=now,
            started_at=now,
            attempt=attempt,
        )
