"""Membership and housekeeping on virtual time, with the store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from job_fakes import FakeClock
from store_values import call, work

from scheduler.store.memory import MemoryStore
from scheduler.store.port import Member, RunFilter, Store, Unavailable
from scheduler.upkeep import TTL_S, Upkeep


class Sick(MemoryStore):
    """A store of which named operations fail when a test says so; it counts the attempts."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock, draw=lambda: 0.5)
        self.broken: set[str] = set()
        self.error: type[Exception] = Unavailable
        self.asked: list[tuple[str, float]] = []
        self._time = clock

    def _ask(self, operation: str) -> None:
        self.asked.append((operation, self._time.monotonic()))
        if operation in self.broken:
            raise self.error(f"no {operation} today")

    async def heartbeat(self, *args: Any, **given: Any) -> Any:
        self._ask("heartbeat")
        return await super().heartbeat(*args, **given)

    async def reap(self, *args: Any, **given: Any) -> Any:
        self._ask("reap")
        return await super().reap(*args, **given)

    async def prune_runs(self, **given: Any) -> Any:
        self._ask("prune_runs")
        return await super().prune_runs(**given)

    async def leave(self, *args: Any) -> None:
        self._ask("leave")
        await super().leave(*args)

    def times(self, operation: str) -> list[float]:
        """Return when the operation was asked for."""
        return [at for what, at in self.asked if what == operation]


@pytest.fixture
def clock() -> FakeClock:
    """Give the time."""
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Sick:
    """Give the store."""
    return Sick(clock)


def made(store: Store, clock: FakeClock, **given: Any) -> Upkeep:
    """Return the upkeep of "me" without jitter."""
    return Upkeep(store, "me", **({"clock": clock, "draw": lambda: 0.5} | given))


@contextlib.asynccontextmanager
async def serving(upkeep: Upkeep) -> AsyncIterator[None]:
    """Serve for the length of a block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(upkeep.serve())
        yield
        task.cancel()


async def me(store: Store) -> Member:
    (member,) = await store.members()
    return member


async def test_it_is_alive_as_long_as_it_serves(store: Sick, clock: FakeClock) -> None:
    """Joined with its address; a heartbeat a second keeps it alive; leaving takes it off."""
    upkeep = made(store, clock, address="http://here")
    await upkeep.join()
    async with serving(upkeep):
        await clock.pass_time(60.5)
        member = await me(store)
        assert (member.alive, member.epoch, member.address) == (True, upkeep.epoch, "http://here")
        assert len(store.times("heartbeat")) == 60
    await clock.pass_time(TTL_S)
    assert not (await me(store)).alive
    await upkeep.leave()
    assert await store.members() == []


async def test_it_tells_how_it_is(store: Sick, clock: FakeClock) -> None:
    """Load and job states are asked for at each heartbeat."""
    load = {"busy": 1}
    upkeep = made(store, clock, load=lambda: load, job_statuses=lambda: {"mail": "Running"})
    await upkeep.join()
    async with serving(upkeep):
        await clock.pass_time(1)
        load["busy"] = 7
        await clock.pass_time(1)
        member = await me(store)
    assert (member.load, member.job_statuses) == ({"busy": 7}, {"mail": "Running"})


async def test_joining_frees_what_an_earlier_life_held(store: Sick, clock: FakeClock) -> None:
    """A lease and queued work of a killed process are free within a second, not at their end."""
    first = made(store, clock)
    await first.join()
    await store.acquire("job/a", "me", 3600)
    held = await store.enqueue(work(lease_to="me", lease_s=3600))
    second = made(store, clock)
    await second.join()
    assert second.epoch > first.epoch
    assert await store.acquire("job/a", "me", 15) is not None
    async with serving(second):
        await clock.pass_time(1)
        assert [c.id for c in await store.claim("me", [("mail", 1)], 30)] == [held.id]


async def test_a_lost_epoch_is_joined_again(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Told as a warning with what to do; the heartbeat goes on under the new epoch."""
    upkeep = made(store, clock)
    await upkeep.join()
    stranger = await store.join("me")
    async with serving(upkeep):
        await clock.pass_time(3)
        assert upkeep.epoch > stranger
        member = await me(store)
    assert (member.epoch, member.alive, member.age_s) == (upkeep.epoch, True, 0.0)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "'me' is not at epoch 1" in warnings[0]
    assert "--instance" in warnings[0]


