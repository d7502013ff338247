"""What the store forgets, on every kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from store_values import START, SetClock, call, new_run

from scheduler.pruning import STEP_PAUSE_S, STEP_ROWS, HistoryRetention, Pruning
from scheduler.run import RunKind, RunState
from scheduler.store.memory import MemoryStore
from scheduler.store.port import RunFilter, Store
from scheduler.store.sqlite import SqliteStore

DAY_S = 86_400


@pytest.fixture
def clock() -> SetClock:
    """Give the time of store and pruning."""
    return SetClock()


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.real)])
async def store(
    request: pytest.FixtureRequest, clock: SetClock, tmp_path: Path
) -> AsyncIterator[Store]:
    """Give an open store of each kind."""
    made: Store = MemoryStore(clock=clock)
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "taak.db", clock=clock)
    async with made:
        yield made


class Pauses:
    """A clock that notes how long somebody wanted to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the store's clock decides, not this one's {name}")


async def prune(store: Store, **kept: Any) -> list[float]:
    """Prune once; return the pauses."""
    pauses = Pauses()
    await Pruning(store, HistoryRetention(**kept), pauses).prune()  # type: ignore[arg-type]
    return pauses.slept


async def ids(store: Store) -> str:
    page = await store.query_runs(RunFilter(), limit=200)
    return "".join(run.public_id for run in reversed(page.items))


async def test_runs_of_functions_are_kept_for_a_month(store: Store, clock: SetClock) -> None:
    """Thirty days by default; runs of jobs and runs that have not ended stay."""
    await store.finish_many([call(clock, public_id="a")])
    await store.create_run(new_run(clock, public_id="b", state=RunState.SUCCESS))
    await store.create_run(
        call_open := new_run(
            clock, public_id="c", kind=RunKind.FUNCTION, name="hello", state=RunState.RUNNING
        )
    )
    assert call_open.kind is RunKind.FUNCTION
    clock.move(1)
    await store.finish_many([call(clock, public_id="d")])
    clock.move(30 * DAY_S - 1)
    await prune(store)
    assert await ids(store) == "abcd"
    clock.move(0.5)
    await prune(store)
    assert await ids(store) == "bcd"


async def test_rows_beyond_the_bound_go_however_young(store: Store, clock: SetClock) -> None:
    """The newest ids stay, over all functions together."""
    rows = [call(clock, public_id=str(n), name=f"f{n % 3}") for n in range(8)]
    await store.finish_many(rows)
    await prune(store, run_rows=5)
    assert await ids(store) == "34567"
    await prune(store, run_rows=5)
    assert await ids(store) == "34567"


async def test_a_job_s_rows_are_not_pruned_for_the_bound(store: Store, clock: SetClock) -> None:
    """They have files, and their own retention removes both."""
    await store.create_run(new_run(clock, public_id="j", state=RunState.SUCCESS))
    await store.finish_many([call(clock, public_id=str(n)) for n in range(4)])
    await prune(store, run_rows=2)
    assert await ids(store) == "j23"


async def test_old_ticks_go_but_never_the_last(store: Store, clock: SetClock) -> None:
    """Thirty days by default, per timer; what a timer did last decides about catching up."""
    for timer in "tu":
        for day in range(3):
            await store.fire(timer, START + timedelta(days=day), outcome="skipped")
    clock.move(31.5 * DAY_S)
    await prune(store)
    assert [tick.due_at for tick in await store.ticks("t")] == [START + timedelta(days=2)]
    clock.move(300 * DAY_S)
    await prune(store)
    assert [tick.due_at for tick in await store.ticks("u")] == [START + timedelta(days=2)]


async def test_counters_are_kept_for_a_quarter(store: Store, clock: SetClock) -> None:
    """Ninety days by default: longer than the rows they were counted from."""
    await store.finish_many([call(clock), call(clock, name="other")])
    clock.move(90 * DAY_S)
    await prune(store)
    window = timedelta(days=400)
    assert (await store.run_stats(RunKind.FUNCTION, "hello", window)).total == 1
    clock.move(60)
    await prune(store)
    for name in ("hello", "other"):
        assert (await store.run_stats(RunKind.FUNCTION, name, window)).total == 0


async def test_commands_are_kept_a_day_after_their_end(store: Store, clock: SetClock) -> None:
    """As long as their idempotency key must be remembered; then key and answers go too."""
    me = await store.join("me")
    sent = await store.send_command("dance", ttl_s=60, idempotency_key="k")
    await store.heartbeat("me", me, acks={sent: "done"})
    clock.move(60 + DAY_S)
    await prune(store)
    assert await store.send_command("dance", idempotency_key="k") == sent
    assert len(await store.command_results(sent)) == 1
    clock.move(1)
    await prune(store)
    assert await store.command_results(sent) == []
    assert await store.send_command("dance", idempotency_key="k") > sent


async def test_it_goes_in_small_steps_with_pauses(store: Store, clock: SetClock) -> None:
    """No step is larger than the bound, and others get between; an idle pass does not pause."""
    await store.finish_many([call(clock) for _ in range(2 * STEP_ROWS + 1)])
    for minute in range(STEP_ROWS + 2):
        await store.fire("t", START + timedelta(minutes=minute), outcome="skipped")
    clock.move(31 * DAY_S)
    assert await prune(store) == [STEP_PAUSE_S] * 2
    assert await ids(store) == ""
    assert len(await store.ticks("t", 10)) == 1
    assert await prune(store) == []


@pytest.mark.parametrize("limit", [1, 3])
async def test_each_operation_keeps_to_its_limit(store: Store, clock: SetClock, limit: int) -> None:
    """And says how many it removed, over all names, so that the caller knows to come again."""
    for _ in range(2):
        await store.finish_many([call(clock, name=f"f{n}") for n in range(3)])
        clock.move(60)
    for n in range(3):
        for timer in "tuv":
            await store.fire(timer, START + timedelta(minutes=n), outcome="skipped")
        await store.send_command("dance", ttl_s=n)
        await store.send_command("sing", ttl_s=n)
    clock.move(3600)
    now = clock.now()
    assert await store.prune_ticks(now, limit=limit) == limit
    assert await store.prune_ticks(now, limit=100) == 6 - limit
    assert await store.prune_stats(now, limit=limit) == limit
    assert await store.prune_stats(now, limit=100) == 6 - limit
    assert await store.prune_commands(now, limit=limit) == limit
    assert await store.prune_commands(now, limit=100) == 6 - limit
    assert len(await store.prune_runs(older_than=now, limit=limit)) == limit
    assert len(await store.prune_runs(keep_newest=1, limit=100)) == 5 - limit
