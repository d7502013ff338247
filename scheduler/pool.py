"""The workers of one function: who gets the next call, from the first worker to the last.

`submit` takes no await: a call goes to a worker with room, or waits in order. When there are more
workers or fewer is decided in pool_growth.py, what has taken too long in deadlines.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from sandbox.call import Call
from sandbox.errors import SandboxDiedError
from sandbox.output import Stream
from sandbox.worker import Worker
from scheduler.alarms import Alarms
from scheduler.deadlines import Deadlines
from scheduler.errors import BusyError
from scheduler.function_logs import FunctionLogs
from scheduler.functions import Function
from scheduler.live_bundle import LiveBundle
from scheduler.pool_growth import Growth
from scheduler.pool_state import TRANSITIONS, PoolState
from scheduler.prefetch import Prefetch
from scheduler.seating import Seating

_MAX_ATTEMPTS = 3  # of a call that never began
_LOAD_FAILED = 2


class Pool:
    """Workers of one function of one release."""

    def __init__(
        self,
        function: Function,
        live: LiveBundle,
        logs: FunctionLogs,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        seating: Seating,
    ) -> None:
        self.function = function
        self.live = live
        self.state = PoolState.SERVING
        self.workers: list[Worker] = []
        self.waiting: deque[Call] = deque()
        self.calls = self.failures = self.cold_starts = 0
        self.used_at = 0.0
        self.closed = asyncio.Event()
        self._prefetch = Prefetch(function.limits.prefetch)
        self._seating = seating
        self._logs = logs
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms()
        self._deadlines = Deadlines(self, self._alarms)
        self._growth = Growth(self, self._alarms, spawn)
        live.pools += 1
        live.on_lost.append(self._growth.replace)

    # -- what callers use

    def submit(self, call: Call) -> None:
        """Give the call to a worker, or let it wait.

        Raises:
            BusyError: queue_depth calls wait already.
        """
        self.calls += 1
        self.used_at = call.queued_at
        if not self.waiting and (worker := self._pick()) is not None:
            self._send(worker, call, call.queued_at)
            return
        limit = self.function.limits.queue_depth
        if len(self.waiting) >= limit:
            raise BusyError(
                f"function '{self.function.name}': {len(self.waiting)} calls wait already; the "
                f'limit is {limit} (queue_depth under "taak" in function.json)'
            )
        call.cold = not self.workers
        self.waiting.append(call)
        self._deadlines.watch_waiting()
        self.relieve()

    async def warm(self) -> tuple[str, str] | None:
        """Wait for the first worker; return (line, detail) if there is none to be had."""
        return await self._growth.warm()

    def redefine(self, function: Function) -> None:
        """Serve a new definition of the same code."""
        self.function = function
        self._prefetch.ahead = function.limits.prefetch

    def drain(self) -> None:
        """Take no new call, answer those that are here, then end; `closed` is set at the end."""
        if self.state in (PoolState.SERVING, PoolState.COLD):
            self.step(PoolState.DRAINING)
            if not self.waiting:
                for worker in list(self.workers):
                    worker.drain()
            self.close_if_done()

    def kill(self) -> None:
        """End all workers now."""
        self.drain()
        self.refuse("the platform is stopping")
        for worker in list(self.workers):
            worker.kill("the platform is stopping")
        self.close_if_done()

    def cool(self) -> bool:
        """End the workers of a function that nobody uses; tell whether it was so."""
        if self.state is not PoolState.SERVING or self.waiting or self._growth.coming or self.busy:
            return False
        self.step(PoolState.COLD)
        for worker in list(self.workers):
            worker.drain()
        if self.live.pools == 1:
            self.live.retire()
        return True

    @property
    def load_error(self) -> tuple[str, str] | None:
        """Return why the function cannot be called, if it cannot."""
        if self.broken is not None:
            return self.broken
        return (self._growth.trouble, "") if self._growth.trouble else None

    @property
    def broken(self) -> tuple[str, str] | None:
        """Return why the function's code does not load: an answer that no attempt will change."""
        return self.live.errors.get(self.function.name)

    @property
    def busy(self) -> int:
        """Return how many workers have a call in flight."""
        return sum(1 for worker in self.workers if worker.in_flight)

    # -- WorkerEvents: what a worker tells

    def ready(self, worker: Worker) -> None:
        """Take a new worker into the pool."""
        self.cold_starts += 1
        if worker.load_error is not None:
            self.live.errors[self.function.name] = worker.load_error
        worker.take()
        worker.idle_since = self._loop.time()
        if worker.is_coroutine:
            self._prefetch.fix(self.function.limits.concurrency)
        self.workers.append(worker)
        self._growth.arrived()
        self._feed(worker)
        if self.state is PoolState.DRAINING and not worker.in_flight:
            worker.drain()

    def replied(self, worker: Worker, _call: Call, exec_us: int) -> None:
        """Learn the function's time and give the worker what waits."""
        now = self._loop.time()
        if not worker.is_coroutine and self._prefetch.learn(exec_us):
            self._seating.look(worker, now, quick=not self._prefetch.spread)
        worker.idle_since = now
        limit = self.function.limits.recycle_calls
        if limit and worker.served >= limit and worker.usable:
            worker.drain()
            self.relieve()
        elif self.waiting:
            self._feed(worker)
        elif not worker.in_flight and self.state is PoolState.DRAINING:
            worker.drain()

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        """Give to others what waited behind a call that turned out to be slow."""
        del worker
        self.waiting.extendleft(reversed(calls))
        if calls:
            self._deadlines.watch_waiting()
        self.relieve()

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        """Forget a worker; what it had not begun goes to another, first in the line."""
        arrived = worker in self.workers
        if arrived:
            self.workers.remove(worker)
            self._seating.gone(worker)
        self._growth.lost(worker, arrived=arrived)
        for call in reversed(not_begun):
            self._again(call)
        if self.waiting:
            self.relieve()
        else:
            self._growth.keep_up()
        self.close_if_done()

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        """Keep raw output, with the invocation if there is just one that it can be from."""
        self._logs.raw(self.function.name, worker.running.hex(), stream, data, worker)

    def output_over(self, worker: Worker, stream: Stream) -> None:
        """Keep a raw line that has no end."""
        self._logs.line_over(self.function.name, stream, worker)

    def record(self, _worker: Worker, record: list[Any]) -> None:
        """Keep one log record of the guest."""
        self._logs.record(self.function.name, record)

    # -- giving calls to workers

    def relieve(self) -> None:
        """Give what waits to who has room; else see to it that somebody comes."""
        while self.waiting and (worker := self._pick()) is not None:
            self._feed(worker)
        if self.waiting:
            self._growth.relieve()

    def refuse(self, reason: str) -> None:
        """Fail the calls that wait: no worker can be had."""
        for call in self._give_up_waiting():
            call.answer(SandboxDiedError(reason, started=False))
        self.close_if_done()

    def refuse_broken(self, error: tuple[str, str]) -> None:
        """Answer the calls that wait with why the code does not load."""
        for call in self._give_up_waiting():
            call.answer((_LOAD_FAILED, 0, list(error)))
        self.close_if_done()

    def _pick(self) -> Worker | None:
        prefetch = self._prefetch
        depth = prefetch.depth
        best: Worker | None = None
        for worker in self.workers:
            load = len(worker.in_flight)
            if load < depth and worker.usable:
                if not prefetch.spread or not load:
                    return worker
                if best is None or load < len(best.in_flight):
                    best = worker
        return best

    def _send(self, worker: Worker, call: Call, now: float) -> None:
        deadlines = self._deadlines
        if not deadlines.watching:
            deadlines.watch_running()
        if worker.in_flight and not deadlines.looking:
            deadlines.look_behind()
        worker.send(call, now)

    def _feed(self, worker: Worker) -> None:
        depth = self._prefetch.depth
        while self.waiting and worker.usable and len(worker.in_flight) < depth:
            call = self.waiting.popleft()
            if not call.answered:
                self._send(worker, call, self._loop.time())

    def _again(self, call: Call) -> None:
        call.attempts += 1
        if call.attempts < _MAX_ATTEMPTS:
            self.waiting.appendleft(call)
            self._deadlines.watch_waiting()
        else:
            text = f"the call was not begun by {call.attempts} workers that ended one by one"
            call.answer(SandboxDiedError(text, started=False))

    def _give_up_waiting(self) -> list[Call]:
        calls = list(self.waiting)
        self.waiting.clear()
        return calls

    # -- the end

    def step(self, to: PoolState) -> None:
        """Go on to another state."""
        assert to in TRANSITIONS[self.state], f"{self.state} -> {to}"
        self.state = to

    def close_if_done(self) -> None:
        """End for ever when the last call and the last worker are gone."""
        if self.state is not PoolState.DRAINING:
            return
        if self.workers or self.waiting or self._growth.coming:
            return
        self.step(PoolState.GONE)
        self._alarms.clear()
        self._growth.close()
        self.live.on_lost.remove(self._growth.replace)
        self.live.pools -= 1
        if not self.live.pools:
            self.live.retire()
        self.closed.set()
