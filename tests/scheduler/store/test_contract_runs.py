"""The contract of runs, ticks, leases, settings, deployments and members, for every store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from store_values import START, SetClock, call, ended_call, new_run, work

from scheduler.deployment import Deployment, DeploymentState
from scheduler.errors import NotFoundError
from scheduler.functions import Problem
from scheduler.run import TRANSITIONS, RunKind, RunState, is_final
from scheduler.store.port import Conflict, FunctionLimits, Lost, QueueFull, RunFilter, Store
from scheduler.store.signals import Gap


async def test_a_run_comes_back_as_it_was_given(store: Store, clock: SetClock) -> None:
    """Every field of a new run crosses the store unchanged, spans to the microsecond."""
    new = new_run(
        clock,
        name="Report",
        release="r1",
        started_at=START,
        ended_at=START + timedelta(microseconds=1),
        exit_code=3,
        state=RunState.FAILED,
        reason="exit code 3 — päd",
        arguments="--all 'x y'",
        attempt=2,
        wait_ms=0.25,
        exec_ms=1.0625,
        parent=7,
    )
    run = await store.create_run(new)
    assert await store.get_run(run.id) == run
    assert (run.name, run.reason, run.arguments, run.parent) == (
        "Report",
        "exit code 3 — päd",
        "--all 'x y'",
        7,
    )
    assert (run.wait_ms, run.exec_ms, run.ended_at) == (0.25, 1.062, new.ended_at)


async def test_instants_far_from_today_are_exact(store: Store, clock: SetClock) -> None:
    """Year 1971 and year 9999 keep their microseconds."""
    for far in (
        datetime(1971, 1, 1, 0, 0, 0, 1, UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    ):
        run = await store.create_run(new_run(clock, created_at=far))
        got = await store.get_run(run.id)
        assert got is not None
        assert got.created_at == far


@pytest.mark.parametrize("before", list(RunState))
async def test_the_table_of_states_is_the_law(
    store: Store, clock: SetClock, before: RunState
) -> None:
    """From each state exactly the table's steps are taken; a refused one changes nothing."""
    for after in RunState:
        run = await store.create_run(new_run(clock, state=before))
        amends = before is after and not is_final(before)
        if amends or after in TRANSITIONS[before]:
            assert (await store.update_run(run.id, after)).state is after
        else:
            with pytest.raises(Conflict):
                await store.update_run(run.id, after, reason="no")
            assert await store.get_run(run.id) == run


async def test_a_run_goes_from_queued_to_its_end(store: Store, clock: SetClock) -> None:
    """Running and ending take the store's time, and the span between them, when not told."""
    run = await store.create_run(new_run(clock))
    clock.move(1)
    run = await store.update_run(run.id, RunState.RUNNING, public_id="p")
    clock.move(2)
    run = await store.update_run(run.id, RunState.FAILED, exit_code=1, reason="bad")
    assert run.started_at == START + timedelta(seconds=1)
    assert run.ended_at == START + timedelta(seconds=3)
    assert (run.exec_ms, run.exit_code, run.reason, run.public_id) == (2000.0, 1, "bad", "p")
    assert await store.get_run(run.id) == run


async def test_an_unknown_run_is_not_found(store: Store) -> None:
    """Get says None, update raises."""
    assert await store.get_run(99) is None
    with pytest.raises(NotFoundError):
        await store.update_run(99, RunState.RUNNING)


async def test_find_run_takes_the_name_without_case(store: Store, clock: SetClock) -> None:
    """Jobs and functions are found by public id; another kind of the same name is not."""
    run = await store.create_run(new_run(clock, public_id="a"))
    await store.finish_many([call(clock, public_id="b")])
    assert await store.find_run(RunKind.TRIGGERED, "REPORT", "a") == run
    assert await store.find_run(RunKind.CONTINUOUS, "report", "a") is None
    assert await store.find_run(RunKind.TRIGGERED, "report", "b") is None
    found = await store.find_run(RunKind.FUNCTION, "hello", "b")
    assert found is not None
    assert found.public_id == "b"


