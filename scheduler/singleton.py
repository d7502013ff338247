"""The right to run a job, held by one instance at a time and renewed while it runs.

A lease in the store ends by itself when its holder is gone. The holder counts the other way round:
when it has not been able to renew for almost as long as the lease lasts, it must believe that
another instance runs, and `lost` says so; the owner then kills what it runs.
"""

from __future__ import annotations

import asyncio
import logging

from scheduler.clock import Clock
from scheduler.errors import SchedulerError
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")

TTL_S = 15.0
RENEW_S = 5.0
#: The process must be gone before the store gives the lease to another.
MARGIN_S = 2.0


class Singleton:
    """One name that only one instance may hold.

    Attributes:
        lost: set once the name is no longer ours although nobody here has let go of it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        group: asyncio.TaskGroup,
        *,
        name: str,
        owner: str,
    ) -> None:
        self.lost = asyncio.Event()
        self._store = store
        self._clock = clock
        self._group = group
        self._name = name
        self._owner = owner
        self._token: int | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def acquire(self) -> bool:
        """Try to get the name; it is renewed from then on."""
        asked_at = self._clock.monotonic()
        self._token = await self._store.acquire(self._name, self._owner, TTL_S)
        if self._token is None:
            return False
        self._renewing = self._group.create_task(self._renew(asked_at), name=f"lease {self._name}")
        return True

    async def release(self) -> None:
        """Let go of the name, if it is held; a store that cannot be reached lets it run out."""
        if self._renewing is not None:
            self._renewing.cancel()
        token, self._token, self._renewing = self._token, None, None
        if token is None or self.lost.is_set():
            return
        try:
            await self._store.release_lease(self._name, token)
        except SchedulerError as error:
            _log.warning("the lease %s runs out by itself: %s", self._name, error)

    async def _renew(self, sure_since: float) -> None:
        """Renew until cancelled or lost; the time counts from before the question, not after."""
        while True:
            await self._clock.sleep(RENEW_S)
            asked_at = self._clock.monotonic()
            if await self._still_ours():
                sure_since = asked_at
            elif self._token is None or asked_at - sure_since + RENEW_S > TTL_S - MARGIN_S:
                break
        _log.error("the lease %s is lost; what runs under it is ended", self._name)
        self.lost.set()

    async def _still_ours(self) -> bool:
        assert self._token is not None
        try:
            if await self._store.renew(self._name, self._token, TTL_S):
                return True
            # Run out while this machine slept: if nobody took it meanwhile, nothing has happened.
            self._token = await self._store.acquire(self._name, self._owner, TTL_S)
        except SchedulerError as error:
            _log.warning("the lease %s could not be renewed: %s", self._name, error)
            return False
        return self._token is not None


async def release_stale(store: Store, prefix: str, owner: str) -> None:
    """Free what an earlier process of this instance held when it was killed.

    One process at a time owns the home, so whoever held these is dead, and with it what it ran.
    """
    for lease in await store.leases(prefix):
        if lease.owner == owner:
            await store.release_lease(lease.name, lease.token)
