"""The workers of one function: who gets the next call, and when there are more or fewer.

`submit` takes no await: a call goes to a worker with room, or waits in order. More workers come
when calls have waited, not when there are many: a second worker gains nothing for a function of
microseconds (performance.md 3).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from sandbox.errors import SandboxDiedError, SpawnFailedError
from sandbox.output import Stream
from sandbox.worker import Call, Worker
from scheduler.errors import BusyError
from scheduler.function_logs import FunctionLogs
from scheduler.functions import Function
from scheduler.live_bundle import LiveBundle
from scheduler.prefetch import Prefetch

_log = logging.getLogger("taak.scheduler")
_PRESSURE_S = 0.005  # a call that has waited so long is a reason for another worker
_FORKS_AT_ONCE = 4
_MAX_ATTEMPTS = 3  # of a call that never began
_CANCEL_GRACE_S = 5.0


class PoolState(Enum):
    """A pool serves, may rest without workers until it is called again, then drains for ever."""

    SERVING = "serving"
    COLD = "cold"
    DRAINING = "draining"
    GONE = "gone"


#: state -> states that may follow.
TRANSITIONS: dict[PoolState, frozenset[PoolState]] = {
    PoolState.SERVING: frozenset({PoolState.COLD, PoolState.DRAINING}),
    PoolState.COLD: frozenset({PoolState.SERVING, PoolState.DRAINING}),
    PoolState.DRAINING: frozenset({PoolState.GONE}),
    PoolState.GONE: frozenset(),
}


class CallTimedOutError(Exception):
    """The call's time was over; its worker was ended, or its coroutine asked to stop."""


