"""What the store forgets, and when: the history of functions, ticks, counters, old commands.

Runs of jobs are not here: each job keeps as many as its settings say and removes them with their
files (`triggered.py`). Rows go in small steps with pauses between, so that whoever waits for a
commit waits for one step at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.clock import Clock
from scheduler.run import RunKind
from scheduler.store.port import Store

#: Rows of one step: about 2 ms of the store's time.
STEP_ROWS = 200
#: Together with STEP_ROWS this allows for more rows a second than a busy platform adds.
STEP_PAUSE_S = 0.01

_Step = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRetention:
    """How much of the past is kept. The defaults stand here and nowhere else.

    `run_rows` counts ids that were given out, so what jobs record between counts too. Commands are
    kept from their expiry on, for their answers and their idempotency keys.
    """

    runs_days: float = 30.0
    run_rows: int = 1_000_000
    ticks_days: float = 30.0
    stats_days: float = 90.0
    commands_days: float = 1.0


class Pruning:
    """Removes what is over."""

    def __init__(self, store: Store, retention: HistoryRetention, clock: Clock) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock

    async def prune(self) -> None:
        """Remove everything that is over now; the kinds take turns."""
        steps = self._steps(await self._store.now())
        while True:
            steps = [step for step in steps if await step() >= STEP_ROWS]
            if not steps:
                return
            await self._clock.sleep(STEP_PAUSE_S)

    def _steps(self, now: datetime) -> list[_Step]:
        store, kept = self._store, self._retention

        def before(days: float) -> datetime:
            return now - timedelta(days=days)

        async def runs() -> int:
            removed = await store.prune_runs(
                older_than=before(kept.runs_days),
                keep_newest=kept.run_rows,
                kind=RunKind.FUNCTION,
                limit=STEP_ROWS,
            )
            return len(removed)

        return [
            runs,
            lambda: store.prune_ticks(before(kept.ticks_days), limit=STEP_ROWS),
            lambda: store.prune_stats(before(kept.stats_days), limit=STEP_ROWS),
            lambda: store.prune_commands(before(kept.commands_days), limit=STEP_ROWS),
        ]