async def test_a_store_that_fails_is_told_once_and_asked_more_slowly(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Pauses of 1, 2, 4, 4 … seconds, one line at the begin and one at the end."""
    caplog.set_level(logging.INFO)
    upkeep = made(store, clock)
    await upkeep.join()
    store.broken.add("heartbeat")
    async with serving(upkeep):
        await clock.pass_time(16)
        assert store.times("heartbeat") == [1, 3, 7, 11, 15]
        store.broken.clear()
        await clock.pass_time(5)
        assert store.times("heartbeat")[5:] == [19, 20, 21]
        assert store.times("reap") == list(range(1, 22)), "the other parts go on meanwhile"
    assert [record.getMessage() for record in caplog.records] == [
        "the heartbeat waits for the store: no heartbeat today",
        "the heartbeat goes on",
    ]


async def test_an_error_that_no_store_should_raise_ends_nothing(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The platform goes on, and says what it was."""
    upkeep = made(store, clock)
    await upkeep.join()
    store.broken, store.error = {"reap"}, OSError
    async with serving(upkeep):
        await clock.pass_time(5)
        assert len(store.times("heartbeat")) == 5
        assert len(store.times("reap")) > 1
    assert "taking back lost work waits for the store: OSError('no reap today')" in caplog.text


async def test_back_after_trouble_it_is_not_taken_for_dead(store: Sick, clock: FakeClock) -> None:
    """The longest pause is shorter than the time after which others take our work."""
    upkeep = made(store, clock, draw=lambda: 0.999)
    await upkeep.join()
    store.broken.add("heartbeat")
    async with serving(upkeep):
        await clock.pass_time(100)
    gaps = [b - a for a, b in zip(store.times("heartbeat"), store.times("heartbeat")[1:])]  # noqa: B905
    assert max(gaps) < TTL_S


@pytest.mark.parametrize(("draw", "first"), [(0.0, 0.9), (0.5, 1.0), (0.999, 1.0998)])
async def test_the_rhythm_has_jitter(
    store: Sick, clock: FakeClock, draw: float, first: float
) -> None:
    """A tenth of the interval to both sides: instances do not come to the store in step."""
    upkeep = made(store, clock, draw=lambda: draw)
    await upkeep.join()
    async with serving(upkeep):
        await clock.pass_time(1.5)
    assert store.times("reap") == [pytest.approx(first)]


async def test_a_mass_of_lost_work_comes_back_in_one_go(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Batch after batch without a pause while batches are full, and told how many."""
    for _ in range(250):
        await store.enqueue(work(lease_to="gone", lease_s=0.5))
    upkeep = made(store, clock)
    await upkeep.join()
    async with serving(upkeep):
        await clock.pass_time(1)
        assert (await store.depth(["mail"]))["mail"].running == 0
        assert store.times("reap") == [1, 1, 1]
    told = [record.getMessage() for record in caplog.records]
    assert told[2].startswith("work whose worker is gone: 50 queued again, 0 dead")


async def test_an_unknown_command_is_answered(store: Sick, clock: FakeClock) -> None:
    """Who sent it learns that nothing happens; it is not given again."""
    upkeep = made(store, clock)
    await upkeep.join()
    sent = await store.send_command("dance", target="me")
    async with serving(upkeep):
        await clock.pass_time(2)
        results = await store.command_results(sent)
        assert [result.result for result in results] == [
            "refused: this version does not know 'dance'"
        ]
        await clock.pass_time(5)
        assert len(await store.command_results(sent)) == 1


async def test_an_answer_outlives_a_failed_heartbeat(store: Sick, clock: FakeClock) -> None:
    """It is offered again until the store has taken it."""
    upkeep = made(store, clock)
    await upkeep.join()
    sent = await store.send_command("dance")
    async with serving(upkeep):
        await clock.pass_time(1)
        store.broken.add("heartbeat")
        await clock.pass_time(5)
        store.broken.clear()
        await clock.pass_time(5)
        assert len(await store.command_results(sent)) == 1


async def test_history_is_pruned_beside_the_rest(store: Sick, clock: FakeClock) -> None:
    """Old runs go without anybody asking, in passes; heartbeats go on between the steps."""
    upkeep = made(store, clock)
    await upkeep.join()
    rows = [call(clock, public_id=str(n)) for n in range(1000)]  # type: ignore[arg-type]
    await store.finish_many(rows)
    await clock.pass_time(31 * 24 * 3600)
    store.asked.clear()
    async with serving(upkeep):
        await clock.pass_time(11)
        assert (await store.query_runs(RunFilter())).items == []
        assert len(store.times("prune_runs")) == 6
        assert len(store.times("heartbeat")) == 11


async def test_pruning_that_fails_holds_nothing_up(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once, tried again later; the heartbeat does not notice."""
    upkeep = made(store, clock)
    await upkeep.join()
    store.broken.add("prune_runs")
    async with serving(upkeep):
        await clock.pass_time(100)
    assert store.times("prune_runs") == [10, 30, 70]
    assert len(store.times("heartbeat")) == 100
    assert [r.getMessage() for r in caplog.records] == [
        "pruning the history waits for the store: no prune_runs today"
    ]


async def test_leaving_a_broken_store_is_no_error(
    store: Sick, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The platform's end goes on; silence tells the store the same."""
    upkeep = made(store, clock)
    await upkeep.join()
    store.broken.add("leave")
    await upkeep.leave()
    assert "no leave today" in caplog.text


async def test_joining_a_broken_store_is_an_error(store: Sick, clock: FakeClock) -> None:
    """A platform that cannot enter must not begin to hold things."""
    await store.close()
    with pytest.raises(Unavailable):
        await made(store, clock).join()
