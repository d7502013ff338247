"""The record of synchronous calls on its way into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from store_values import START

from scheduler import history as module
from scheduler.events import Ending, Outcome
from scheduler.functions import AuthLevel, Bundle, BundleKind, Function, HttpTrigger, Limits
from scheduler.history import STATE_OF, History
from scheduler.run import Run, RunState, is_final
from scheduler.store.memory import MemoryStore
from scheduler.store.port import MAX_ENDS, EndedCall, RunFilter, Unavailable

OK = Outcome(Ending.SUCCEEDED, exec_s=0.25, wait_s=0.5)


class Sick(MemoryStore):
    """A store that takes or refuses batches as the test says; it keeps their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.before: Callable[[], Any] = lambda: None

    async def finish_calls(self, instance: str, calls: Sequence[EndedCall]) -> None:
        self.before()
        await super().finish_calls(instance, calls)
        self.sizes.append(len(calls))
        await asyncio.sleep(0)

    def refuse(self) -> None:
        raise Unavailable("disk full")


@pytest.fixture
def store() -> Sick:
    """Give the store."""
    return Sick()


@pytest.fixture
def function(tmp_path: Path) -> Function:
    """Give a function of release d1."""
    return Function(
        name="hello",
        bundle=Bundle("hello", BundleKind.FUNCTION, "d1", tmp_path),
        directory="hello",
        script_file="hello/__init__.py",
        entry_point="main",
        trigger=HttpTrigger("hello", None, AuthLevel.ANONYMOUS),
        trigger_name="req",
        bindings=(),
        limits=Limits(),
    )


@pytest.fixture
def history(store: Sick) -> History:
    """Give a history whose calls all end at START."""
    return History(store, "here", clock=START.timestamp)


async def stored(store: Sick) -> list[Run]:
    """Return all that is stored, oldest first."""
    runs, cursor = [], None
    while True:
        page = await store.query_runs(RunFilter(), cursor=cursor, limit=200)
        runs += page.items
        if (cursor := page.cursor) is None:
            return runs[::-1]


def add(history: History, function: Function, count: int) -> list[str]:
    """Add calls; return their ids as they are shown."""
    ids = [uuid4() for _ in range(count)]
    for one in ids:
        history.add(one.bytes, function, "http", OK)
    return list(map(str, ids))


async def test_a_call_becomes_a_row(store: Sick, history: History, function: Function) -> None:
    """Who, what, when, how long, and why it failed."""
    one = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
    failed = Outcome(Ending.FAILED, None, "ValueError: boom", "detail", 0.25, 0.5)
    history.add(one.bytes, function, "http", failed)
    await history.flush()
    (run,) = await stored(store)
    assert (run.public_id, run.name, run.trigger, run.instance, run.release) == (
        str(one), "hello", "http", "here", "d1",
    )  # fmt: skip
    assert (run.state, run.reason, run.ended_at) == (RunState.FAILED, "ValueError: boom", START)
    assert (run.wait_ms, run.exec_ms) == (500.0, 250.0)


@pytest.mark.parametrize("ending", list(Ending))
async def test_every_ending_has_a_final_state(
    store: Sick, history: History, function: Function, ending: Ending
) -> None:
    """The store refuses a batch with anything else, and the whole batch with it."""
    history.add(uuid4().bytes, function, "http", Outcome(ending))
    await history.flush()
    (run,) = await stored(store)
    assert run.state is STATE_OF[ending]
    assert is_final(run.state)
    assert (run.state is RunState.SUCCESS) == (ending is Ending.SUCCEEDED)


async def test_rows_go_in_batches_in_their_order(
    store: Sick, history: History, function: Function
) -> None:
    """As many as the store takes as a whole; an idle platform does not ask the store at all."""
    await history.flush()
    assert store.sizes == []
    ids = add(history, function, 2 * MAX_ENDS + 1)
    await history.flush()
    assert store.sizes == [MAX_ENDS, MAX_ENDS, 1]
    assert [run.public_id for run in await stored(store)] == ids