async def test_filters_hold_together(store: Store, clock: SetClock) -> None:
    """Each filter narrows; all given ones must hold."""
    await store.finish_many(
        [
            call(clock, public_id="1", name="a"),
            call(clock, public_id="2", name="A", state=RunState.FAILED, reason="Boom: 7"),
            call(clock, public_id="3", name="b", instance="there", state=RunState.TIMED_OUT),
        ]
    )
    clock.move(60)
    await store.create_run(
        new_run(clock, public_id="4", name="a", trigger="Schedule - 0 * * * * *")
    )
    await store.create_run(new_run(clock, public_id="5", name="z", state=RunState.RUNNING))

    async def ids(**where: object) -> str:
        page = await store.query_runs(RunFilter(**where))  # type: ignore[arg-type]
        return "".join(run.public_id for run in page.items)

    assert await ids() == "54321"
    assert await ids(name="a") == "421"
    assert await ids(name="a", kind=RunKind.FUNCTION) == "21"
    assert await ids(kind=RunKind.TRIGGERED) == "54"
    assert await ids(kind=RunKind.FUNCTION) == "321"
    assert await ids(state=RunState.FAILED) == "2"
    assert await ids(state=RunState.SUCCESS) == "1"
    assert await ids(state=RunState.RUNNING) == "5"
    assert await ids(name="a", state=RunState.FAILED) == "2"
    assert await ids(instance="there") == "3"
    assert await ids(trigger="Schedule") == "4"
    assert await ids(since=START + timedelta(seconds=60)) == "54"
    assert await ids(until=START + timedelta(seconds=60)) == "321"
    assert await ids(text="boom") == "2"
    assert await ids(name="nobody") == ""


@pytest.mark.parametrize("name", [None, "hello"])
async def test_pages_stay_stable_while_runs_are_added(
    store: Store, clock: SetClock, name: str | None
) -> None:
    """Walking by cursor sees each old run once, newest first, whatever arrives meanwhile."""
    await store.finish_many([call(clock, public_id=str(n)) for n in range(25)])
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.query_runs(RunFilter(name=name), cursor=cursor, limit=10)
        seen += [run.public_id for run in page.items]
        await store.finish_many([call(clock, public_id="new")])
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [str(n) for n in range(24, -1, -1)]


async def test_finish_many_takes_any_number(store: Store, clock: SetClock) -> None:
    """Odd sizes, long texts and many names: every row is there, in order."""
    rows = [
        call(clock, public_id=str(n), name=f"f{n % 7}", reason="why" if n % 5 == 0 else "")
        for n in range(1341)
    ]
    await store.finish_many(rows)
    await store.finish_many([])
    page = await store.query_runs(RunFilter(), limit=200)
    assert [run.public_id for run in page.items[:3]] == ["1340", "1339", "1338"]
    assert page.items[0].reason == "why"
    assert page.items[1].reason == ""
    stats = await store.run_stats(RunKind.FUNCTION, "f3", timedelta(minutes=5))
    assert stats.total == len([n for n in range(1341) if n % 7 == 3])


async def test_finish_many_refuses_a_run_that_has_not_ended(store: Store, clock: SetClock) -> None:
    """It is for ends; an open run in the batch is a mistake of the caller, and nothing is taken."""
    with pytest.raises(ValueError, match="has not ended"):
        await store.finish_many([call(clock), call(clock, state=RunState.RUNNING)])
    assert (await store.query_runs(RunFilter())).items == []


async def test_an_ended_call_becomes_a_run(store: Store, clock: SetClock) -> None:
    """Every field of the cheap form arrives, spans turned into instants to the microsecond."""
    await store.finish_calls("here", [ended_call(clock, name="Hello")])
    (run,) = (await store.query_runs(RunFilter())).items
    assert (run.public_id, run.kind, run.name) == (
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        RunKind.FUNCTION,
        "Hello",
    )
    assert (run.state, run.reason, run.trigger) == (RunState.SUCCESS, "", "http")
    assert (run.instance, run.release, run.attempt, run.exit_code) == ("here", "r1", 1, None)
    assert run.ended_at == START
    assert run.started_at == START - timedelta(microseconds=1500)
    assert run.created_at == START - timedelta(microseconds=3500)
    assert (run.wait_ms, run.exec_ms) == (2.0, 1.5)
    assert await store.get_run(run.id) == run


