"""The reference for ticks and leases."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.store.memory_queue import MemoryQueue
from scheduler.store.port_coordination import (
    CoordinationPort,
    FireResult,
    Lease,
    Tick,
    TickOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scheduler.store.port_runs import NewRun
    from scheduler.store.port_work import NewWork


class MemoryCoordination(MemoryQueue, CoordinationPort):
    """Ticks by timer and instant; the last lease of every name, so that its token can grow."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._ticks: dict[tuple[str, datetime], Tick] = {}
        self._leases: dict[str, Lease] = {}

    async def fire(
        self,
        timer_id: str,
        due_at: datetime,
        *,
        run: NewRun | None = None,
        work: NewWork | None = None,
        outcome: TickOutcome | str = TickOutcome.FIRED,
    ) -> FireResult | None:
        now = self._now()
        if (timer_id, due_at) in self._ticks:
            return None
        taken = self._enqueue_all([work])[0] if work is not None else None
        made = self._insert_run(run) if run is not None else None
        run_id = taken.id if taken else made.id if made else None
        tick = Tick(timer_id, due_at, now, TickOutcome(outcome), run_id)
        self._ticks[timer_id, due_at] = tick
        return FireResult(tick, made, taken)

    async def last_tick(self, timer_id: str) -> Tick | None:
        return next(iter(self._ticks_of(timer_id)), None)

    async def ticks(self, timer_id: str, limit: int = 50) -> list[Tick]:
        return self._ticks_of(timer_id)[:limit]

    async def prune_ticks(self, older_than: datetime, *, limit: int = 1000) -> int:
        self._now()
        last: dict[str, datetime] = {}
        for timer_id, due_at in self._ticks:
            last[timer_id] = max(due_at, last.get(timer_id, due_at))
        doomed = [
            place for place in self._ticks if place[1] < older_than and place[1] < last[place[0]]
        ]
        for place in doomed[:limit]:
            del self._ticks[place]
        return len(doomed[:limit])

    async def acquire(self, name: str, owner: str, ttl_s: float) -> int | None:
        now = self._now()
        held = self._leases.get(name)
        if held is not None and held.expires_at > now:
            return None
        token = 1 if held is None else held.token + 1
        self._leases[name] = Lease(name, owner, token, now + timedelta(seconds=ttl_s))
        return token

    async def renew(self, name: str, token: int, ttl_s: float) -> bool:
        return self._hold_until(name, token, ttl_s)

    async def release_lease(self, name: str, token: int) -> bool:
        return self._hold_until(name, token, 0)

    async def leases(self, prefix: str = "") -> Sequence[Lease]:
        now = self._now()
        found = (lease for name, lease in sorted(self._leases.items()) if name.startswith(prefix))
        return [lease for lease in found if lease.expires_at > now]

    def _ticks_of(self, timer_id: str) -> list[Tick]:
        found = [tick for tick in self._ticks.values() if tick.timer_id == timer_id]
        return sorted(found, key=lambda tick: tick.due_at, reverse=True)

    def _hold_until(self, name: str, token: int, ttl_s: float) -> bool:
        now = self._now()
        held = self._leases.get(name)
        if held is None or held.token != token or held.expires_at <= now:
            return False
        self._leases[name] = Lease(name, held.owner, token, now + timedelta(seconds=ttl_s))
        return True
