"""The end of a run on its way into the store, which may be out of reach for a while (promise D9).

An end that happened is not given up: it is offered again and again until the store takes it, or
until whoever waits for it has no more time. What the end was is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import chain, repeat

from scheduler.clock import Clock, within
from scheduler.errors import ConflictError, NotFoundError, UnavailableError
from scheduler.run import Run
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")

#: Between two offers; the last one for as long as it takes.
_PAUSES_S = (0.5, 1.0, 2.0)
_PAUSE_S = 5.0


async def record_end(store: Store, final: Run) -> Run:
    """Write a final row; one that is final already, or removed, stays as it is."""
    try:
        return await store.update_run(
            final.id,
            final.state,
            ended_at=final.ended_at,
            exit_code=final.exit_code,
            reason=final.reason,
            exec_ms=final.exec_ms,
        )
    except (ConflictError, NotFoundError):
        return await store.get_run(final.id) or final


async def insist_on_end(
    store: Store,
    clock: Clock,
    final: Run,
    *,
    give_up: asyncio.Event | None = None,
    patience_s: float = float("inf"),
) -> Run | None:
    """Write a final row as soon as the store takes it; None if it does not in time."""
    hurry = give_up or asyncio.Event()
    until = clock.monotonic() + patience_s
    for pause_s in chain(_PAUSES_S, repeat(_PAUSE_S)):
        try:
            return await record_end(store, final)
        except UnavailableError as error:
            _log.warning("run %s: its end is not recorded yet: %s", final.public_id, error)
        if hurry.is_set() or clock.monotonic() >= until:
            return None
        await within(clock, pause_s, hurry)
    raise AssertionError("the pauses have no end")