async def test_both_forms_of_an_end_make_the_same_run(store: Store, clock: SetClock) -> None:
    """`finish_many` of `as_run` and `finish_calls` differ in nothing but the id."""
    call_ = ended_call(clock, state=RunState.FAILED, reason="Boom", ended_at=1772366400.1234567)
    await store.finish_calls("here", [call_])
    await store.finish_many([call_.as_run("here")])
    newer, older = (await store.query_runs(RunFilter())).items
    assert replace(newer, id=older.id) == older


async def test_an_ended_call_is_found_by_its_id(store: Store, clock: SetClock) -> None:
    """By the dashed text, as the invocation id is shown everywhere, and the name without case."""
    ids = [uuid4() for _ in range(3)]
    await store.finish_calls("here", [ended_call(clock, call_id=one.bytes) for one in ids])
    for one in ids:
        found = await store.find_run(RunKind.FUNCTION, "HELLO", str(one))
        assert found is not None
        assert found.public_id == str(one)
    assert await store.find_run(RunKind.FUNCTION, "hello", ids[0].hex) is None
    assert await store.find_run(RunKind.FUNCTION, "other", str(ids[0])) is None


async def test_finish_calls_takes_any_number(store: Store, clock: SetClock) -> None:
    """Odd sizes, many names and releases: every row in order, reasons where they belong."""
    calls = [
        ended_call(
            clock,
            call_id=n.to_bytes(16, "big"),
            name=f"f{n % 7}",
            release=f"r{n % 2}",
            state=RunState.FAILED if n % 5 == 0 else RunState.SUCCESS,
            reason=f"why {n}" if n % 5 == 0 else "",
        )
        for n in range(1341)
    ]
    await store.finish_calls("here", [])
    await store.finish_calls("here", calls)
    page = await store.query_runs(RunFilter(), limit=200)
    newest = [(run.public_id, run.name, run.release, run.reason) for run in page.items]
    assert newest == [(c.public_id, c.name, c.release, c.reason) for c in calls[:-201:-1]]
    stats = await store.run_stats(RunKind.FUNCTION, "f3", timedelta(minutes=5))
    mine = [c for c in calls if c.name == "f3"]
    assert stats.total == len(mine)
    assert stats.counts[RunState.FAILED] == len([c for c in mine if c.reason])
    assert stats.sum_ms == pytest.approx(1.5 * len(mine))


@pytest.mark.parametrize("state", [s for s in RunState if not is_final(s)])
async def test_finish_calls_refuses_a_call_that_has_not_ended(
    store: Store, clock: SetClock, state: RunState
) -> None:
    """As `finish_many`: a mistake of the caller, told by name, and nothing is taken."""
    calls = [ended_call(clock)] * 1500 + [ended_call(clock, state=state)]
    with pytest.raises(ValueError, match="00010203-.* of 'hello' has not ended"):
        await store.finish_calls("here", calls)
    assert (await store.query_runs(RunFilter())).items == []


async def test_orphans_are_aborted_with_the_reason(store: Store, clock: SetClock) -> None:
    """Open runs of this instance end as aborted; queued work and other instances stay."""
    mine = await store.create_run(new_run(clock, state=RunState.RUNNING))
    other = await store.create_run(new_run(clock, instance="there"))
    queued = await store.enqueue(work(instance="here", lease_to="here"))
    clock.move(5)
    closed = await store.close_orphans("here", "host_restart")
    assert [(run.id, run.state, run.reason) for run in closed] == [
        (mine.id, RunState.ABORTED, "host_restart")
    ]
    assert closed[0].ended_at == clock.now()
    assert [run.id for run in await store.open_runs()] == [other.id, queued.id]
    assert [run.id for run in await store.open_runs("there")] == [other.id]
    assert await store.close_orphans("here", "again") == []


async def test_a_run_that_waits_is_no_orphan(store: Store, clock: SetClock) -> None:
    """It has not begun: it begins after the restart."""
    waiting = await store.create_run(new_run(clock, state=RunState.QUEUED))
    assert await store.close_orphans("here", "host_restart") == []
    assert [run.id for run in await store.open_runs("here")] == [waiting.id]


