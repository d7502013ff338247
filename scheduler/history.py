"""The record of synchronous invocations: kept in memory for a moment, then stored in batches.

A call never waits for the store (design.md 6, rule 1): its row follows within 100 ms. While the
store cannot take rows they are kept up to a bound; what comes beyond it is dropped and counted. No
error of a store ends the platform: a batch that fails is offered again, and a row that fails alone
is given up so that it does not hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from scheduler.errors import SchedulerError
from scheduler.events import Ending, Outcome
from scheduler.functions import Function
from scheduler.run import RunState
from scheduler.store.port import MAX_ENDS, EndedCall, Store

_log = logging.getLogger("taak.scheduler")
_EVERY_S = 0.1
_RETRY_AT_MOST_S = 5.0  # a store that cannot write is asked ever more rarely
_BOUND = 200_000
_ALONE = 3  # attempts at a row that no store is at fault for

# The usual case without a look-up: an Enum's hash is a Python call.
_SUCCEEDED: Final[Ending] = Ending.SUCCEEDED
_SUCCESS: Final[RunState] = RunState.SUCCESS

_new: Final = tuple.__new__  # a NamedTuple without its Python-level constructor: for each call

#: how an invocation ended -> what its run's row says
STATE_OF = {
    Ending.SUCCEEDED: RunState.SUCCESS,
    Ending.FAILED: RunState.FAILED,
    Ending.LOAD_FAILED: RunState.FAILED,
    Ending.TIMED_OUT: RunState.TIMED_OUT,
    Ending.OUT_OF_MEMORY: RunState.OUT_OF_MEMORY,
    Ending.DIED: RunState.FAILED,
    Ending.BROKEN: RunState.FAILED,
}


class History:
    """Collects rows; `serve` stores them.

    Attributes:
        dropped: rows that were not stored and never will be.
        trouble: why the last attempt failed; empty if it did not.
    """

    def __init__(self, store: Store, instance: str, clock: Callable[[], float] = time.time) -> None:
        self.dropped = 0
        self.trouble = ""
        self._store = store
        self._instance = instance
        self._clock = clock
        self._rows: list[EndedCall] = []
        self._refusals = 0  # in a row
        self._size = MAX_ENDS  # of a batch; smaller while a bad row is looked for
        self._alone = 0  # failures of the first row by itself

    def add(self, call_id: bytes, function: Function, trigger: str, outcome: Outcome) -> None:
        """Note one ended invocation."""
        if len(self._rows) >= _BOUND:
            self.dropped += 1
            return
        ending, _reply, error, _detail, exec_s, wait_s, *_others = outcome
        self._rows.append(
            _new(EndedCall, (
                call_id, function.name, trigger, function.bundle.digest,
                _SUCCESS if ending is _SUCCEEDED else STATE_OF[ending],
                error, self._clock(), wait_s, exec_s,
            ))
        )  # fmt: skip

    @property
    def kept(self) -> int:
        """Return how many rows are waiting for the store."""
        return len(self._rows)

    def concerns(self) -> list[str]:
        """Return what operators should know; calls are served all the same."""
        if not self.trouble:
            return []
        told = f"{self.kept} runs of functions are kept in memory, {self.dropped} were dropped"
        return [f"the history waits for the store: {self.trouble}; {told}"]

    async def serve(self) -> None:
        """Store what comes, for ever; what is left at the end is stored by `flush`."""
        while True:
            await asyncio.sleep(min(_EVERY_S * 2 ** min(self._refusals, 6), _RETRY_AT_MOST_S))
            await self.flush()

    async def flush(self) -> None:
        """Store what is there now."""
        # Batches that are taken as a whole or not at all: no row is stored twice after a refusal.
        # A batch leaves the list before it is handed over: `serve` may be cancelled while it waits,
        # and then the store has the batch and `flush` finds the others.
        while self._rows:
            batch = self._rows[: self._size]
            del self._rows[: self._size]
            try:
                await self._store.finish_calls(self._instance, batch)
            except (SchedulerError, OSError) as error:  # the store cannot: it is asked again
                self._keep(batch, error)
                return
            except Exception as error:  # noqa: BLE001 - the boundary: a record must not end calls
                self._doubt(batch, error)
                return
            self._alone = 0
            self._size = min(self._size * 2, MAX_ENDS)
        if self._refusals:
            _log.warning("the history goes on; %d rows were dropped so far", self.dropped)
            self._refusals = 0
            self.trouble = ""

    def _keep(self, batch: list[EndedCall], error: Exception) -> None:
        self._rows[:0] = batch
        self.trouble = str(error) or type(error).__name__
        if not self._refusals:
            _log.warning("the history waits for the store: %s", self.trouble)
        self._refusals += 1

    def _doubt(self, batch: list[EndedCall], error: Exception) -> None:
        """Keep a batch that may hold a row which no store takes; give that row up when found.

        Halves of it are tried next: the fault may as well be one of the store that passes.
        """
        self._keep(batch, error)
        self._size = max(len(batch) // 2, 1)
        self._alone += len(batch) == 1
        if self._alone < _ALONE:
            return
        self._alone = 0
        lost = self._rows.pop(0)
        self.dropped += 1
        _log.error("the run of '%s' cannot be stored and is given up: %r", lost.name, error)
