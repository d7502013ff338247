"""The contract of the queue, for every store: order, fencing, caps, back-off, dead letters."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from store_values import START, SetClock, work

from scheduler.errors import BadRequestError
from scheduler.run import RunState
from scheduler.store.port import (
    Backoff,
    CancelResult,
    Claimed,
    Enqueued,
    FunctionLimits,
    Lost,
    NewWork,
    QueueFull,
    Store,
)


async def claim(store: Store, n: int = 10, function: str = "mail") -> list[Claimed]:
    """Claim up to n."""
    return await store.claim("me", [(function, n)], 30)


async def claim_one(store: Store, function: str = "mail") -> Claimed:
    """Claim the one that is ready."""
    (claimed,) = await claim(store, 1, function)
    return claimed


async def test_the_order_is_priority_then_time_then_id(store: Store, clock: SetClock) -> None:
    """Higher priority first, then what was due earlier, then what came first."""
    for payload, priority, due in [
        (b"d", 0, 0),
        (b"c", 0, -5),
        (b"e", 0, 0),
        (b"a", 9, 0),
        (b"b", 5, 0),
    ]:
        run_at = START + timedelta(seconds=due)
        await store.enqueue(work(payload=payload, priority=priority, run_at=run_at))
    assert [c.payload for c in await claim(store, 2)] == [b"a", b"b"]
    assert [c.payload for c in await claim(store)] == [b"c", b"d", b"e"]


async def test_enqueue_makes_a_run(store: Store, clock: SetClock) -> None:
    """The run is there at once, runs with the claim, ends with complete."""
    new = work(trigger="timer", instance="there", release="r", parent=3, payload=b"p")
    taken = await store.enqueue(new)
    run = await store.get_run(taken.id)
    assert run is not None
    assert (run.state, run.trigger, run.public_id, run.parent) == (
        RunState.QUEUED,
        "timer",
        new.public_id,
        3,
    )
    clock.move(1.5)
    claimed = await claim_one(store)
    assert (claimed.id, claimed.payload, claimed.public_id) == (taken.id, b"p", new.public_id)
    assert claimed.deadline == clock.now() + timedelta(seconds=30)
    run = await store.get_run(taken.id)
    assert run is not None
    assert (run.state, run.instance, run.wait_ms) == (RunState.RUNNING, "me", 1500.0)
    clock.move(2)
    await store.complete(taken.id, claimed.token, exit_code=0)
    run = await store.get_run(taken.id)
    assert run is not None
    assert (run.state, run.exec_ms, run.ended_at) == (RunState.SUCCESS, 2000.0, clock.now())
    assert await claim(store) == []


async def test_delayed_work_waits_for_its_time(store: Store, clock: SetClock) -> None:
    """Not a moment before run_at, whatever its priority."""
    await store.enqueue(work(run_at=START + timedelta(seconds=10), priority=9))
    assert (await store.depth(["mail"]))["mail"].delayed == 1
    clock.move(9.999999)
    assert await claim(store) == []
    clock.move(0.000001)
    assert (await store.depth(["mail"]))["mail"].ready == 1
    assert len(await claim(store)) == 1


async def test_names_compare_without_case(store: Store) -> None:
    """Work for "Mail" is claimed as "mail"; other functions are not touched."""
    await store.enqueue(work("Mail"))
    await store.enqueue(work("other"))
    assert len(await claim(store, function="mAIL")) == 1


async def test_a_dedup_key_is_taken_while_its_work_lives(store: Store, clock: SetClock) -> None:
    """The same id comes back, from the queue and while it runs; after the end the key is free."""
    first = await store.enqueue(work(dedup_key="k"))
    assert await store.enqueue(work(dedup_key="k")) == Enqueued(first.id, created=False)
    assert (await store.enqueue(work("other", dedup_key="k"))).created
    claimed = await claim_one(store)
    assert (await store.enqueue(work(dedup_key="k"))).id == first.id
    await store.complete(claimed.id, claimed.token)
    assert (await store.enqueue(work(dedup_key="k"))).created


async def test_a_dedup_key_may_outlive_its_work(store: Store, clock: SetClock) -> None:
    """With dedup_keep_s a retry of the client gets the first id even after the end."""
    new = work(dedup_key="k", dedup_keep_s=60)
    first = await store.enqueue(new)
    claimed = await claim_one(store)
    await store.complete(claimed.id, claimed.token)
    clock.move(59)
    await store.reap()
    assert await store.enqueue(new) == Enqueued(first.id, created=False)
    clock.move(1)
    await store.reap()
    assert (await store.enqueue(new)).created


async def test_a_full_queue_refuses(store: Store) -> None:
    """At max_depth the next is refused with a hint; running work does not count."""
    await store.set_limits("mail", FunctionLimits(max_depth=2))
    await store.enqueue(work())
    await store.enqueue(work(run_at=START + timedelta(hours=1)))
    with pytest.raises(QueueFull, match="max_depth") as refusal:
        await store.enqueue(work())
    assert refusal.value.retry_after_s > 0
    await claim(store)
    assert (await store.enqueue(work())).created


async def test_enqueue_many_takes_all_or_none(store: Store) -> None:
    """When one finds no room, none is taken."""
    await store.set_limits("mail", FunctionLimits(max_depth=2))
    with pytest.raises(QueueFull):
        await store.enqueue_many([work("other"), work(), work(), work()])
    depth = await store.depth(["mail", "other"])
    assert (depth["mail"].ready, depth["other"].ready) == (0, 0)
    assert [taken.created for taken in await store.enqueue_many([work(), work()])] == [True, True]


async def test_too_large_a_payload_is_the_callers_mistake() -> None:
    """The message names size and limit."""
    with pytest.raises(BadRequestError, match=r"65537 bytes, the limit .* 65536"):
        NewWork(function="f", payload=b"x" * 65_537)


async def test_direct_work_starts_leased(store: Store, clock: SetClock) -> None:
    """lease_to saves the claim: token, attempt and run are as if it had been claimed."""
    taken = await store.enqueue(work(lease_to="me", lease_s=10))
    assert taken.lease is not None
    assert (taken.lease.token, taken.lease.attempt, taken.lease.owner) == (1, 1, "me")
    assert taken.lease.deadline == START + timedelta(seconds=10)
    run = await store.get_run(taken.id)
    assert run is not None
    assert (run.state, run.instance, run.started_at) == (RunState.RUNNING, "me", START)
    assert await claim(store) == []
    await store.complete(taken.id, taken.lease.token)


async def test_direct_work_honours_cap_pause_and_delay(store: Store) -> None:
    """Without room it is ordinary ready work."""
    await store.set_limits("mail", FunctionLimits(cap=1))
    assert (await store.enqueue(work(lease_to="me"))).lease is not None
    assert (await store.enqueue(work(lease_to="me"))).lease is None
    await store.set_limits("mail", FunctionLimits(paused=True))
    assert (await store.enqueue(work(lease_to="me"))).lease is None
    later = work("x", lease_to="me", run_at=START + timedelta(seconds=1))
    assert (await store.enqueue(later)).lease is None


async def test_a_paused_function_gives_nothing(store: Store) -> None:
    """Until it goes on; work is taken meanwhile."""
    await store.set_limits("mail", FunctionLimits(paused=True))
    await store.enqueue(work())
    assert await claim(store) == []
    assert await store.get_limits("MAIL") == FunctionLimits(paused=True)
    await store.set_limits("mail", FunctionLimits())
    assert len(await claim(store)) == 1


@pytest.mark.real
async def test_the_cap_holds_and_work_is_leased_once_under_eight_claimers(store: Store) -> None:
    """Eight claimers, 400 pieces, cap 4: never a fifth at once, none twice, none left."""
    await store.set_limits("mail", FunctionLimits(cap=4))
    await store.enqueue_many([work() for _ in range(400)])
    seen: Counter[int] = Counter()
    running = most = 0

    async def claimer() -> None:
        nonlocal running, most
        while sum(seen.values()) < 400:
            await asyncio.sleep(0)
            for claimed in await claim(store, 3):
                seen[claimed.id] += 1
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1
                await store.complete(claimed.id, claimed.token)

    await asyncio.gather(*(claimer() for _ in range(8)))
    assert most <= 4
    assert len(seen) == 400
    assert set(seen.values()) == {1}


async def test_a_stale_token_changes_nothing(store: Store, clock: SetClock) -> None:
    """After the lease went on, complete, fail, release and extend of the old holder are lost."""
    taken = await store.enqueue(work())
    old = await claim_one(store)
    clock.move(31)
    await store.reap()
    new = await claim_one(store)
    assert new.token > old.token
    before = await store.get_run(taken.id)
    for refused in (
        store.complete(old.id, old.token, following=[work("next")]),
        store.fail(old.id, old.token, "late"),
        store.release(old.id, old.token),
    ):
        with pytest.raises(Lost):
            await refused
    extended = await store.extend([(old.id, old.token), (new.id, new.token), (999, 1)], 30)
    assert extended.lost == {old.id, 999}
    assert await store.get_run(taken.id) == before
    assert (await store.depth(["next"]))["next"].ready == 0


async def test_an_extended_lease_lasts(store: Store, clock: SetClock) -> None:
    """The reaper takes work back after its deadline, not before."""
    await store.enqueue(work())
    held = await claim_one(store)
    clock.move(20)
    await store.extend([(held.id, held.token)], 30)
    clock.move(29)
    assert (await store.reap()).requeued == ()
    clock.move(1)
    assert (await store.reap()).requeued == (held.id,)
    assert (await store.reap()).requeued == ()
    run = await store.get_run(held.id)
    assert run is not None
    assert run.state is RunState.QUEUED
    assert (await claim_one(store)).attempt == 2


async def test_the_back_off_grows_to_its_cap(store: Store, clock: SetClock) -> None:
    """1, 2, 4, 5, 5 seconds; not claimable before; then the letter is dead."""
    await store.enqueue(work(max_attempts=6, backoff=Backoff(cap_s=5, jitter=0)))
    for delay in (1, 2, 4, 5, 5):
        held = await claim_one(store)
        failure = await store.fail(held.id, held.token, "boom")
        assert failure.retry_at == clock.now() + timedelta(seconds=delay)
        clock.move(delay - 0.001)
        assert await claim(store) == []
        clock.move(0.001)
    held = await claim_one(store)
    failure = await store.fail(held.id, held.token, "boom")
    assert (failure.retry_at, failure.state) == (None, RunState.FAILED)


def test_jitter_stays_in_its_part() -> None:
    """0.2 of jitter is 80 % to 120 %; a huge attempt number does not overflow."""
    backoff = Backoff(base_s=10, jitter=0.2)
    assert backoff.delay_s(1, lambda: 0.0) == pytest.approx(8)
    assert backoff.delay_s(1, lambda: 1.0) == pytest.approx(12)
    assert backoff.delay_s(100_000, lambda: 0.5) == 300


async def test_the_caller_may_choose_when_to_retry(store: Store, clock: SetClock) -> None:
    """retry_at wins over the back-off."""
    await store.enqueue(work())
    held = await claim_one(store)
    when = START + timedelta(seconds=100)
    assert (await store.fail(held.id, held.token, "x", retry_at=when)).retry_at == when


async def test_a_dead_letter_tells_its_story_and_can_be_repeated(
    store: Store, clock: SetClock
) -> None:
    """All attempts with errors; requeued as new work whose run names the dead one as parent."""
    taken = await store.enqueue(work(max_attempts=2, payload=b"p", priority=3))
    for error in ("first", "second"):
        held = await claim_one(store)
        clock.move(5)
        await store.fail(held.id, held.token, error, state=RunState.TIMED_OUT)
        clock.move(60)
    (letter,) = (await store.dead_list("MAIL")).items
    assert [(e.attempt, e.error) for e in letter.errors] == [(1, "first"), (2, "second")]
    assert (letter.payload, letter.attempts, letter.created_at) == (b"p", 2, START)
    run = await store.get_run(taken.id)
    assert run is not None
    assert (run.state, run.reason, run.attempt) == (RunState.TIMED_OUT, "second", 2)
    (again,) = await store.dead_requeue([taken.id, 999, taken.id])
    assert (await store.dead_list()).items == []
    held = await claim_one(store)
    assert (held.id, held.attempt, held.parent, held.payload) == (again, 1, taken.id, b"p")
    assert await store.get_run(taken.id) == run


async def test_dead_letters_are_paged_and_purged(store: Store) -> None:
    """By function, by id, or all."""
    for name in ("a", "a", "a", "b"):
        taken = await store.enqueue(work(name, max_attempts=1, lease_to="me"))
        assert taken.lease is not None
        await store.fail(taken.id, taken.lease.token, "x")
    page = await store.dead_list(limit=3)
    assert [letter.id for letter in page.items] == [4, 3, 2]
    assert [letter.id for letter in (await store.dead_list(cursor=page.cursor)).items] == [1]
    assert (await store.depth(["a"]))["a"].dead == 3
    assert await store.dead_purge([1, 99]) == 1
    assert await store.dead_purge([4], function="a") == 0
    assert await store.dead_purge(function="a") == 2
    assert await store.dead_purge() == 1


async def test_waiting_work_is_cancelled_at_once(store: Store) -> None:
    """Ready and delayed work goes, with a cancelled run; a second time it is unknown."""
    ready = await store.enqueue(work())
    delayed = await store.enqueue(work(run_at=START + timedelta(hours=1)))
    for taken in (ready, delayed):
        assert await store.cancel(taken.id) is CancelResult.REMOVED
        assert await store.cancel(taken.id) is CancelResult.UNKNOWN
        run = await store.get_run(taken.id)
        assert run is not None
        assert run.state is RunState.CANCELLED
    assert await claim(store) == []


@pytest.mark.parametrize("way", ["fail", "release", "reap", "complete"])
async def test_running_work_is_asked_to_stop(store: Store, clock: SetClock, way: str) -> None:
    """The owner hears by signal and by extend; it is not tried again, however it ends."""
    await store.enqueue(work())
    held = await claim_one(store)
    async with store.subscribe(["cancel:*"]) as changes:
        assert await store.cancel(held.id) is CancelResult.REQUESTED
        assert await anext(changes) == {f"cancel:{held.id}"}
    assert (await store.extend([(held.id, held.token)], 30)).cancelled == {held.id}
    match way:
        case "fail":
            await store.fail(held.id, held.token, "stopped")
        case "release":
            await store.release(held.id, held.token)
        case "complete":
            await store.complete(held.id, held.token, state=RunState.CANCELLED)
        case _:
            clock.move(30)
            assert (await store.reap()).cancelled == (held.id,)
    run = await store.get_run(held.id)
    assert run is not None
    assert run.state is RunState.CANCELLED
    assert await claim(store) == []


async def test_release_counts_no_attempt_but_fences(store: Store, clock: SetClock) -> None:
    """The next holder has the same attempt number and a larger token."""
    await store.enqueue(work(max_attempts=1))
    first = await claim_one(store)
    await store.release(first.id, first.token, delay_s=5)
    assert await claim(store) == []
    clock.move(5)
    second = await claim_one(store)
    assert (second.attempt, second.token > first.token) == (1, True)
    with pytest.raises(Lost):
        await store.complete(first.id, first.token)


async def test_complete_and_what_follows_are_one(store: Store) -> None:
    """Followers appear with the end, or nothing happens at all."""
    await store.set_limits("next", FunctionLimits(max_depth=1))
    await store.enqueue(work())
    held = await claim_one(store)
    with pytest.raises(QueueFull):
        await store.complete(held.id, held.token, following=[work("next"), work("next")])
    assert (await store.depth(["mail"]))["mail"].running == 1
    run = await store.get_run(held.id)
    assert run is not None
    assert run.state is RunState.RUNNING
    (made,) = await store.complete(held.id, held.token, following=[work("next", parent=held.id)])
    assert (await claim_one(store, "next")).id == made.id


async def test_a_lease_lost_in_the_last_attempt_makes_a_dead_letter(
    store: Store, clock: SetClock
) -> None:
    """The reaper counts the attempt; the run ends as aborted and names the owner."""
    await store.enqueue(work(max_attempts=1))
    held = await claim_one(store)
    clock.move(30)
    assert (await store.reap()).dead == (held.id,)
    run = await store.get_run(held.id)
    assert run is not None
    assert run.state is RunState.ABORTED
    assert "lease of me ran out" in run.reason
    assert len((await store.dead_list()).items) == 1


async def test_expired_work_is_cancelled_not_started(store: Store, clock: SetClock) -> None:
    """At expires_at it is too late, for the claim and for the reaper."""
    first = await store.enqueue(work(expires_at=START + timedelta(seconds=5)))
    second = await store.enqueue(work(expires_at=START + timedelta(seconds=6)))
    clock.move(5)
    assert [claimed.id for claimed in await claim(store, 1)] == [second.id]
    run = await store.get_run(first.id)
    assert run is not None
    assert (run.state, run.reason) == (RunState.CANCELLED, "expired before it started")
    third = await store.enqueue(work(expires_at=START + timedelta(seconds=6)))
    clock.move(5)
    assert (await store.reap()).expired == (third.id,)


async def test_depth_tells_what_there_is(store: Store, clock: SetClock) -> None:
    """Counts by state and the age of the oldest ready piece, over all priorities."""
    await store.enqueue(work(priority=1))
    clock.move(2)
    await store.enqueue(work(priority=7))
    await store.enqueue(work(priority=7))
    await store.enqueue(work(run_at=START + timedelta(hours=1)))
    clock.move(1)
    await claim(store, 1)
    depth = (await store.depth(["mail", "none"]))["mail"]
    assert (depth.ready, depth.delayed, depth.running, depth.dead) == (2, 1, 1, 0)
    assert depth.oldest_ready_s == 3.0
    assert (await store.depth(["none"]))["none"].oldest_ready_s is None


async def test_who_waits_for_work_hears_of_it(store: Store, clock: SetClock) -> None:
    """Enqueue, release and a failed attempt signal the function's topic."""
    async with store.subscribe(["work:mail"]) as changes:
        await store.enqueue(work())
        assert await anext(changes) == {"work:mail"}
        held = await claim_one(store)
        await store.release(held.id, held.token)
        assert await anext(changes) == {"work:mail"}