async def test_of_two_that_take_a_waiting_run_one_wins(store: Store, clock: SetClock) -> None:
    """It is that one's from then on, with the time it has waited; the other is refused."""
    waiting = await store.create_run(new_run(clock, state=RunState.QUEUED))
    clock.move(3)
    taken = await store.update_run(waiting.id, RunState.INITIALIZING, instance="there")
    assert (taken.instance, taken.wait_ms) == ("there", 3000)
    assert await store.get_run(waiting.id) == taken
    with pytest.raises(Conflict):
        await store.update_run(waiting.id, RunState.INITIALIZING, instance="here")


async def test_prune_keeps_the_newest_of_each_name(store: Store, clock: SetClock) -> None:
    """keep_per_name removes the oldest beyond it, returns them, and never an open run."""
    await store.create_run(new_run(clock, name="a", state=RunState.RUNNING))
    for n in range(5):
        await store.finish_many([call(clock, name="a", kind=RunKind.TRIGGERED, public_id=str(n))])
    await store.finish_many([call(clock, name="b")])
    removed = await store.prune_runs(keep_per_name=2)
    assert [run.public_id for run in removed] == ["0", "1", "2"]
    assert await store.prune_runs(keep_per_name=2) == []
    assert len((await store.query_runs(RunFilter())).items) == 4


async def test_prune_by_age_stops_at_the_limit(store: Store, clock: SetClock) -> None:
    """Old runs go oldest first, at most `limit` a call; young ones and queued work stay."""
    queued = await store.enqueue(work(max_attempts=1, lease_to="here"))
    assert queued.lease is not None
    await store.fail(queued.id, queued.lease.token, "dead")
    await store.finish_many([call(clock, public_id=str(n)) for n in range(3)])
    clock.move(100)
    await store.finish_many([call(clock, public_id="young")])
    border = START + timedelta(seconds=50)
    assert [r.public_id for r in await store.prune_runs(older_than=border, limit=2)] == ["0", "1"]
    assert [r.public_id for r in await store.prune_runs(older_than=border)] == ["2"]
    assert await store.get_run(queued.id) is not None


async def test_prune_may_be_narrowed_to_one_job(store: Store, clock: SetClock) -> None:
    """Kind and name limit what is removed; ids never come back."""
    await store.finish_many([call(clock), call(clock, name="b"), call(clock, name="c")])
    removed = await store.prune_runs(
        older_than=START + timedelta(days=1), kind=RunKind.FUNCTION, name="B"
    )
    assert [run.name for run in removed] == ["b"]
    await store.prune_runs(older_than=START + timedelta(days=1))
    assert (await store.create_run(new_run(clock))).id == 4


async def test_stats_count_ends_by_minute(store: Store, clock: SetClock) -> None:
    """Counters come from every way to end, fall out of the window, and can be removed."""
    await store.finish_many([call(clock, exec_ms=2.0), call(clock, exec_ms=4.0)])
    clock.move(60)
    run = await store.create_run(new_run(clock, kind=RunKind.FUNCTION, name="Hello"))
    await store.update_run(run.id, RunState.FAILED, exec_ms=10.0)
    stats = await store.run_stats(RunKind.FUNCTION, "hello", timedelta(minutes=5))
    assert stats.counts == {RunState.SUCCESS: 2, RunState.FAILED: 1}
    assert (stats.total, stats.sum_ms, stats.max_ms) == (3, 16.0, 10.0)
    assert [minute.minute for minute in stats.minutes] == [START, START + timedelta(minutes=1)]
    short = await store.run_stats(RunKind.FUNCTION, "hello", timedelta(seconds=0))
    assert short.counts == {RunState.FAILED: 1}
    assert await store.prune_stats(START + timedelta(minutes=1)) == 1
    assert (await store.run_stats(RunKind.TRIGGERED, "hello", timedelta(days=1))).total == 0


async def test_a_tick_is_recorded_once(store: Store, clock: SetClock) -> None:
    """Of many who fire the same instant one wins, and one run exists."""
    fired = await asyncio.gather(
        *(store.fire("t", START, run=new_run(clock, public_id=str(n))) for n in range(20))
    )
    won = [result for result in fired if result is not None]
    assert len(won) == 1
    assert len((await store.query_runs(RunFilter())).items) == 1
    assert won[0].run is not None
    assert won[0].tick.run_id == won[0].run.id
    assert await store.last_tick("t") == won[0].tick


