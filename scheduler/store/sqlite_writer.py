"""The one writing connection: its thread, its queue, and group commit.

Operations are closures over a `Transaction`. Whatever waits when a commit has ended becomes the
next batch: there is no timer, because while one batch is synced the next one fills by itself (a
deliberate delay was measured and made everything worse). A second writing connection does not
exist: this one alone checkpoints, and closes last.

Must not know: what the operations do, and anything of SQL beyond transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scheduler.errors import SchedulerError
from scheduler.store.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scheduler.store.sqlite_transaction import Transaction

T = TypeVar("T")

_log = logging.getLogger("taak.store")

MAX_BATCH = 256

#: what the engine raises when it is the engine that cannot, and not the statement that is wrong
_ENGINE_ERRORS = (sqlite3.OperationalError, sqlite3.InternalError, sqlite3.NotSupportedError)


@dataclass(slots=True)
class _Job:
    """One operation on its way: run perhaps twice, answered once."""

    operation: Callable[[Transaction], Any]
    durable: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # the caller was cancelled meanwhile
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Owns the writing connection from `start` to `stop`.

    `connect` makes a transaction on a fresh connection and is called again after the engine failed;
    `announce` gets the topics of committed operations, on the loop.
    """

    def __init__(
        self, connect: Callable[[], Transaction], announce: Callable[[Iterable[str]], None]
    ) -> None:
        self._connect = connect
        self._announce = announce
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tx: Transaction | None = None
        self.trouble = ""  # why the last batch failed; empty if it did not

    async def start(self) -> None:
        """Connect, and raise what stands in the way."""
        self._loop = asyncio.get_running_loop()
        self._tx = await asyncio.to_thread(self._connect)
        self._thread = threading.Thread(target=self._serve, name="taak-store-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Commit what was accepted, checkpoint and close. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def run(self, operation: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run the operation in the next batch; return its result when the commit is done.

        The operation may run twice (its batch was poisoned), so it must have no effect but in the
        transaction. An error of the port (Conflict, Lost …) that it raises concerns it alone.
        """
        if self._thread is None:
            raise Unavailable("the store is closed")
        assert self._loop is not None
        job = _Job(operation, durable, self._loop.create_future())
        self._jobs.put(job)
        result: T = await job.future
        return result

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            topics = self._perform(batch)
            self._deliver(batch, topics)
        if self._tx is not None:
            self._tx.close()

    def _next_batch(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)  # the end comes after this batch
                    break
                batch.append(job)
        return batch

    def _perform(self, batch: list[_Job]) -> frozenset[str]:
        """Run and commit the batch; afterwards every job has a result or an error."""
        try:
            if self._tx is None:
                self._tx = self._connect()
            try:
                self._together(self._tx, batch)
            except _PoisonedError:
                self._one_by_one(self._tx, batch)
        except Exception as error:  # noqa: BLE001 - the boundary: a dead thread would hang callers
            self._give_up(batch, error)
            return frozenset()
        self.trouble = ""
        return self._tx.take_topics()

    def _together(self, tx: Transaction, batch: list[_Job]) -> None:
        """All in one transaction without savepoints: the usual case, at the least cost."""
        tx.begin(durable=any(job.durable for job in batch))
        for job in batch:
            changes = tx.changes
            try:
                job.result = job.operation(tx)
            except _ENGINE_ERRORS:
                raise
            except SchedulerError as refusal:
                # A refusal before the first change leaves nothing to undo: the batch goes on.
                if tx.changes != changes:
                    raise self._poisoned(tx) from refusal
                job.error = refusal
            except Exception as fault:  # found and given to its caller by `_one_by_one`
                raise self._poisoned(tx) from fault
        tx.commit()

    @staticmethod
    def _poisoned(tx: Transaction) -> _PoisonedError:
        tx.rollback()
        return _PoisonedError()

    def _one_by_one(self, tx: Transaction, batch: list[_Job]) -> None:
        """Again, each in a savepoint, so that the one that fails fails alone; still one commit."""
        tx.begin(durable=any(job.durable for job in batch))
        for job in batch:
            job.error = None
            tx.savepoint()
            try:
                job.result = job.operation(tx)
            except _ENGINE_ERRORS:
                raise
            except Exception as fault:  # noqa: BLE001 - the boundary: it belongs to the caller
                tx.undo()
                job.error = fault
            tx.release()
        tx.commit()

    def _give_up(self, batch: list[_Job], error: Exception) -> None:
        """Refuse the batch and drop the connection: the next batch tries with a fresh one."""
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self.trouble:  # told once, not at each retry of everybody
            _log.error("store: %s; operations are refused until it can write again", trouble)
        self.trouble = trouble
        if self._tx is not None:
            self._tx.abandon()
            self._tx = None
        for job in batch:
            job.error = Unavailable(f"the store cannot write now: {error}")

    def _deliver(self, batch: list[_Job], topics: frozenset[str]) -> None:
        """Hand out all results with one wake-up of the loop, not one each."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._settle, batch, topics)

    def _settle(self, jobs: list[_Job], topics: frozenset[str]) -> None:
        if topics:
            self._announce(topics)
        for job in jobs:
            job.settle()


class _PoisonedError(Exception):
    """One operation of the batch failed after it had begun to write."""
