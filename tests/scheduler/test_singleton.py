"""The right to run: one holder, renewed while held, given up in time when it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from job_fakes import FakeClock, settle

from scheduler.singleton import MARGIN_S, RENEW_S, TTL_S, Singleton, release_stale
from scheduler.store.memory import MemoryStore
from scheduler.store.port import Unavailable


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    """Return an empty store."""
    return MemoryStore(clock=clock)


@pytest.fixture
async def make(store, clock) -> AsyncIterator:
    """Make singletons of one name for different owners."""
    async with asyncio.TaskGroup() as group:
        made: list[Singleton] = []

        def one(owner: str = "me") -> Singleton:
            made.append(Singleton(store, clock, group, name="s/job", owner=owner))
            return made[-1]

        yield one
        for singleton in made:
            await singleton.release()


async def test_one_holds_it_until_it_lets_go(make):
    """The second gets it once the first has released it."""
    first, second = make("a"), make("b")
    assert await first.acquire()
    assert not await second.acquire()
    await first.release()
    assert await second.acquire()


async def test_it_is_renewed_for_as_long_as_it_is_held(make, clock):
    """Hours later nobody else can have it."""
    first, second = make("a"), make("b")
    assert await first.acquire()
    await clock.pass_time(600)
    assert not first.lost.is_set()
    assert not await second.acquire()


async def test_a_holder_that_is_gone_loses_it_by_time(make, clock, store):
    """Nobody has to notice a death: the lease runs out."""
    await store.acquire("s/job", "dead", TTL_S)
    second = make("b")
    await clock.pass_time(TTL_S - 1)
    assert not await second.acquire()
    await clock.pass_time(2)
    assert await second.acquire()


async def test_another_holder_means_lost(make, clock, store):
    """When the store gave it to somebody else, the owner hears of it at the next renewal."""
    first = make("a")
    await first.acquire()
    (lease,) = await store.leases("s/")
    await store.release_lease("s/job", lease.token)
    await store.acquire("s/job", "other", TTL_S)
    await clock.pass_time(RENEW_S)
    assert first.lost.is_set()


async def test_a_lease_that_ran_out_unnoticed_is_taken_again(make, clock, store):
    """A machine that slept goes on if nobody else took the job meanwhile."""
    first = make("a")
    await first.acquire()
    (lease,) = await store.leases("s/")
    await store.release_lease("s/job", lease.token)
    await clock.pass_time(RENEW_S)
    assert not first.lost.is_set()
    assert [lease.owner for lease in await store.leases("s/")] == ["a"]


async def test_a_store_that_does_not_answer_means_lost_before_the_lease_ends(
    make, clock, store, monkeypatch
):
    """The process must be gone before another instance may start it."""
    first = make("a")
    await first.acquire()

    async def fail(*_args):
        raise Unavailable("disk full")

    monkeypatch.setattr(store, "renew", fail)
    await clock.pass_time(RENEW_S)
    assert not first.lost.is_set()
    await clock.pass_time(TTL_S - MARGIN_S - RENEW_S)
    assert first.lost.is_set()


async def test_a_short_failure_of_the_store_costs_nothing(make, clock, store, monkeypatch):
    """One renewal may fail; the next one makes it good."""
    first = make("a")
    await first.acquire()
    renew, answers = store.renew, iter([False, True])

    async def fail_once(*args):
        if next(answers, True):
            return await renew(*args)
        raise Unavailable("busy")

    monkeypatch.setattr(store, "renew", fail_once)
    await clock.pass_time(60)
    assert not first.lost.is_set()


async def test_release_is_idempotent(make, store):
    """And frees the name in the store."""
    first = make()
    await first.release()
    await first.acquire()
    await first.release()
    await first.release()
    assert list(await store.leases("s/")) == []


async def test_release_without_a_store_does_not_raise(make, store):
    """Shutting down goes on; the lease runs out."""
    first = make()
    await first.acquire()
    await store.close()
    await first.release()


async def test_what_a_killed_process_held_is_freed_at_the_next_start(store):
    """Only the own leases, and only of this kind: a restart need not wait for the time to pass."""
    await store.acquire("s/one", "me", TTL_S)
    await store.acquire("s/two", "other", TTL_S)
    await store.acquire("t/one", "me", TTL_S)
    await release_stale(store, "s/", "me")
    await settle()
    assert [lease.name for lease in await store.leases("")] == ["s/two", "t/one"]
