"""The clock of one pool: ends what runs or waits for too long, asks back what is stuck behind it.

One timer each, armed for the soonest and looked at when it is due: a call costs no timer of its
own. Knows nothing of how workers come and go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandbox.call import Call
from sandbox.worker import Worker
from scheduler.alarms import Alarms
from scheduler.errors import BusyError

if TYPE_CHECKING:
    from scheduler.pool import Pool

#: A call that has run for so long is slow: nobody shall wait behind it.
SLOW_S = 0.005
_CANCEL_GRACE_S = 5.0


class CallTimedOutError(Exception):
    """The call's time was over; its worker was ended, or its coroutine asked to stop."""


class Deadlines:
    """`watching` and `looking` say that a timer is armed: asked at each call, so no look-up."""

    def __init__(self, pool: Pool, alarms: Alarms) -> None:
        self.watching = False  # for calls that run too long
        self.looking = False  # for calls that are stuck behind a slow one
        self._pool = pool
        self._alarms = alarms
        self._loop = asyncio.get_running_loop()

    def watch_running(self) -> None:
        """See to it that what is begun now is ended in time."""
        timeout = self._pool.function.limits.timeout_s
        if timeout is not None:
            self.watching = True
            self._alarms.arm(self._expire_running, timeout)

    def watch_waiting(self) -> None:
        """See to it that what waits now is refused in time."""
        self._alarms.arm(self._expire_waiting, self._pool.function.limits.queue_age_s)

    def look_behind(self) -> None:
        """See to it that what is sent ahead now does not wait behind a slow call."""
        self.looking = True
        self._alarms.arm(self._recall_stuck, SLOW_S)

    # -- calls that run

    def _expire_running(self) -> None:
        """End what has run for too long; then wait for the next that could."""
        self.watching = False
        timeout = self._pool.function.limits.timeout_s
        if timeout is None:
            return
        now = self._loop.time()
        soonest = None
        for worker in list(self._pool.workers):
            for call in _running(worker):
                due = _began(worker, call) + timeout
                if due > now:
                    soonest = due if soonest is None else min(soonest, due)
                    break
                self._time_out(worker, call, timeout)
        if soonest is not None:
            self.watching = True
            self._alarms.arm(self._expire_running, max(soonest - now, 0.001))

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
        self._loop.call_later(_CANCEL_GRACE_S, _end_if_stuck, worker, call)

    # -- calls that wait for a worker

    def _expire_waiting(self) -> None:
        pool = self._pool
        limit = pool.function.limits.queue_age_s
        now = self._loop.time()
        while pool.waiting and pool.waiting[0].queued_at + limit <= now:
            text = (
                f"function '{pool.function.name}': no worker was free within {limit:g} s "
                '(queue_age_s under "taak" in function.json)'
            )
            pool.waiting.popleft().answer(BusyError(text))
        if pool.waiting:
            self._alarms.arm(self._expire_waiting, pool.waiting[0].queued_at + limit - now)

    # -- calls that wait inside a worker

    def _recall_stuck(self) -> None:
        """Ask back what was sent ahead to a worker whose call turned out to be slow."""
        self.looking = False
        now = self._loop.time()
        for worker in self._pool.workers:
            if worker.is_coroutine or len(worker.in_flight) < 2:
                continue
            if head_age(worker, now) >= SLOW_S:
                worker.recall()
            else:
                self.looking = True
        if self.looking:
            self._alarms.arm(self._recall_stuck, SLOW_S)


def head_age(worker: Worker, now: float) -> float:
    """Return how long the call at the head of a worker has run."""
    for call in worker.in_flight.values():
        return now - _began(worker, call)
    return 0.0


def _running(worker: Worker) -> list[Call]:
    """Return the calls that a worker has begun: a synchronous one has one, the others wait."""
    calls = list(worker.in_flight.values())
    return calls if worker.is_coroutine else calls[:1]


def _began(worker: Worker, call: Call) -> float:
    """Return when a running call began: one that was sent ahead waited for the answer before."""
    return call.sent_at if worker.is_coroutine else max(call.sent_at, worker.idle_since)


def _end_if_stuck(worker: Worker, call: Call) -> None:
    if call.id in worker.in_flight:
        worker.kill("its event loop did not stop a call whose time was over")
