"""Runs of functions that are recorded before they begin: ticks of timers, orders of operators.

A tick and its run are one commit, so a tick that was recorded always shows what became of it: a run
that a kill cut off is found open at the next start and closed as aborted (promises D3, D4), and a
monitored timer runs that tick once more (D2). An order is accepted when its run is recorded (D1),
and runs at most once. Synchronous calls are none of this: their rows follow them (`history.py`).
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
from scheduler.events import Event, Outcome
from scheduler.functions import Function
from scheduler.history import STATE_OF
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.run_ending import insist_on_end
from scheduler.store.port import NewRun, RunFilter, Store

#: The end of an operator's run is offered to the store for so long; then the next start closes it.
PATIENCE_S = 60.0


class Invoke(Protocol):
    """`Dispatcher.invoke`, as far as it is used here."""

    def __call__(
        self, function: Function, event: Event, *, trigger: str, run: Run
    ) -> Awaitable[Outcome]:
        """Run the function for a run whose row somebody else keeps."""


class FunctionRuns:
    """Keeps the rows of such runs."""

    def __init__(self, store: Store, invoke: Invoke, *, instance: str, clock: Clock) -> None:
        self._store = store
        self._invoke = invoke
        self._instance = instance
        self._clock = clock

    async def begin_tick(self, function: Function, due_at: datetime) -> Run | None:
        """Record a tick with its run; None if somebody has recorded the tick before."""
        timer_id = ticks.function_timer(function.name)
        fired = await self._store.fire(timer_id, due_at, run=self._new(function, ticks.TIMER))
        return fired.run if fired else None

    async def begin_again(self, function: Function) -> Run | None:
        """Make a further attempt at the newest tick; None if its run has come to its end."""
        where = RunFilter(kind=RunKind.FUNCTION, name=function.name, trigger=ticks.TIMER)
        page = await self._store.query_runs(where, limit=1)
        newest = page.items[0] if page.items else None
        if newest is not None and is_final(newest.state) and newest.state is not RunState.ABORTED:
            return None
        attempt = newest.attempt + 1 if newest else 1
        return await self._store.create_run(self._new(function, ticks.TIMER, attempt))

    async def begin(self, function: Function, trigger: str) -> Run:
        """Accept an order: it is durable when this returns."""
        return await self._store.create_run(self._new(function, trigger))

    async def carry_out_tick(self, run: Run, function: Function, event: Event) -> None:
        """Run the function to its end and record it.

        Raises BusyError and UnavailableError: nothing has run, and the tick may be tried again.
        """
        try:
            outcome = await self._invoke(function, event, trigger=run.trigger, run=run)
        except BusyError:
            raise  # the run stays open: its tick is tried again
        except Exception as error:  # the boundary of a run: its row has an end, whatever it was
            await self._end(run, _state_of(error), str(error))
            raise
        await self._end(run, STATE_OF[outcome.ending], outcome.error, outcome.exec_s)

    async def carry_out(self, run: Run, function: Function, event: Event) -> Outcome:
        """Run the function to its end, record it, and return or raise how it ended."""
        try:
            outcome = await self._invoke(function, event, trigger=run.trigger, run=run)
        except Exception as error:  # as above
            await self._end(run, _state_of(error), str(error), patience_s=PATIENCE_S)
            raise
        state, reason = STATE_OF[outcome.ending], outcome.error
        await self._end(run, state, reason, outcome.exec_s, patience_s=PATIENCE_S)
        return outcome

    async def _end(
        self,
        run: Run,
        state: RunState,
        reason: str,
        exec_s: float = 0.0,
        patience_s: float = float("inf"),
    ) -> None:
        now = self._clock.now()
        final = replace(run, state=state, reason=reason, ended_at=now, exec_ms=exec_s * 1000)
        await insist_on_end(self._store, self._clock, final, patience_s=patience_s)

    def _new(self, function: Function, trigger: str, attempt: int = 1) -> NewRun:
        now = self._clock.now()
        return NewRun(
            public_id=str(uuid.uuid4()),
            kind=RunKind.FUNCTION,
            name=function.name,
            trigger=trigger,
            state=RunState.RUNNING,
            instance=self._instance,
            release=function.bundle.digest,
            created_at=now,
            started_at=now,
            attempt=attempt,
        )


def _state_of(error: Exception) -> RunState:
    """Return the end of a run that the platform refused to begin, or failed to carry through."""
    return RunState.ABORTED if isinstance(error, UnavailableError) else RunState.FAILED