async def test_a_store_error_keeps_the_rows(
    store: Sick, history: History, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    """All come later, in order and once, though the store failed in the middle; told once."""
    ids = add(history, function, 2 * MAX_ENDS + 1)
    store.before = lambda: store.refuse() if store.sizes else None
    for _ in range(3):
        await history.flush()
    assert store.sizes == [MAX_ENDS]
    ids += add(history, function, 1)
    store.before = lambda: None
    await history.flush()
    assert [run.public_id for run in await stored(store)] == ids
    assert [record.getMessage() for record in caplog.records] == [
        "the history waits for the store: disk full",
        "the history goes on; 0 rows were dropped so far",
    ]


async def test_trouble_is_told_each_time_it_comes(
    store: Sick, history: History, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each time, not once for ever."""
    for _ in range(2):
        add(history, function, 1)
        store.before = store.refuse
        await history.flush()
        store.before = lambda: None
        await history.flush()
    assert len([r for r in caplog.records if "waits" in r.getMessage()]) == 2


async def test_memory_is_bounded(
    store: Sick,
    history: History,
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What does not fit is dropped and counted; what was there stays."""
    monkeypatch.setattr(module, "_BOUND", 10)
    store.before = store.refuse
    ids = add(history, function, 13)
    await history.flush()
    add(history, function, 2)
    assert history.dropped == 5
    store.before = lambda: None
    await history.flush()
    assert [run.public_id for run in await stored(store)] == ids[:10]
    assert "5 rows were dropped" in caplog.text
    add(history, function, 1)
    assert history.dropped == 5, "there is room again"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("odd")])
async def test_no_error_of_a_store_ends_the_record(
    store: Sick, history: History, function: Function, error: Exception
) -> None:
    """Also one that no port allows: all rows come later, and meanwhile it can be read why."""
    ids = add(history, function, 3)

    def fail() -> None:
        raise error

    store.before = fail
    await history.flush()
    assert (history.kept, history.dropped) == (3, 0)
    (concern,) = history.concerns()
    assert str(error) in concern
    assert "3 runs" in concern
    store.before = lambda: None
    await history.flush()
    assert [run.public_id for run in await stored(store)] == ids
    assert (history.concerns(), history.kept) == ([], 0)


async def test_a_row_that_no_store_takes_holds_up_no_others(
    store: Sick, history: History, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found by halves, tried alone a few times, then given up, counted and told."""
    ids = add(history, function, 20)
    bad = UUID(ids[7]).bytes
    take = store.finish_calls

    async def picky(instance: str, calls: Sequence[EndedCall]) -> None:
        if any(call.call_id == bad for call in calls):
            raise ValueError("no such text")
        await take(instance, calls)

    store.finish_calls = picky  # type: ignore[method-assign]
    for _ in range(20):
        await history.flush()
    assert [run.public_id for run in await stored(store)] == ids[:7] + ids[8:]
    assert (history.dropped, history.kept) == (1, 0)
    assert "the run of 'hello' cannot be stored and is given up" in caplog.text


async def test_rows_that_come_meanwhile_are_not_lost(
    store: Sick, history: History, function: Function
) -> None:
    """A call may end while the store is writing."""
    ids = add(history, function, 2)
    late: list[str] = []
    store.before = lambda: late or late.extend(add(history, function, 1))
    await history.flush()
    assert [run.public_id for run in await stored(store)] == ids + late


@pytest.mark.real
async def test_it_stores_by_itself(store: Sick, history: History, function: Function) -> None:
    """Within a moment after the call, again and again."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(history.serve())
        for count in (1, 2):
            add(history, function, 1)
            async with asyncio.timeout(5):
                while len(await stored(store)) < count:
                    await asyncio.sleep(0.01)
        serving.cancel()


@pytest.mark.real
async def test_an_end_in_the_middle_loses_nothing(
    store: Sick, history: History, function: Function
) -> None:
    """Stopped while a batch is on its way: that one has arrived, `flush` brings the others."""
    ids = add(history, function, 3 * MAX_ENDS)
    async with asyncio.TaskGroup() as group:
        flushing = group.create_task(history.flush())
        while not store.sizes:
            await asyncio.sleep(0)
        flushing.cancel()
    await history.flush()
    assert [run.public_id for run in await stored(store)] == ids