async def test_a_tick_may_start_queued_work(store: Store, clock: SetClock) -> None:
    """Tick, run and queue row come together; a full queue leaves no tick behind."""
    result = await store.fire("t", START, work=work("f"))
    assert result is not None
    assert result.work is not None
    assert [c.id for c in await store.claim("me", [("f", 5)], 30)] == [result.tick.run_id]
    await store.set_limits("f", FunctionLimits(max_depth=0))
    later = START + timedelta(minutes=1)
    with pytest.raises(QueueFull):
        await store.fire("t", later, work=work("f"))
    assert await store.fire("t", later, outcome="missed") is not None


async def test_ticks_are_listed_and_pruned_but_never_the_last(store: Store) -> None:
    """Retention leaves the newest tick of each timer: catch-up depends on it."""
    for minute in range(4):
        await store.fire("t", START + timedelta(minutes=minute), outcome="skipped")
    await store.fire("u", START)
    assert [tick.due_at.minute for tick in await store.ticks("t", 2)] == [3, 2]
    assert await store.prune_ticks(START + timedelta(days=1)) == 3
    last = await store.last_tick("t")
    assert last is not None
    assert (last.due_at.minute, last.outcome) == (3, "skipped")
    assert await store.last_tick("u") is not None
    assert await store.last_tick("nobody") is None


async def test_a_lease_has_one_holder_and_a_growing_token(store: Store, clock: SetClock) -> None:
    """Held: None. Run out: a larger token for the next, and renew says False for ever."""
    first = await store.acquire("job/a", "one", 15)
    assert first is not None
    assert await store.acquire("job/a", "two", 15) is None
    assert await store.acquire("job/a", "one", 15) is None
    clock.move(10)
    assert await store.renew("job/a", first, 15)
    clock.move(15)
    assert not await store.renew("job/a", first, 15)
    second = await store.acquire("job/a", "two", 15)
    assert second is not None
    assert second > first
    assert not await store.renew("job/a", first, 15)
    assert not await store.release_lease("job/a", first)
    assert await store.release_lease("job/a", second)
    assert not await store.renew("job/a", second, 15)
    third = await store.acquire("job/a", "one", 15)
    assert third is not None
    assert third > second


async def test_live_leases_are_listed_by_prefix(store: Store, clock: SetClock) -> None:
    """Expired and released ones do not show; `_` and `%` are plain characters."""
    for name in ("a/1", "a/2", "a_3", "b/1"):
        await store.acquire(name, "me", 10 if name != "a/2" else 1)
    clock.move(5)
    assert [lease.name for lease in await store.leases("a/")] == ["a/1"]
    assert [lease.name for lease in await store.leases("a_")] == ["a_3"]
    assert [lease.name for lease in await store.leases()] == ["a/1", "a_3", "b/1"]


async def test_settings_have_revisions_that_never_come_back(store: Store) -> None:
    """Compare-and-set works over deletion: an old revision stays old."""
    assert await store.put_config("app/A", "1", expected_rev=0) == 1
    assert await store.put_config("app/A", "2") == 2
    with pytest.raises(Conflict):
        await store.put_config("app/A", "3", expected_rev=1)
    with pytest.raises(Conflict):
        await store.put_config("app/A", "3", expected_rev=0)
    assert await store.delete_config("app/A", expected_rev=2)
    assert not await store.delete_config("app/A")
    assert await store.get_config("app/A") is None
    again = await store.put_config("app/A", "4", expected_rev=0)
    assert again > 2
    await store.put_config("app_B", "5")
    listed = await store.list_config("app/")
    assert {name: value.value for name, value in listed.items()} == {"app/A": "4"}


async def test_deployments_are_recorded_and_paged(store: Store) -> None:
    """Recording again replaces; pages go by id, newest first; problems survive."""
    problem = Problem("hello/function.json", "no route", line=3, field="bindings[0].route")
    made = [
        Deployment(
            id=f"d{n}",
            state=DeploymentState.SEEN,
            reason="files changed",
            started_at=START,
            problems=(problem,),
            added=("hello",),
        )
        for n in range(3)
    ]
    for deployment in made:
        assert await store.record_deployment(deployment) == deployment
    live = Deployment(
        id="d2",
        state=DeploymentState.LIVE,
        reason="x",
        digest="ab",
        generation=4,
        started_at=START,
        ended_at=START,
        changed=("a", "b"),
        removed=("triggered/c",),
    )
    await store.record_deployment(live)
    page = await store.deployments(limit=2)
    assert page.items == [live, made[1]]
    assert (await store.deployments(cursor=page.cursor)).items == [made[0]]
    assert await store.get_deployment("d0") == made[0]
    assert await store.get_deployment("d9") is None


