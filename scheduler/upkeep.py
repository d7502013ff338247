"""The platform's own pulse in the store: being a member, taking back lost work, forgetting.

Everything here goes on beside serving and never holds it up: a store that cannot be reached is told
once and asked again, more and more slowly, until it answers. What the platform is like (`load`,
`job_statuses`) is asked of whoever built us.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from scheduler.clock import Clock, SystemClock
from scheduler.errors import SchedulerError
from scheduler.pruning import HistoryRetention, Pruning
from scheduler.store.port import Command, Lost, Reaped, Store

_log = logging.getLogger("taak.scheduler")

#: Without a heartbeat for so long this instance counts as dead, and its work goes to others.
TTL_S = 5.0
HEARTBEAT_S = 1.0
REAP_S = 1.0
PRUNE_S = 10.0
#: Between two looks at the logs of jobs; their writers keep to their sizes by themselves.
SWEEP_S = 60.0
#: Work that one reap takes back; a full one is followed by the next at once.
REAPED_AT_ONCE = 100
#: A part of upkeep that fails waits twice, then four times as long as usual: less than TTL_S, so
#: that a store that is back hears of us before it counts us as dead.
_SLOWEST = 4

Facts = Callable[[], Mapping[str, Any]]
#: Carries out a command and returns the answer; it may be given one twice.
Verb = Callable[[Mapping[str, Any]], Awaitable[str]]


class Upkeep:
    """One instance's membership and housekeeping: `join`, `serve`, `leave`, in this order.

    Attributes:
        epoch: this life's number; 0 before `join`.
    """

    def __init__(
        self,
        store: Store,
        instance: str,
        *,
        address: str = "",
        load: Facts = dict,
        job_statuses: Facts = dict,
        verbs: Mapping[str, Verb] | None = None,
        retention: HistoryRetention | None = None,
        sweep_logs: Callable[[], Awaitable[None]] | None = None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.epoch = 0
        self._store = store
        self._instance = instance
        self._address = address
        self._load = load
        self._job_statuses = job_statuses
        self._verbs = verbs or {}
        self._sweep_logs = sweep_logs
        self._clock = clock or SystemClock()
        self._draw = draw
        self._pruning = Pruning(store, retention or HistoryRetention(), self._clock)
        self._answers: dict[int, str] = {}  # to commands, not yet taken by the store

    async def join(self) -> None:
        """Enter. What an earlier life held is free from then on, so nothing may be held before.

        Raises:
            UnavailableError: the store does not take it.
        """
        self.epoch = await self._store.join(self._instance, address=self._address, ttl_s=TTL_S)

    async def serve(self) -> None:
        """Look after everything until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat("the heartbeat", self._beat, HEARTBEAT_S))
            group.create_task(self._repeat("taking back lost work", self._reap, REAP_S))
            group.create_task(self._repeat("pruning the history", self._pruning.prune, PRUNE_S))
            if self._sweep_logs is not None:
                group.create_task(self._repeat("pruning logs", self._sweep_logs, SWEEP_S))

    async def leave(self) -> None:
        """Go; if the store cannot be told, silence tells it after TTL_S."""
        try:
            await self._store.leave(self._instance, self.epoch)
        except SchedulerError as error:
            _log.warning("the store is not told that this instance ends: %s", error)

    # --- Parts

    async def _beat(self) -> None:
        answers = dict(self._answers)
        try:
            beat = await self._store.heartbeat(
                self._instance,
                self.epoch,
                load=self._load(),
                job_statuses=self._job_statuses(),
                acks=answers,
            )
        except Lost as error:
            _log.warning(
                "%s; joining again. Does another platform use the name %r? Give each its own "
                "--instance",
                error,
                self._instance,
            )
            await self.join()
            return
        self._answers = {
            command.id: await self._carry_out(command)
            for command in beat.commands
            if command.id not in answers
        }

    async def _carry_out(self, command: Command) -> str:
        """Return what a command gets; silence would be repeated for ever."""
        verb = self._verbs.get(command.verb)
        if verb is None:
            return f"refused: this version does not know {command.verb!r}"
        try:
            return await verb(command.args)
        except (SchedulerError, TypeError, ValueError) as error:
            return f"refused: {error}"

    async def _reap(self) -> None:
        while True:
            reaped = await self._store.reap(REAPED_AT_ONCE)
            if _count(reaped):
                _log.warning(
                    "work whose worker is gone: %d queued again, %d dead, %d cancelled; "
                    "%d expired while they waited",
                    *(len(ids) for ids in _parts(reaped)),
                )
            if _count(reaped) < REAPED_AT_ONCE:
                return

    # --- The rhythm

    async def _repeat(self, what: str, step: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Do one step again and again, with jitter; slower while the store refuses."""
        slower = 1
        while True:
            # Instances that were started together must not come together for ever.
            await self._clock.sleep(every_s * slower * (0.9 + self._draw() / 5))
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - the boundary of a rhythm: the next beat comes
                if slower == 1:
                    is_foreseen = isinstance(error, SchedulerError)
                    _log.warning(
                        "%s waits for the store: %s", what, error if is_foreseen else repr(error)
                    )
                slower = min(slower * 2, _SLOWEST)
            else:
                if slower > 1:
                    _log.warning("%s goes on", what)
                slower = 1


def _parts(reaped: Reaped) -> tuple[tuple[int, ...], ...]:
    return reaped.requeued, reaped.dead, reaped.cancelled, reaped.expired


def _count(reaped: Reaped) -> int:
    return sum(map(len, _parts(reaped)))
