"""Random operations on SQLite and on the reference in memory: every answer must be the same."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_values import START, SetClock, call, ended_call, new_run, work

from scheduler.run import RunKind, RunState
from scheduler.store.memory import MemoryStore
from scheduler.store.port import FunctionLimits, RunFilter, Store
from scheduler.store.sqlite import SqliteStore

pytestmark = pytest.mark.real

NAMES = st.sampled_from(["a", "b"])
IDS = st.integers(1, 12)
SPANS = st.sampled_from([0.0, 1.0, 7.5, 40.0])
ENDS = st.sampled_from([RunState.SUCCESS, RunState.FAILED, RunState.TIMED_OUT])
STEPS = st.one_of(
    st.tuples(st.just("move"), SPANS),
    st.tuples(st.just("enqueue"), NAMES, st.integers(0, 2), SPANS, st.sampled_from([None, "k"])),
    st.tuples(st.just("direct"), NAMES, st.integers(1, 2)),
    st.tuples(st.just("expiring"), NAMES, SPANS),
    st.tuples(st.just("many"), st.lists(NAMES, max_size=4)),
    st.tuples(st.just("claim"), NAMES, st.integers(0, 3)),
    st.tuples(st.just("extend"), IDS, st.integers(1, 3)),
    st.tuples(st.just("complete"), IDS, st.integers(1, 3), st.lists(NAMES, max_size=2)),
    st.tuples(st.just("fail"), IDS, st.integers(1, 3), ENDS),
    st.tuples(st.just("release"), IDS, st.integers(1, 3), SPANS),
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.just("reap"), st.integers(1, 4)),
    st.tuples(st.just("requeue"), st.lists(IDS, max_size=3)),
    st.tuples(st.just("purge"), NAMES),
    st.tuples(
        st.just("limits"), NAMES, st.sampled_from([None, 1]), st.sampled_from([None, 3]),
        st.booleans(),
    ),
    st.tuples(st.just("run"), NAMES),
    st.tuples(st.just("update"), IDS, st.sampled_from(RunState)),
    st.tuples(st.just("finish"), st.lists(st.tuples(NAMES, ENDS), max_size=5)),
    st.tuples(st.just("calls"), st.lists(st.tuples(NAMES, st.sampled_from(RunState)), max_size=5)),
    st.tuples(st.just("stats"), NAMES, SPANS),
    st.tuples(st.just("orphans")),
    st.tuples(
        st.just("prune"), st.sampled_from([None, 1]), st.sampled_from([None, 4]),
        st.sampled_from([None, 5.0]), st.sampled_from([None, *RunKind]), st.integers(1, 5),
    ),
    st.tuples(st.just("forget"), SPANS),
    st.tuples(st.just("fire"), NAMES, SPANS, st.booleans()),
    st.tuples(st.just("join"), st.sampled_from(["me", "you"])),
    st.tuples(st.just("acquire"), NAMES, st.sampled_from(["me", "you"]), SPANS),
    st.tuples(st.just("renew"), NAMES, st.integers(1, 3)),
)  # fmt: skip


class Pair:
    """Does one step on a store; ids that the step makes up are the same for both stores."""

    def __init__(self, store: Store, clock: SetClock) -> None:
        self.store = store
        self.clock = clock

    async def do(self, number: int, step: tuple[Any, ...]) -> object:
        """Return what the step answers, or the refusal's name."""
        word, *given = step
        try:
            return await getattr(self, f"_{word}")(f"p{number}", *given)
        except Exception as refusal:  # noqa: BLE001 - both stores must refuse alike
            return type(refusal).__name__, str(refusal)

    async def _enqueue(
        self, p: str, name: str, priority: int, delay: float, key: str | None
    ) -> object:
        at = None if not delay else self._later(delay)
        new = work(name, priority=priority, run_at=at, dedup_key=key, public_id=p, max_attempts=2)
        return await self.store.enqueue(new)

    async def _direct(self, p: str, name: str, attempts: int) -> object:
        new = work(name, public_id=p, max_attempts=attempts, lease_to="me", lease_s=30)
        return await self.store.enqueue(new)

    async def _expiring(self, p: str, name: str, span: float) -> object:
        return await self.store.enqueue(work(name, public_id=p, expires_at=self._later(span)))

    async def _many(self, p: str, names: list[str]) -> object:
        return await self.store.enqueue_many([work(name, public_id=p) for name in names])

    async def _claim(self, p: str, name: str, n: int) -> object:
        return [self._plain(c) for c in await self.store.claim("me", [(name, n)], 30)]

    async def _extend(self, p: str, i: int, token: int) -> object:
        return await self.store.extend([(i, token)], 30)

    async def _complete(self, p: str, i: int, token: int, names: list[str]) -> object:
        following = [work(name, public_id=p) for name in names]
        return await self.store.complete(i, token, following=following)

    async def _fail(self, p: str, i: int, token: int, state: RunState) -> object:
        return await self.store.fail(i, token, p, state=state)

    async def _release(self, p: str, i: int, token: int, delay: float) -> object:
        return await self.store.release(i, token, delay_s=delay)

    async def _cancel(self, p: str, i: int) -> object:
        return await self.store.cancel(i)

    async def _reap(self, p: str, limit: int) -> object:
        return await self.store.reap(limit)

    async def _requeue(self, p: str, ids: list[int]) -> object:
        return await self.store.dead_requeue(ids)

    async def _purge(self, p: str, name: str) -> object:
        return await self.store.dead_purge(function=name)

    async def _limits(
        self, p: str, name: str, cap: int | None, depth: int | None, paused: bool
    ) -> object:
        return await self.store.set_limits(name, FunctionLimits(cap, depth, paused))

    async def _run(self, p: str, name: str) -> object:
        return await self.store.create_run(new_run(self.clock, name=name, public_id=p))

    async def _update(self, p: str, i: int, state: RunState) -> object:
        run = await self.store.get_run(i)
        if run is None or run.kind is RunKind.FUNCTION:
            return None  # the queue's own runs are moved by the queue
        return await self.store.update_run(i, state, reason=p)

    async def _finish(self, p: str, ends: list[tuple[str, RunState]]) -> object:
        rows = [call(self.clock, name=name, state=state, public_id=p) for name, state in ends]
        return await self.store.finish_many(rows)

    async def _calls(self, p: str, ends: list[tuple[str, RunState]]) -> object:
        calls = [
            ended_call(self.clock, name=name, state=state, reason=state.value[:n])
            for n, (name, state) in enumerate(ends)
        ]
        return await self.store.finish_calls("here", calls)

    async def _stats(self, p: str, name: str, span: float) -> object:
        return await self.store.run_stats(RunKind.FUNCTION, name, timedelta(seconds=span))

    async def _orphans(self, p: str) -> object:
        return await self.store.close_orphans("here", p)

    async def _prune(
        self,
        p: str,
        keep: int | None,
        newest: int | None,
        age: float | None,
        kind: RunKind | None,
        limit: int,
    ) -> object:
        removed = await self.store.prune_runs(
            older_than=None if age is None else self._later(-age),
            keep_per_name=keep,
            keep_newest=newest,
            kind=kind,
            limit=limit,
        )
        return [run.id for run in removed]

    async def _forget(self, p: str, age: float) -> object:
        border = self._later(-age)
        return await self.store.prune_ticks(border), await self.store.prune_stats(border)

    async def _fire(self, p: str, name: str, offset: float, queued: bool) -> object:
        what: dict[str, Any] = {"work": work(name, public_id=p)}
        if not queued:
            what = {"run": new_run(self.clock, name=name, public_id=p)}
        return await self.store.fire(name, START, **what)

    async def _join(self, p: str, name: str) -> object:
        return await self.store.join(name, ttl_s=20)

    async def _acquire(self, p: str, name: str, owner: str, ttl: float) -> object:
        return await self.store.acquire(name, owner, ttl)

    async def _renew(self, p: str, name: str, token: int) -> object:
        return await self.store.renew(name, token, 10)

    async def everything(self) -> object:
        """Return all that can be seen, but for the public ids that a requeue draws."""
        store = self.store
        dead = (await store.dead_list()).items
        runs = (await store.query_runs(RunFilter(), limit=200)).items
        return (
            [self._plain(run) for run in runs],
            await store.depth(["a", "b"]),
            dead,
            await store.open_runs() and len(await store.open_runs()),
            await store.ticks("a"),
            await store.leases(),
            await store.members(),
        )

    @staticmethod
    def _plain(value: Any) -> object:
        fields = {name: getattr(value, name) for name in type(value).__slots__}
        if len(fields["public_id"]) == 36:
            fields["public_id"] = "drawn"
        return fields

    def _later(self, span: float) -> datetime:
        return self.clock.now() + timedelta(seconds=span)


async def compare(steps: list[tuple[Any, ...]]) -> None:
    """Do the steps on both and compare each answer, and all that can be seen at the end."""
    clock = SetClock()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            MemoryStore(clock=clock, draw=lambda: 0.5) as reference,
            SqliteStore(Path(folder) / "s.db", clock=clock, draw=lambda: 0.5) as sqlite,
        ):
            pairs = [Pair(reference, clock), Pair(sqlite, clock)]
            for number, step in enumerate(steps):
                if step[0] == "move":
                    clock.move(step[1])
                    continue
                expected, got = [await pair.do(number, step) for pair in pairs]
                assert got == expected, step
            expected, got = [await pair.everything() for pair in pairs]
            assert got == expected


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(STEPS, min_size=20, max_size=60))
def test_sqlite_answers_like_the_reference(steps: list[tuple[Any, ...]]) -> None:
    """No sequence of operations tells the two apart."""
    asyncio.run(compare(steps))
