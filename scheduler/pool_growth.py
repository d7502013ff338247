"""How many workers a pool has: the first one, more for calls that have waited, fewer after a rest.

More workers come when calls have waited, not when there are many: a second worker gains nothing for
a function of microseconds (performance.md 3). Workers that end before they serve are replaced more
and more slowly; who waits for one is told why. Knows nothing of deadlines or replies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sandbox.errors import SpawnFailedError
from sandbox.worker import Worker, WorkerState
from scheduler.alarms import Alarms
from scheduler.attempts import Attempts
from scheduler.deadlines import SLOW_S, head_age
from scheduler.live_bundle import LateStartError
from scheduler.pool_state import PoolState

if TYPE_CHECKING:
    from scheduler.pool import Pool

_PRESSURE_S = SLOW_S  # a call that has waited so long is a reason for another worker
_FORKS_AT_ONCE = 4

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Growth:
    """Brings workers into one pool and lets them rest."""

    def __init__(self, pool: Pool, alarms: Alarms, spawn: Spawn) -> None:
        self.coming = 0
        self._pool = pool
        self._alarms = alarms
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._starts = Attempts(self._loop.time)
        self._arrivals: list[asyncio.Future[None]] = []
        self._expected: deque[tuple[float, Worker]] = deque()  # with when each must have come

    @property
    def trouble(self) -> str:
        """Return why there is no worker, if the latest attempt to get one failed."""
        return "" if self._pool.workers else self._pool.live.attempts.reason or self._starts.reason

    @property
    def refusal(self) -> str:
        """Return the trouble if nobody shall wait for the next attempt."""
        if self._pool.workers:
            return ""
        return self._pool.live.attempts.refusal or self._starts.refusal

    async def warm(self) -> tuple[str, str] | None:
        """Wait for the first worker; return (line, detail) if there is none to be had."""
        pool = self._pool
        while pool.broken is None and not any(worker.usable for worker in pool.workers):
            if self.refusal:
                return (self.refusal, "")
            try:
                await self._arrival()
            except SpawnFailedError as failure:
                return pool.broken or (str(failure), "")
        return pool.broken

    def relieve(self) -> None:
        """See to it that somebody comes for the calls that wait, or tell them why nobody does."""
        if self._pool.broken is not None:
            self._pool.refuse_broken(self._pool.broken)
        elif self.refusal:
            self._pool.refuse(self.refusal)
        elif not self._pool.workers and not self.coming:
            self._fork()
        else:
            self._alarms.arm(self._grow, _PRESSURE_S)

    def arrived(self) -> None:
        """Learn that a worker serves from now on."""
        self.coming -= 1
        self._starts.succeeded()
        self._announce(None)
        self._alarms.arm(self._shrink, self._pool.function.limits.idle_s)

    def lost(self, worker: Worker, *, arrived: bool) -> None:
        """Learn that a worker has ended, and whether it ever served."""
        if worker.served or any(other.served for other in self._pool.workers):
            self._starts.proved()  # whatever ended it, it is not how workers begin
        if worker.failed_start:
            facts = f": {worker.facts}" if worker.facts else ""
            self._starts.failed(f"a worker ended before its first call{facts}")
        if not arrived:
            self.coming -= 1
            self._announce(SpawnFailedError(self._starts.reason or "the worker did not come"))

    def keep_up(self) -> None:
        """Replace what is missing to the minimum."""
        if self._below_minimum():
            self._fork()

    def replace(self) -> None:
        """Replace the workers that a dead zygote left behind, without losing their calls."""
        if self._pool.state is PoolState.SERVING and self._pool.workers:
            self._spawn(self._replace(list(self._pool.workers)))

    def close(self) -> None:
        """Tell whoever still waits for a worker that none will come."""
        self._announce(SpawnFailedError("the function is no longer served"))

    # -- forks

    def _fork(self) -> None:
        """Ask for one worker, now or as soon as another attempt may be made."""
        pool = self._pool
        if pause := max(self._starts.pause, pool.live.attempts.pause):
            self._alarms.arm(self._try_again, pause)
            return
        if pool.state is PoolState.COLD:
            pool.step(PoolState.SERVING)
        self.coming += 1
        if (zygote := pool.live.ready) is None:
            self._spawn(self._fork_later())
        else:
            self._expect(zygote.fork(pool.function.name, pool))

    async def _fork_later(self) -> None:
        pool = self._pool
        try:
            zygote = await pool.live.zygote()
            if pool.broken is not None:
                raise SpawnFailedError(pool.broken[0])
            self._expect(zygote.fork(pool.function.name, pool))
        except SpawnFailedError as error:
            self.coming -= 1
            self._announce(error)
            if pool.broken is not None:
                pool.refuse_broken(pool.broken)
            elif not pool.workers:
                pool.refuse(str(error))
            pool.close_if_done()

    def _expect(self, worker: Worker) -> None:
        """Give a worker its time: it may be one that imports the code by itself."""
        expected = self._expected
        while expected and expected[0][1].state is not WorkerState.FORKED:
            expected.popleft()
        allowed_s = self._pool.function.limits.start_timeout_s
        expected.append((self._loop.time() + allowed_s, worker))
        self._alarms.arm(self._end_late, allowed_s)

    def _end_late(self) -> None:
        """End the workers whose time is over, and look again when the next one's is."""
        expected, now = self._expected, self._loop.time()
        while expected and (
            expected[0][1].state is not WorkerState.FORKED or expected[0][0] <= now
        ):
            _due, worker = expected.popleft()
            if worker.state is WorkerState.FORKED:
                late = LateStartError(self._pool.function.limits.start_timeout_s)
                self._starts.failed(str(late), slow=True)
                worker.kill(str(late))
        if expected:
            self._alarms.arm(self._end_late, expected[0][0] - now)

    def _try_again(self) -> None:
        if self._pool.waiting:
            self._pool.relieve()
        elif self._arrivals or self._below_minimum():
            self._fork()

    def _below_minimum(self) -> bool:
        pool = self._pool
        if pool.state is not PoolState.SERVING or not pool.calls or pool.broken is not None:
            return False
        return len(pool.workers) + self.coming < pool.function.limits.min_workers

    # -- more and fewer

    def _grow(self) -> None:
        """Fork for calls that have waited, unless the workers are quick enough by themselves."""
        pool = self._pool
        if not pool.waiting:
            return
        now = self._loop.time()
        waited = now - pool.waiting[0].queued_at
        stuck = all(head_age(worker, now) >= _PRESSURE_S for worker in pool.workers)
        if waited >= _PRESSURE_S and stuck:
            at_once = 1 - self.coming if self._starts.reason else _FORKS_AT_ONCE
            room = pool.function.limits.max_workers - len(pool.workers) - self.coming
            for _ in range(min(room, len(pool.waiting) - self.coming, at_once)):
                self._fork()
        self._alarms.arm(self._grow, _PRESSURE_S)

    def _shrink(self) -> None:
        pool = self._pool
        limits = pool.function.limits
        before = self._loop.time() - limits.idle_s
        for worker in list(pool.workers):
            if len(pool.workers) <= limits.min_workers:
                break
            if not worker.in_flight and worker.idle_since <= before:
                worker.drain()
        if len(pool.workers) > limits.min_workers:
            self._alarms.arm(self._shrink, limits.idle_s / 2)

    async def _replace(self, old: list[Worker]) -> None:
        # The first new worker is there before an old one leaves: no call waits for a build.
        known = set(map(id, old))
        self._fork()
        while all(id(worker) in known for worker in self._pool.workers):
            try:
                await self._arrival()
            except SpawnFailedError:
                return
        for worker in old:
            worker.drain()

    # -- arrivals

    async def _arrival(self) -> None:
        """Wait until a worker comes.

        Raises:
            SpawnFailedError: it does not.
        """
        arrival: asyncio.Future[None] = self._loop.create_future()
        self._arrivals.append(arrival)
        if not self.coming:
            self._fork()
        await arrival

    def _announce(self, error: SpawnFailedError | None) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            if arrival.done():
                continue
            if error is None:
                arrival.set_result(None)
            else:
                arrival.set_exception(error)
