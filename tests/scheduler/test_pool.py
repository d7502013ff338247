"""A pool's decisions with workers that are driven by hand: who gets a call, when more come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from future_call import FutureCall

from sandbox.call import Call
from sandbox.errors import SandboxDiedError, SpawnFailedError
from sandbox.worker import WorkerState
from scheduler.attempts import Attempts
from scheduler.deadlines import CallTimedOutError
from scheduler.errors import BusyError
from scheduler.function_logs import FunctionLogs
from scheduler.functions import (
    AuthLevel,
    Binding,
    Bundle,
    BundleKind,
    Function,
    HttpTrigger,
    Limits,
)
from scheduler.pool import Pool
from scheduler.pool_state import TRANSITIONS, PoolState
from scheduler.seating import Seating

if TYPE_CHECKING:
    from sandbox.seat import Seat
    from scheduler.live_bundle import LiveBundle


class FakeWorker:
    """A worker whose replies and death the test decides."""

    def __init__(self, pool: Pool, *, coroutine: bool = False) -> None:
        self.pid = 1
        self.pool = pool
        self.usable = False
        self.is_coroutine = coroutine
        self.load_error: tuple[str, str] | None = None
        self.in_flight: dict[bytes, Call] = {}
        self.served = 0
        self.idle_since = 0.0
        self.cancelled: list[Call] = []
        self.killed = ""
        self.draining = False
        self.recalled = False
        self.failed_start = False
        self.state = WorkerState.FORKED
        self.facts = ""

    def take(self) -> None:
        self.usable = True
        self.state = WorkerState.BOUND

    def send(self, call: Call, now: float) -> None:
        call.sent_at = now
        self.in_flight[call.id] = call

    def cancel(self, call: Call) -> None:
        self.cancelled.append(call)

    def drain(self) -> None:
        self.usable = False
        self.draining = True
        if not self.in_flight:
            self.die([])

    def recall(self) -> None:
        self.recalled = True
        self.usable = False

    def kill(self, why: str = "") -> None:
        self.killed = why

    def reply(self, exec_us: int = 10) -> None:
        """Answer the oldest call."""
        call = self.in_flight.pop(next(iter(self.in_flight)))
        self.served += 1
        call.answer((0, exec_us, None))
        self.pool.replied(self, call, exec_us)  # type: ignore[arg-type]
        if self.draining and not self.in_flight:
            self.die([])

    def die(self, not_begun: list[Call]) -> None:
        self.usable = False
        self.in_flight.clear()
        self.pool.gone(self, not_begun)  # type: ignore[arg-type]


class FakeZygote:
    """Forks fake workers; they serve when the test says so."""

    def __init__(self) -> None:
        self.forked: list[FakeWorker] = []
        self.fails = False

    def fork(self, _function: str, pool: Any) -> FakeWorker:
        if self.fails:
            raise SpawnFailedError("no fork today")
        worker = FakeWorker(pool)
        self.forked.append(worker)
        return worker


class FakeLive:
    """A bundle whose zygote is always there."""

    def __init__(self) -> None:
        self.zygotes = FakeZygote()
        self.pools = 0
        self.attempts = Attempts(asyncio.get_running_loop().time)
        self.errors: dict[str, tuple[str, str]] = {}
        self.on_lost: list[Any] = []
        self.retired = 0
        self.build_error: Exception | None = None

    @property
    def ready(self) -> FakeZygote | None:
        return None if self.build_error else self.zygotes

    async def zygote(self) -> FakeZygote:
        if self.build_error:
            raise self.build_error
        return self.zygotes

    def retire(self) -> None:
        self.retired += 1


class FakeSeat:
    """A seat that nobody may have."""

    def take(self, _pid: int) -> bool:
        return False

    def leave(self, _pid: int) -> None:
        pass


class Bench:
    """A pool, its fakes, and words for what happens to it."""

    def __init__(self, tmp: Path, spawned: list[Any], **limits: Any) -> None:
        self.live = FakeLive()
        bundle = Bundle("f", BundleKind.FUNCTION, "d", tmp)
        function = Function(
            name="f",
            bundle=bundle,
            directory="f",
            script_file="f/__init__.py",
            entry_point="main",
            trigger=HttpTrigger("f", None, AuthLevel.ANONYMOUS),
            trigger_name="req",
            bindings=(Binding("req", "httpTrigger", "in"),),
            limits=replace(Limits(min_workers=0), **limits),
        )
        seating = Seating(cast("Seat", FakeSeat()))
        live = cast("LiveBundle", self.live)
        self.pool = Pool(function, live, FunctionLogs(tmp), spawned.append, seating)
        self.loop = asyncio.get_running_loop()
        self.count = 0

    @property
    def workers(self) -> list[FakeWorker]:
        return self.live.zygotes.forked

    def call(self) -> FutureCall:
        self.count += 1
        made = FutureCall(self.count.to_bytes(16, "big"), b"", self.loop.time())
        self.pool.submit(made)
        return made

    def arrive(self, index: int = -1, *, coroutine: bool = False) -> FakeWorker:
        worker = self.workers[index]
        worker.is_coroutine = coroutine
        self.pool.ready(worker)  # type: ignore[arg-type]
        return worker

    def fast(self, worker: FakeWorker) -> None:
        """Teach the pool that the function takes microseconds."""
        for _ in range(40):
            self.call()
            worker.reply(10)


@pytest.fixture
def spawned() -> Iterator[list[Any]]:
    coroutines: list[Any] = []
    yield coroutines
    for coroutine in coroutines:
        coroutine.close()


def test_the_table_is_total() -> None:
    """Every state of a pool has an entry."""
    assert set(TRANSITIONS) == set(PoolState)


async def test_the_first_call_brings_a_worker_and_gets_it(tmp_path: Path, spawned: list) -> None:
    """A call without a worker waits for one fork, not for one each."""
    bench = Bench(tmp_path, spawned)
    calls = [bench.call(), bench.call()]
    assert len(bench.workers) == 1
    assert calls[0].cold
    worker = bench.arrive()
    assert list(worker.in_flight.values()) == calls[:1]


async def test_a_slow_function_has_one_call_in_a_workers_hands(
    tmp_path: Path, spawned: list
) -> None:
    """Until its time is known, a function counts as slow."""
    bench = Bench(tmp_path, spawned)
    first, second = bench.call(), bench.call()
    worker = bench.arrive()
    assert len(worker.in_flight) == 1
    worker.reply(5_000)
    assert first.future.done()
    assert list(worker.in_flight.values()) == [second]


async def test_a_fast_function_fills_one_worker_first(tmp_path: Path, spawned: list) -> None:
    """Under 100 us several frames go to one worker, and no second one is forked."""
    bench = Bench(tmp_path, spawned)
    bench.call()
    worker = bench.arrive()
    worker.reply()
    bench.fast(worker)
    for _ in range(10):
        bench.call()
    assert len(worker.in_flight) == 10
    assert len(bench.workers) == 1


@pytest.mark.real
async def test_calls_that_waited_bring_more_workers_up_to_the_limit(
    tmp_path: Path, spawned: list
) -> None:
    """Pressure is time waited, and max_workers holds."""
    bench = Bench(tmp_path, spawned, max_workers=3)
    for _ in range(10):
        bench.call()
    bench.arrive()
    await asyncio.sleep(0.05)
    assert len(bench.workers) == 3


async def test_a_full_queue_is_refused_at_the_door(tmp_path: Path, spawned: list) -> None:
    """The message names the limit and where it is set; those that wait are not touched."""
    bench = Bench(tmp_path, spawned, queue_depth=2)
    waiting = [bench.call(), bench.call()]
    with pytest.raises(BusyError, match=r"limit is 2 .*queue_depth"):
        bench.call()
    worker = bench.arrive()
    worker.reply()
    worker.reply()
    assert all(call.future.done() for call in waiting)


async def test_a_call_that_waited_too_long_is_refused(tmp_path: Path, spawned: list) -> None:
    """Queue age is bounded, each call by its own arrival."""
    bench = Bench(tmp_path, spawned, queue_age_s=0.02)
    call = bench.call()
    with pytest.raises(BusyError, match="queue_age_s"):
        await asyncio.wait_for(call.future, 5)


async def test_what_a_dead_worker_had_not_begun_goes_to_another(
    tmp_path: Path, spawned: list
) -> None:
    """Such calls come first in the line, and only three workers in a row may die on one."""
    bench = Bench(tmp_path, spawned)
    call = bench.call()
    for _ in range(2):
        worker = bench.arrive()
        worker.die([call])
        assert not call.future.done()
    bench.arrive().die([call])
    with pytest.raises(SandboxDiedError, match="not begun by 3 workers"):
        await call.future


async def test_a_call_over_time_ends_its_worker_and_only_it(tmp_path: Path, spawned: list) -> None:
    """The caller is answered at the deadline; the process is ended."""
    bench = Bench(tmp_path, spawned, timeout_s=0.02)
    call = bench.call()
    worker = bench.arrive()
    with pytest.raises(CallTimedOutError, match="within 0.02 s"):
        await asyncio.wait_for(call.future, 5)
    assert "more than 0.02 s" in worker.killed


async def test_a_coroutine_over_time_is_cancelled_not_killed(tmp_path: Path, spawned: list) -> None:
    """Other calls of the same process live on."""
    bench = Bench(tmp_path, spawned, timeout_s=0.02)
    calls = [bench.call(), bench.call()]
    worker = bench.arrive(coroutine=True)
    assert len(worker.in_flight) == 2
    with pytest.raises(CallTimedOutError):
        await asyncio.wait_for(calls[0].future, 5)
    assert calls[0] in worker.cancelled
    assert not worker.killed


@pytest.mark.real
async def test_the_deadline_counts_from_the_start_of_each_call(
    tmp_path: Path, spawned: list
) -> None:
    """A later call is not ended by the timer of an earlier one."""
    bench = Bench(tmp_path, spawned, timeout_s=0.05)
    bench.call()
    worker = bench.arrive()
    await asyncio.sleep(0.03)
    worker.reply()
    late = bench.call()
    await asyncio.sleep(0.03)
    assert not late.future.done()
    with pytest.raises(CallTimedOutError):
        await asyncio.wait_for(late.future, 5)


@pytest.mark.real
async def test_calls_sent_ahead_do_not_share_the_deadline_of_the_first(
    tmp_path: Path, spawned: list
) -> None:
    """What waits behind a call over time inside its worker never began: another worker gets it."""
    bench = Bench(tmp_path, spawned, timeout_s=0.03)
    bench.call()
    worker = bench.arrive()
    worker.reply()
    bench.fast(worker)
    first, *behind = [bench.call() for _ in range(5)]
    assert len(worker.in_flight) == 5
    for _ in range(4):  # as often as it takes: no death by deadline counts as theirs
        with pytest.raises(CallTimedOutError):
            await asyncio.wait_for(first.future, 5)
        assert worker.killed
        assert not any(call.future.done() for call in behind)
        worker.die(list(behind))
        worker = bench.arrive()
        assert list(worker.in_flight.values()) == behind
        first, *behind = behind
    with pytest.raises(CallTimedOutError):
        await asyncio.wait_for(first.future, 5)


@pytest.mark.real
async def test_the_time_of_a_call_sent_ahead_begins_with_the_answer_before_it(
    tmp_path: Path, spawned: list
) -> None:
    """Three calls of 0.05 s in one worker are well within a deadline of 0.08 s each."""
    bench = Bench(tmp_path, spawned, timeout_s=0.08)
    bench.call()
    worker = bench.arrive()
    worker.reply()
    bench.fast(worker)
    calls = [bench.call() for _ in range(3)]
    for _ in calls:
        await asyncio.sleep(0.05)
        worker.reply(50_000)
    assert [call.future.result() for call in calls] == [(0, 50_000, None)] * 3
    assert not worker.killed


async def test_calls_behind_a_slow_one_are_asked_back_and_served_by_another(
    tmp_path: Path, spawned: list
) -> None:
    """A quick function has one slow call: what was sent ahead behind it does not wait for it."""
    bench = Bench(tmp_path, spawned)
    bench.call()
    worker = bench.arrive()
    worker.reply()
    bench.fast(worker)
    slow, *behind = [bench.call() for _ in range(4)]
    async with asyncio.timeout(5):
        while not worker.recalled:
            await asyncio.sleep(0.002)
    worker.in_flight = {slow.id: slow}
    bench.pool.returned(worker, list(behind))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        while len(bench.workers) < 2:
            await asyncio.sleep(0.002)
    other = bench.arrive()
    assert list(other.in_flight.values()) == behind
    assert list(worker.in_flight.values()) == [slow]


async def test_code_that_does_not_load_answers_every_call(tmp_path: Path, spawned: list) -> None:
    """The load error is told at each call, those that waited included."""
    bench = Bench(tmp_path, spawned)
    bench.live.build_error = SpawnFailedError("not reached")
    waiting = bench.call()
    bench.live.errors["f"] = ("ImportError: no", "trace")
    await spawned.pop()
    assert await waiting.future == (2, 0, ["ImportError: no", "trace"])
    assert await bench.call().future == (2, 0, ["ImportError: no", "trace"])


async def test_a_sandbox_that_cannot_be_built_fails_the_calls_that_waited(
    tmp_path: Path, spawned: list
) -> None:
    """They are not left waiting, and the next call tries again."""
    bench = Bench(tmp_path, spawned)
    bench.live.build_error = SpawnFailedError("no launcher")
    call = bench.call()
    await spawned.pop()
    with pytest.raises(SandboxDiedError, match="no launcher"):
        await call.future
    bench.live.build_error = None
    bench.call()
    assert len(bench.workers) == 1


async def test_draining_answers_what_is_here_and_then_closes(tmp_path: Path, spawned: list) -> None:
    """Busy workers finish, waiting calls are served, the sandbox is given up at the end."""
    bench = Bench(tmp_path, spawned)
    calls = [bench.call(), bench.call()]
    worker = bench.arrive()
    bench.pool.drain()
    worker.reply(5_000)
    assert not bench.pool.closed.is_set()
    worker.reply(5_000)
    assert bench.pool.closed.is_set()
    assert all(call.future.done() for call in calls)
    assert bench.live.retired == 1


async def test_a_worker_is_recycled_after_so_many_calls(tmp_path: Path, spawned: list) -> None:
    """recycle_calls replaces the process between two calls."""
    bench = Bench(tmp_path, spawned, recycle_calls=2)
    for _ in range(3):
        bench.call()
    worker = bench.arrive()
    worker.reply(5_000)
    worker.reply(5_000)
    assert worker.draining
    again = bench.arrive()
    assert again is not worker
    assert len(again.in_flight) == 1


@pytest.mark.real
async def test_idle_workers_go_down_to_the_minimum(tmp_path: Path, spawned: list) -> None:
    """A worker without a call for idle_s is retired, min_workers of them stay."""
    bench = Bench(tmp_path, spawned, idle_s=0.02, min_workers=1, max_workers=3)
    for _ in range(3):
        bench.call()
    first = bench.arrive()
    await asyncio.sleep(0.02)
    for index in range(1, len(bench.workers)):
        bench.arrive(index)
    for worker in bench.workers:
        while worker.in_flight:
            worker.reply(5_000)
    await asyncio.sleep(0.1)
    assert len(bench.pool.workers) == 1
    assert first in bench.workers


async def test_a_lost_zygote_is_replaced_before_its_workers_leave(
    tmp_path: Path, spawned: list
) -> None:
    """The old worker serves until a new one is there."""
    bench = Bench(tmp_path, spawned)
    bench.call()
    old = bench.arrive()
    old.reply()
    bench.live.on_lost[0]()
    replacing = asyncio.ensure_future(spawned.pop())
    await asyncio.sleep(0)
    assert not old.draining
    bench.arrive()
    await replacing
    assert old.draining


async def test_a_cold_pool_warms_up_again_with_a_call(tmp_path: Path, spawned: list) -> None:
    """cool() ends the workers of an idle function; a later call brings one back."""
    bench = Bench(tmp_path, spawned)
    bench.call()
    bench.arrive().reply()
    assert bench.pool.cool()
    assert bench.pool.state is PoolState.COLD
    assert bench.pool.workers == []
    bench.call()
    assert bench.pool.state is PoolState.SERVING
    assert len(bench.workers) == 2


# --- Workers that end before they serve


async def none_serves(bench: Bench, at_most: int) -> None:
    """Let each worker end before it serves, for 0.4 s; there must not be more of them."""
    ended = 0
    for _ in range(80):
        while ended < len(bench.workers):
            worker = bench.workers[ended]
            ended += 1
            worker.failed_start = True
            worker.facts = "exit code 3"
            worker.die([])
            assert len(bench.workers) <= at_most
        await asyncio.sleep(0.005)


@pytest.mark.real
async def test_workers_that_never_serve_are_no_fork_storm(tmp_path: Path, spawned: list) -> None:
    """Three attempts with pauses between, then the calls that wait are told why."""
    bench = Bench(tmp_path, spawned, max_workers=8)
    calls = [bench.call() for _ in range(5)]
    await none_serves(bench, at_most=3)
    for call in calls:
        with pytest.raises(SandboxDiedError, match="before its first call: exit code 3"):
            await asyncio.wait_for(call.future, 5)
    assert bench.pool.load_error == ("a worker ended before its first call: exit code 3", "")


@pytest.mark.real
async def test_during_the_pause_a_call_is_told_at_once_and_after_it_tried_again(
    tmp_path: Path, spawned: list
) -> None:
    """No call waits for an attempt that is far away; a worker that comes ends the trouble."""
    bench = Bench(tmp_path, spawned)
    bench.call().future.add_done_callback(lambda done: done.exception())
    await none_serves(bench, at_most=3)
    refused = bench.call()
    assert refused.future.done()
    with pytest.raises(SandboxDiedError, match="exit code 3"):
        await refused.future
    await asyncio.sleep(1.0)
    served = bench.call()
    assert len(bench.workers) == 4
    bench.arrive().reply()
    assert served.future.done()
    assert bench.pool.load_error is None


@pytest.mark.real
async def test_the_minimum_is_kept_without_a_storm(tmp_path: Path, spawned: list) -> None:
    """Workers that end by themselves though nobody calls them come more and more slowly."""
    bench = Bench(tmp_path, spawned, min_workers=1)
    bench.call()
    bench.arrive().reply()
    bench.workers[0].die([])
    for _ in range(60):
        worker = bench.workers[-1]
        if worker is not bench.workers[0] and not worker.failed_start:
            bench.arrive()
            worker.failed_start = True
            worker.die([])
        await asyncio.sleep(0.005)
    assert 2 <= len(bench.workers) <= 4


async def test_one_failed_start_beside_workers_that_serve_refuses_nobody(
    tmp_path: Path, spawned: list
) -> None:
    """Other workers prove the code; the calls wait for them."""
    bench = Bench(tmp_path, spawned, max_workers=2)
    bench.call()
    bench.arrive().reply(5_000)
    calls = [bench.call() for _ in range(3)]
    async with asyncio.timeout(5):
        while len(bench.workers) < 2:
            await asyncio.sleep(0.002)
    bench.workers[1].failed_start = True
    bench.workers[1].die([])
    assert bench.pool.load_error is None
    for _ in calls:
        bench.workers[0].reply(5_000)
    assert all(call.future.done() for call in calls)


async def test_warming_up_tells_why_there_is_no_worker(tmp_path: Path, spawned: list) -> None:
    """The reason stays as the function's error until a worker comes."""
    bench = Bench(tmp_path, spawned)
    warming = asyncio.ensure_future(bench.pool.warm())
    await asyncio.sleep(0)
    bench.workers[0].failed_start = True
    bench.workers[0].die([])
    told = ("a worker ended before its first call", "")
    assert await warming == told
    assert bench.pool.load_error == told