async def test_one_of_two_racing_deployments_wins(store: Store) -> None:
    """The generation is compared and set; the loser is told, and who listens is told."""
    assert (await store.current_release()).generation == 0
    async with store.subscribe(["deploy"]) as changes:
        results = await asyncio.gather(
            *(store.deploy(digest, 0) for digest in "ab"), return_exceptions=True
        )
        assert sorted(str(type(result).__name__) for result in results) == ["Conflict", "int"]
        assert await anext(changes) == {"deploy"}
    current = await store.current_release()
    assert (current.generation, current.digest) == (1, "a" if results[0] == 1 else "b")


async def test_members_die_of_silence(store: Store, clock: SetClock) -> None:
    """Without a heartbeat a member is not alive; with one it is, and its load shows."""
    epoch = await store.join("one", address="http://one", slots=4, labels={"zone": "a"}, ttl_s=5)
    clock.move(4)
    await store.heartbeat("one", epoch, load={"free": 3}, job_statuses={"mail": "Running"})
    clock.move(4)
    (member,) = await store.members()
    assert (member.alive, member.age_s, member.load, member.labels) == (
        True,
        4.0,
        {"free": 3},
        {"zone": "a"},
    )
    clock.move(1)
    assert not (await store.members())[0].alive
    await store.leave("one", epoch)
    assert await store.members() == []


async def test_a_second_life_of_an_instance_fences_the_first(store: Store, clock: SetClock) -> None:
    """Join gives a larger epoch, ends what the first held, and its heartbeat is lost."""
    first = await store.join("one")
    held = await store.enqueue(work(lease_to="one", lease_s=3600))
    await store.acquire("job/a", "one", 3600)
    second = await store.join("one")
    assert second > first
    with pytest.raises(Lost):
        await store.heartbeat("one", first)
    await store.leave("one", first)
    assert len(await store.members()) == 1
    assert await store.acquire("job/a", "one", 15) is not None
    assert (await store.reap()).requeued == (held.id,)


async def test_work_of_a_dead_member_is_reaped_before_its_lease_ends(
    store: Store, clock: SetClock
) -> None:
    """Five seconds of silence are enough, however long the lease is."""
    await store.join("one", ttl_s=5)
    held = await store.enqueue(work(lease_to="one", lease_s=3600))
    assert (await store.reap()).requeued == ()
    clock.move(5)
    assert (await store.reap()).requeued == (held.id,)


async def test_a_command_is_given_until_it_is_answered(store: Store, clock: SetClock) -> None:
    """To its target or to all, repeated until acknowledged, dropped when too old."""
    one, two = await store.join("one"), await store.join("two")
    mine = await store.send_command("restart", target="one", args={"job": "a"}, idempotency_key="k")
    assert await store.send_command("restart", target="one", idempotency_key="k") == mine
    everyone = await store.send_command("reload", ttl_s=10)
    for _ in range(2):
        beat = await store.heartbeat("one", one)
        assert [(c.id, c.verb) for c in beat.commands] == [(mine, "restart"), (everyone, "reload")]
    assert beat.commands[0].args == {"job": "a"}
    beat = await store.heartbeat("one", one, acks={mine: "done", 999: "what?"})
    assert [command.id for command in beat.commands] == [everyone]
    assert [(r.instance, r.result) for r in await store.command_results(mine)] == [("one", "done")]
    clock.move(10)
    assert (await store.heartbeat("two", two)).commands == ()


async def test_signals_are_merged_and_filtered(store: Store) -> None:
    """A listener hears its topics and prefixes, each once, and nothing from before."""
    store.publish(["work:early"])
    async with store.subscribe(["work:*", "x"]) as changes:
        store.publish(["work:a", "y"])
        store.publish(["work:a", "x"])
        assert await anext(changes) == {"work:a", "x"}
        store.publish(f"work:{n}" for n in range(2000))
        assert await anext(changes) is Gap.GAP
        await store.enqueue(work("mail"))
        assert await anext(changes) == {"work:mail"}