class Pool:
    """Workers of one function of one release."""

    def __init__(
        self,
        function: Function,
        live: LiveBundle,
        logs: FunctionLogs,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.function = function
        self.live = live
        self.state = PoolState.SERVING
        self.workers: list[Worker] = []
        self.waiting: deque[Call] = deque()
        self.calls = self.failures = self.cold_starts = self.deaths = 0
        self.used_at = 0.0
        self.closed = asyncio.Event()
        self._coming = 0
        self._looking = False  # a timer for calls behind a slow one is armed, likewise
        self._watching = False  # a timer for deadlines is armed: asked at each call, so no look-up
        self._prefetch = Prefetch()
        self._logs = logs
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._arrivals: list[asyncio.Future[None]] = []
        live.pools += 1
        live.on_lost.append(self._zygote_lost)

    # -- what callers use

    def submit(self, call: Call) -> None:
        """Give the call to a worker, or let it wait.

        Raises:
            BusyError: queue_depth calls wait already.
        """
        self.calls += 1
        self.used_at = call.queued_at
        if not self.waiting and (worker := self._pick()) is not None:
            self._send(worker, call)
            return
        limit = self.function.limits.queue_depth
        if len(self.waiting) >= limit:
            raise BusyError(
                f"function '{self.function.name}': {len(self.waiting)} calls wait already; the "
                f'limit is {limit} (queue_depth under "taak" in function.json)'
            )
        call.cold = not self.workers
        self.waiting.append(call)
        self._arm(self._expire_waiting, self.function.limits.queue_age_s)
        self._relieve()

    async def warm(self) -> tuple[str, str] | None:
        """Wait for the first worker; return (line, detail) if there is none to be had."""
        while self.load_error is None and not any(worker.usable for worker in self.workers):
            arrival: asyncio.Future[None] = self._loop.create_future()
            self._arrivals.append(arrival)
            if not self._coming:
                self._fork()
            try:
                await arrival
            except SpawnFailedError as failure:
                return (str(failure), "")
        return self.load_error

    def drain(self) -> None:
        """Take no new call, answer those that are here, then end; `closed` is set at the end."""
        if self.state in (PoolState.SERVING, PoolState.COLD):
            self._step(PoolState.DRAINING)
            if not self.waiting:
                for worker in list(self.workers):
                    worker.drain()
            self._close_if_done()

    def kill(self) -> None:
        """End all workers now."""
        self.drain()
        waiting, self.waiting = list(self.waiting), deque()
        for call in waiting:
            call.answer(SandboxDiedError("the platform is stopping", started=False))
        for worker in list(self.workers):
            worker.kill("the platform is stopping")
        self._close_if_done()

    def cool(self) -> bool:
        """End the workers of a function that nobody uses; tell whether it was so."""
        if self.state is not PoolState.SERVING or self.waiting or self._coming or self.busy:
            return False
        self._step(PoolState.COLD)
        for worker in list(self.workers):
            worker.drain()
        if self.live.pools == 1:
            self.live.retire()
        return True

    @property
    def load_error(self) -> tuple[str, str] | None:
        """Return why the function's code does not load, if it does not."""
        return self.live.errors.get(self.function.name)

    @property
    def busy(self) -> int:
        """Return how many workers have a call in flight."""
        return sum(1 for worker in self.workers if worker.in_flight)

    # -- WorkerEvents: what a worker tells

    def ready(self, worker: Worker) -> None:
        """Take a new worker into the pool."""
        self._coming -= 1
        self.cold_starts += 1
        if worker.load_error is not None:
            self.live.errors[self.function.name] = worker.load_error
        worker.take()
        worker.idle_since = self._loop.time()
        if worker.is_coroutine:
            self._prefetch.fix(self.function.limits.concurrency)
        self.workers.append(worker)
        self._announce(None)
        self._feed(worker)
        self._rest(worker)

    def replied(self, worker: Worker, _call: Call, exec_us: int) -> None:
        """Learn the function's time and give the worker what waits."""
        if not worker.is_coroutine:
            self._prefetch.learn(exec_us)
        worker.idle_since = self._loop.time()
        limit = self.function.limits.recycle_calls
        if limit and worker.served >= limit and worker.usable:
            worker.drain()
            self._relieve()
        elif self.waiting:
            self._feed(worker)
        elif not worker.in_flight and self.state is PoolState.DRAINING:
            worker.drain()

    def returned(self, worker: Worker, calls: list[Call]) -> None:
        """Give to others what waited behind a call that turned out to be slow."""
        del worker
        self.waiting.extendleft(reversed(calls))
        if calls:
            self._arm(self._expire_waiting, self.function.limits.queue_age_s)
        self._relieve()

    def gone(self, worker: Worker, not_begun: list[Call]) -> None:
        """Forget a worker; what it had not begun goes to another, first in the line."""
        if worker in self.workers:
            self.workers.remove(worker)
        else:
            self._coming -= 1
            self._announce(SpawnFailedError("the worker ended before it served"))
        for call in reversed(not_begun):
            self._again(call)
        if self.waiting:
            self._relieve()
        elif self.state is PoolState.SERVING and len(self.workers) < self._keep():
            self._fork()
        self._close_if_done()

    def output(self, worker: Worker, stream: Stream, data: bytes) -> None:
        """Keep raw output, with the invocation if there is just one that it can be from."""
        first = next(iter(list(worker.in_flight)), b"") if not worker.is_coroutine else b""
        self._logs.raw(self.function.name, first.hex(), stream, data)

    def record(self, _worker: Worker, record: list[Any]) -> None:
        """Keep one log record of the guest."""
        self._logs.record(self.function.name, record)

    # -- giving calls to workers

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

    def _send(self, worker: Worker, call: Call) -> None:
        if not self._watching:
            self._watch_time()
        if worker.in_flight and not self._looking:
            self._looking = True
            self._arm(self._recall_stuck, _PRESSURE_S)
        worker.send(call, self._loop.time())

    def _feed(self, worker: Worker) -> None:
        depth = self._prefetch.depth
        while self.waiting and worker.usable and len(worker.in_flight) < depth:
            call = self.waiting.popleft()
            if not call.answered:
                self._send(worker, call)

    def _again(self, call: Call) -> None:
        call.attempts += 1
        if call.attempts < _MAX_ATTEMPTS:
            self.waiting.appendleft(call)
            self._arm(self._expire_waiting, self.function.limits.queue_age_s)
        else:
            text = f"the call was not begun by {call.attempts} workers that ended one by one"
            call.answer(SandboxDiedError(text, started=False))

    def _recall_stuck(self) -> None:
        """Ask back what was sent ahead to a worker whose call turned out to be slow."""
        self._looking = False
        now = self._loop.time()
        for worker in self.workers:
            if worker.is_coroutine or len(worker.in_flight) < 2:
                continue
            if _head_age(worker, now) >= _PRESSURE_S:
                worker.recall()
            else:
                self._looking = True
        if self._looking:
            self._arm(self._recall_stuck, _PRESSURE_S)

    # -- more workers and fewer

    def _relieve(self) -> None:
        """Give what waits to who has room; else see to it that somebody comes."""
        while self.waiting and (worker := self._pick()) is not None:
            self._feed(worker)
        if not self.waiting:
            return
        if self.load_error is not None:
            self._answer_load_error()
        elif not self.workers and not self._coming:
            self._fork()
        elif self._grow not in self._timers:
            self._arm(self._grow, _PRESSURE_S)

    def _grow(self) -> None:
        """Fork for calls that have waited, unless the workers are quick enough by themselves."""
        if not self.waiting:
            return
        now = self._loop.time()
        waited = now - self.waiting[0].queued_at
        stuck = all(_head_age(worker, now) >= _PRESSURE_S for worker in self.workers)
        if waited >= _PRESSURE_S and stuck:
            total = len(self.workers) + self._coming
            room = self.function.limits.max_workers - total
            for _ in range(min(room, len(self.waiting) - self._coming, _FORKS_AT_ONCE)):
                self._fork()
        self._arm(self._grow, _PRESSURE_S)

    def _fork(self) -> None:
        if self.state is PoolState.COLD:
            self._step(PoolState.SERVING)
        self._coming += 1
        if (zygote := self.live.ready) is None:
            self._spawn(self._fork_later())
            return
        try:
            zygote.fork(self.function.name, self)
        except SpawnFailedError as error:
            self._coming -= 1
            _log.warning("%s: %s", self.function.name, error)
            self._spawn(self._fork_later_again())

    async def _fork_later_again(self) -> None:
        self._coming += 1
        await self._fork_later()

    async def _fork_later(self) -> None:
        try:
            zygote = await self.live.zygote()
            if self.load_error is not None:
                raise SpawnFailedError(self.load_error[0])
            zygote.fork(self.function.name, self)
        except SpawnFailedError as error:
            self._coming -= 1
            self._announce(error)
            self._answer_load_error() if self.load_error else self._give_up(error)
            self._close_if_done()

    def _answer_load_error(self) -> None:
        waiting, self.waiting = list(self.waiting), deque()
        for call in waiting:
            call.answer((2, 0, list(self.load_error or ("", ""))))

    def _give_up(self, error: Exception) -> None:
        waiting, self.waiting = list(self.waiting), deque()
        for call in waiting:
            call.answer(SandboxDiedError(str(error), started=False))

    def _announce(self, error: Exception | None) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            if arrival.done():
                continue
            if error is None:
                arrival.set_result(None)
            else:
                arrival.set_exception(error)

    def _keep(self) -> int:
        return self.function.limits.min_workers if self.calls and not self.load_error else 0

    def _zygote_lost(self) -> None:
        """Replace the workers that a dead zygote left behind, without losing their calls."""
        if self.state is PoolState.SERVING and self.workers:
            self._spawn(self._replace(list(self.workers)))

    async def _replace(self, old: list[Worker]) -> None:
        # The first new worker is there before an old one leaves: no call waits for a build.
        known = set(map(id, self.workers))
        self._fork()
        while all(id(worker) in known for worker in self.workers) and self._coming:
            arrival: asyncio.Future[None] = self._loop.create_future()
            self._arrivals.append(arrival)
            try:
                await arrival
            except SpawnFailedError:
                return
        for worker in old:
            worker.drain()

    def _rest(self, worker: Worker) -> None:
        if self.state is PoolState.DRAINING and not worker.in_flight:
            worker.drain()
        self._arm(self._shrink, self.function.limits.idle_s)

    def _shrink(self) -> None:
        limits = self.function.limits
        before = self._loop.time() - limits.idle_s
        for worker in list(self.workers):
            if len(self.workers) <= limits.min_workers:
                break
            if not worker.in_flight and worker.idle_since <= before:
                worker.drain()
        if len(self.workers) > limits.min_workers:
            self._arm(self._shrink, limits.idle_s / 2)

    # -- time

    def _arm(self, action: Callable[[], None], after: float) -> None:
        if action in self._timers:
            return

        def fire() -> None:
            del self._timers[action]
            action()

        self._timers[action] = self._loop.call_later(after, fire)

    def _watch_time(self) -> None:
        timeout = self.function.limits.timeout_s
        if timeout is not None:
            self._watching = True
            self._arm(self._expire, timeout)

    def _expire(self) -> None:
        """End what has run for too long; then wait for the next that could."""
        self._watching = False
        timeout = self.function.limits.timeout_s
        if timeout is None:
            return
        now = self._loop.time()
        soonest = None
        for worker in list(self.workers):
            for call in _running(worker):
                due = _began(worker, call) + timeout
                if due > now:
                    soonest = due if soonest is None else min(soonest, due)
                    break
                self._time_out(worker, call, timeout)
        if soonest is not None:
            self._watching = True
            self._arm(self._expire, max(soonest - now, 0.001))

    def _time_out(self, worker: Worker, call: Call, timeout: float) -> None:
        if call.answered:
            return  # its worker is about to end
        text = (
            f"no answer within {timeout:g} s (functionTimeout in host.json, or timeout_s under "
            '"taak" in function.json)'
        )
        call.answer(CallTimedOutError(text))
        if not worker.is_coroutine:
            for behind in worker.in_flight.values():
                behind.attempts -= 1  # this death is not their doing
            worker.kill(f"the call took more than {timeout:g} s")
            return
        # Other calls of the process live on; only a loop that is blocked costs them their worker.
        worker.cancel(call)
        self._loop.call_later(_CANCEL_GRACE_S, self._end_if_stuck, worker, call)

    def _end_if_stuck(self, worker: Worker, call: Call) -> None:
        if call.id in worker.in_flight:
            worker.kill("its event loop did not stop a call whose time was over")

    def _expire_waiting(self) -> None:
        limit = self.function.limits.queue_age_s
        now = self._loop.time()
        while self.waiting and self.waiting[0].queued_at + limit <= now:
            text = (
                f"function '{self.function.name}': no worker was free within {limit:g} s "
                '(queue_age_s under "taak" in function.json)'
            )
            self.waiting.popleft().answer(BusyError(text))
        if self.waiting:
            self._arm(self._expire_waiting, self.waiting[0].queued_at + limit - now)

    # -- the end

    def _step(self, to: PoolState) -> None:
        assert to in TRANSITIONS[self.state], f"{self.state} -> {to}"
        self.state = to

    def _close_if_done(self) -> None:
        if self.state is not PoolState.DRAINING:
            return
        if self.workers or self.waiting or self._coming:
            return
        self._step(PoolState.GONE)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.live.on_lost.remove(self._zygote_lost)
        self.live.pools -= 1
        if not self.live.pools:
            self.live.retire()
        self.closed.set()


def _running(worker: Worker) -> list[Call]:
    """Return the calls that a worker has begun: a synchronous one has one, the others wait."""
    calls = list(worker.in_flight.values())
    return calls if worker.is_coroutine else calls[:1]


def _began(worker: Worker, call: Call) -> float:
    """Return when a running call began: one that was sent ahead waited for the answer before."""
    return call.sent_at if worker.is_coroutine else max(call.sent_at, worker.idle_since)


def _head_age(worker: Worker, now: float) -> float:
    """Return how long the call at the head of a worker has run."""
    for call in worker.in_flight.values():
        return now - _began(worker, call)
    return 0.0