async def test_a_worker_that_imports_by_itself_has_its_time(tmp_path: Path, spawned: list) -> None:
    """Then it is ended, and who waits is told which limit that was, without another attempt."""
    bench = Bench(tmp_path, spawned, start_timeout_s=0.01)
    warming = asyncio.ensure_future(bench.pool.warm())
    while not bench.workers or not bench.workers[0].killed:
        await asyncio.sleep(0.002)
    (worker,) = bench.workers
    assert "longer than 0.01 s" in worker.killed
    worker.failed_start, worker.facts = True, worker.killed
    worker.die([])
    told = await warming
    assert told is not None
    assert '"taak": {"start_timeout_s"}' in told[0]
    assert len(bench.workers) == 1


async def test_a_worker_that_came_in_time_is_left_alone(tmp_path: Path, spawned: list) -> None:
    """However often others come after it."""
    bench = Bench(tmp_path, spawned, start_timeout_s=0.01)
    warming = asyncio.ensure_future(bench.pool.warm())
    await asyncio.sleep(0)
    bench.arrive()
    assert await warming is None
    await asyncio.sleep(0.03)
    assert not bench.workers[0].killed


async def test_a_build_that_failed_is_the_functions_error(tmp_path: Path, spawned: list) -> None:
    """Code that ends the zygote at import: told at each call, without a build for each."""
    bench = Bench(tmp_path, spawned)
    bench.live.build_error = SpawnFailedError("it ended at import (exit code 3)")
    clock = [0.0]
    bench.live.attempts = Attempts(lambda: clock[0])
    for _ in range(3):
        clock[0] += bench.live.attempts.pause
        bench.live.attempts.failed("it ended at import (exit code 3)")
    assert bench.pool.load_error == ("it ended at import (exit code 3)", "")
    call = bench.call()
    assert not spawned
    with pytest.raises(SandboxDiedError, match="exit code 3"):
        await call.future
    assert await bench.pool.warm() == ("it ended at import (exit code 3)", "")


async def test_a_closed_pool_leaves_nobody_waiting_for_a_worker(
    tmp_path: Path, spawned: list
) -> None:
    """Who warms it up in a pause between attempts is told when it is given up."""
    bench = Bench(tmp_path, spawned)
    bench.live.attempts.failed("once")
    warming = asyncio.ensure_future(bench.pool.warm())
    await asyncio.sleep(0)
    assert not bench.workers
    bench.pool.drain()
    assert await asyncio.wait_for(warming, 5) == ("the function is no longer served", "")
