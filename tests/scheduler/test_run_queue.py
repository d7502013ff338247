"""Runs that wait, runs beside each other, time limits, and several instances on one store."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from job_fakes import START, FakeClock, FakeLauncher, lines, make_job, programs, settle

from scheduler.errors import ConflictError
from scheduler.functions import Job
from scheduler.job_folders import JobFolders
from scheduler.job_policy import JobPolicy, OnBusy
from scheduler.run import Run, RunState
from scheduler.store.memory import MemoryStore
from scheduler.triggered import CANCEL_VERB, TriggeredJobs

QUEUE = JobPolicy(on_busy=OnBusy.QUEUE, queue_depth=3)


class Instance:
    """One platform's triggered jobs."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.launcher = FakeLauncher()
        self.folders = JobFolders(bench.base / name)
        self.name = name
        self.jobs = TriggeredJobs(
            self.launcher,
            bench.store,
            self.folders,
            instance=name,
            clock=bench.clock,
            programs=programs(self.folders, name),
            cpu_ticks=lambda _pid: 0,
        )
        self._serving: asyncio.Task[None] | None = None

    async def serve(self, *jobs: Job) -> Instance:
        """Begin, with these jobs deployed."""
        await self.bench.store.join(self.name, ttl_s=5)
        self._serving = asyncio.create_task(self.jobs.serve())
        await self.jobs.recovered.wait()  # which asks files in a thread
        await settle()
        self.deploy(*jobs)
        await settle()
        return self

    def deploy(self, *jobs: Job, gone: tuple[Job, ...] = ()) -> None:
        """Follow a deployment."""
        self.jobs.apply(SimpleNamespace(jobs_added=jobs, jobs_changed=(), jobs_removed=gone))

    async def die(self) -> None:
        """End without warning: nothing is told to anybody."""
        assert self._serving is not None
        store = self.bench.store
        with contextlib.ExitStack() as stack:
            for call in ("update_run", "release_lease"):
                before = getattr(store, call)
                setattr(store, call, _never)
                stack.callback(setattr, store, call, before)
            self._serving.cancel()
            await settle()

    async def start(self, job: Job) -> Run:
        """Start a run by hand."""
        run = await self.jobs.start(job, trigger="test")
        await settle()
        return run

    async def end(self, code: int = 0) -> None:
        """End the oldest process that lives."""
        self.launcher.alive[0].end(code)
        await settle()


async def _never(*_args: object, **_fields: object) -> None:
    await asyncio.Event().wait()


class Bench:
    """A store, a clock, and as many instances as a test wants."""

    def __init__(self, base) -> None:
        self.base = base
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)

    def job(self, policy: JobPolicy = QUEUE, **fields) -> Job:
        """Return a job with this policy."""
        return make_job(self.base, policy=policy, stopping_wait_s=3.0, **fields)

    async def instance(self, name: str, *jobs: Job) -> Instance:
        """Return an instance that serves."""
        return await Instance(self, name).serve(*jobs)

    async def states(self, *runs: Run) -> list[str]:
        """Return how runs are in the store."""
        found = [await self.store.get_run(run.id) for run in runs]
        return [run.state.value if run else "gone" for run in found]


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    """An empty store; whatever still serves is cancelled at the end, also what was left to die."""
    yield Bench(tmp_path)
    for _ in range(3):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settle()


class TestWaiting:
    async def test_runs_wait_and_begin_in_their_order(self, bench):
        """One after another, each seen as queued until then."""
        job = bench.job()
        here = await bench.instance("one", job)
        runs = [await here.start(job) for _ in range(3)]
        assert await bench.states(*runs) == ["running", "queued", "queued"]
        assert here.folders.read_run_status(job, runs[2].public_id).status == "Initializing"
        for number in (1, 2):
            await here.end()
            states = ["success"] * number + ["running"] + ["queued"] * (2 - number)
            assert await bench.states(*runs) == states
        waited = lines(here.folders.output_log(job, runs[1].public_id))
        assert waited.count("SYS INFO] Status changed to Initializing") == 1

    async def test_a_full_queue_refuses_and_leaves_nothing(self, bench):
        """The words name the limit and the setting."""
        job = bench.job()
        here = await bench.instance("one", job)
        for _ in range(4):
            await here.start(job)
        with pytest.raises(ConflictError, match="3 runs of job report wait.*queue_depth"):
            await here.start(job)
        assert len(here.folders.run_ids(job)) == 4

    async def test_who_can_begin_at_once_takes_no_room(self, bench):
        """Four at the same moment are one that goes on and three that wait."""
        job = bench.job()
        here = await bench.instance("one", job)
        starts = (here.jobs.start(job, trigger="test") for _ in range(5))
        results = await asyncio.gather(*starts, return_exceptions=True)
        assert [isinstance(result, ConflictError) for result in results] == [False] * 4 + [True]
        await settle()
        states = await bench.states(*results[:4])
        assert sorted(states) == ["queued"] * 3 + ["running"]

    async def test_what_waits_survives_a_crash_and_begins_after_it(self, bench):
        """The run under way is closed as aborted, those that waited go on in their order."""
        job = bench.job()
        here = await bench.instance("one", job)
        runs = [await here.start(job) for _ in range(3)]
        await here.die()
        again = await bench.instance("one", job)
        assert await bench.states(*runs) == ["aborted", "running", "queued"]
        await again.end()
        assert await bench.states(*runs) == ["aborted", "success", "running"]

    async def test_one_that_waits_can_be_cancelled(self, bench):
        """It never begins, and its log says why."""
        job = bench.job()
        here = await bench.instance("one", job)
        first, second, third = [await here.start(job) for _ in range(3)]
        await here.jobs.cancel(job, second.public_id)
        await here.end()
        assert await bench.states(first, second, third) == ["success", "cancelled", "running"]
        assert (
            "cancelled before it began" in lines(here.folders.output_log(job, second.public_id))[-1]
        )
        assert here.folders.read_run_status(job, second.public_id).status == "Aborted"

    async def test_a_job_that_is_gone_lets_nobody_wait(self, bench):
        """Its runs end as cancelled, with the reason."""
        job = bench.job()
        here = await bench.instance("one", job)
        _, waiting = [await here.start(job) for _ in range(2)]
        here.deploy(gone=(job,))
        await settle()
        found = await bench.store.get_run(waiting.id)
        assert (found.state, found.reason) == (RunState.CANCELLED, "its job is gone")

    async def test_a_tick_may_wait_where_a_caller_may_not(self, bench):
        """`overlap` is the schedule's, `on_busy` the caller's; and nobody overtakes."""
        job = bench.job(JobPolicy(overlap="queue"))
        here = await bench.instance("one", job)
        await here.start(job)
        tick = await here.jobs.start_tick(job, START, "Schedule - x", may_wait=True)
        assert tick.state is RunState.QUEUED
        assert await here.jobs.start_tick(job, START, "Schedule - x", may_wait=True) is None
        with pytest.raises(ConflictError, match="already running"):
            await here.start(job)
        await here.end()
        assert await bench.states(tick) == ["running"]

    async def test_stopped_jobs_keep_who_waits(self, bench):
        """WEBJOBS_STOPPED refuses new runs and begins none."""
        job = bench.job()
        here = await bench.instance("one", job)
        _, waiting = [await here.start(job) for _ in range(2)]
        stopped = bench.job(environment={"WEBJOBS_STOPPED": "1"})
        here.deploy(stopped)
        await here.end()
        assert await bench.states(waiting) == ["queued"]
        here.deploy(job)
        await settle()
        assert await bench.states(waiting) == ["running"]

    async def test_old_runs_go_and_those_that_wait_stay(self, bench):
        """The history's size counts what has ended."""
        job = bench.job(environment={"WEBJOBS_HISTORY_SIZE": "1"})
        here = await bench.instance("one", job)
        runs = [await here.start(job) for _ in range(4)]
        await here.end()
        assert await bench.states(*runs) == ["gone", "running", "queued", "queued"]
        assert set(here.folders.run_ids(job)) == {run.public_id for run in runs[1:]}


class TestBesideEachOther:
    async def test_so_many_runs_at_one_time(self, bench):
        """The next is refused, and takes the place of the one that ends."""
        job = bench.job(JobPolicy(concurrency=2))
        here = await bench.instance("one", job)
        first, second = [await here.start(job) for _ in range(2)]
        with pytest.raises(ConflictError, match="already running"):
            await here.start(job)
        assert here.jobs.active(job).id == second.id
        await here.end()
        third = await here.start(job)
        assert await bench.states(first, second, third) == ["success", "running", "running"]
        assert here.jobs.goes_on(third)
        assert not here.jobs.goes_on(first)

    async def test_a_run_that_waits_goes_on(self, bench):
        """Who follows its log must not be told that it has ended."""
        job = bench.job()
        here = await bench.instance("one", job)
        first, second = [await here.start(job) for _ in range(2)]
        assert here.jobs.goes_on(second)
        await here.jobs.cancel(job, second.public_id)
        await bench.clock.pass_time(3)
        assert [here.jobs.goes_on(run) for run in (first, second)] == [True, False]

    async def test_places_are_shared_by_all_instances(self, bench):
        """Two places are two, wherever the runs are."""
        job = bench.job(JobPolicy(concurrency=2))
        one = await bench.instance("one", job)
        two = await bench.instance("two", job)
        await one.start(job)
        await two.start(job)
        for instance in (one, two):
            with pytest.raises(ConflictError, match="already running"):
                await instance.start(job)

    async def test_deletion_ends_all_of_a_job(self, bench):
        """What goes on and what waits."""
        job = bench.job(JobPolicy(concurrency=2, on_busy=OnBusy.QUEUE))
        here = await bench.instance("one", job)
        runs = [await here.start(job) for _ in range(3)]
        ending = asyncio.create_task(here.jobs.end_all(job, "its job is deleted", grace_s=0))
        await settle()
        assert ending.done()
        assert await bench.states(*runs) == ["cancelled"] * 3


class TestTimeLimit:
    async def test_a_run_that_takes_too_long_is_ended_in_order(self, bench):
        """SIGTERM, the job's grace, SIGKILL; Kudu's word for it is Failed."""
        job = bench.job(JobPolicy(timeout_s=60))
        here = await bench.instance("one", job)
        run = await here.start(job)
        process = here.launcher.last
        await bench.clock.pass_time(59)
        assert not process.terminated
        await bench.clock.pass_time(2)
        assert (process.terminated, process.killed) == (True, False)
        await bench.clock.pass_time(3)
        assert process.killed
        found = await bench.store.get_run(run.id)
        assert found.state is RunState.TIMED_OUT
        assert found.reason.startswith("timeout: longer than 60 seconds")
        assert here.folders.read_run_status(job, run.public_id).status == "Failed"


class TestInstances:
    async def test_one_run_of_a_job_over_all_instances(self, bench):
        """webjobs.md 5.2: 409 at the other one."""
        job = bench.job(JobPolicy())
        one, two = [await bench.instance(name, job) for name in ("one", "two")]
        await one.start(job)
        with pytest.raises(ConflictError, match="already running"):
            await two.start(job)

    @pytest.mark.parametrize("may_wait", [False, True])
    async def test_a_tick_fires_once_over_all_instances(self, bench, may_wait):
        """webjobs.md 2.3: whoever comes second finds it recorded, or the job running."""
        job = bench.job(JobPolicy())
        one, two = [await bench.instance(name, job) for name in ("one", "two")]
        results = await asyncio.gather(
            *(each.jobs.start_tick(job, START, "t", may_wait=may_wait) for each in (one, two)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Run) for result in results) == 1
        await settle()
        assert len(one.launcher.started) + len(two.launcher.started) == 1
        assert len(await one.jobs.history(job)) == 1

    async def test_whoever_has_a_place_begins_who_waits(self, bench):
        """Once, and under its own name from then on."""
        job = bench.job()
        one, two = [await bench.instance(name, job) for name in ("one", "two")]
        first, second = await one.start(job), await two.start(job)
        assert await bench.states(first, second) == ["running", "queued"]
        await one.end()
        await bench.clock.pass_time(3)
        assert await bench.states(first, second) == ["success", "running"]
        assert len(one.launcher.alive) + len(two.launcher.alive) == 1

    async def test_a_dead_instances_runs_are_closed_by_another(self, bench):
        """But not before its right to run has run out: until then it may only hang."""
        job = bench.job()
        one, two = [await bench.instance(name, job) for name in ("one", "two")]
        first, second = await one.start(job), await one.start(job)
        await one.die()
        epoch = await bench.store.join("two", ttl_s=5)
        for _ in range(4):
            await bench.store.heartbeat("two", epoch)
            await bench.clock.pass_time(2.5)
        assert await bench.states(first, second) == ["running", "queued"]
        for _ in range(6):
            await bench.store.heartbeat("two", epoch)
            await bench.clock.pass_time(2.5)
        assert await bench.states(first, second) == ["aborted", "running"]
        assert (await bench.store.get_run(first.id)).reason == "host_lost"
        assert (await bench.store.get_run(second.id)).instance == "two"
        assert len(two.launcher.alive) == 1
        assert two.folders.run_ids(job) == [second.public_id]  # not of what the dead one ran
        assert two.folders.read_run_status(job, second.public_id).status == "Running"

    async def test_a_run_is_cancelled_from_any_instance(self, bench):
        """The order travels as a command to whoever carries it out."""
        job = bench.job(JobPolicy())
        one, two = [await bench.instance(name, job) for name in ("one", "two")]
        run = await one.start(job)
        await two.jobs.cancel(job, run.public_id)
        epoch = await bench.store.join("one", ttl_s=5)
        orders = (await bench.store.heartbeat("one", epoch)).commands
        assert [order.verb for order in orders] == [CANCEL_VERB]
        assert await one.jobs.cancel_by_order(orders[0].args) == "done"
        await bench.clock.pass_time(4)
        assert await bench.states(run) == ["cancelled"]
        assert "does not go on here" in await one.jobs.cancel_by_order(orders[0].args)


async def test_the_lock_file_is_held_while_a_run_goes_on(bench):
    """webjobs.md 1.5: other tools look at triggeredJob.lock; on Linux its flock is what counts."""
    job = bench.job(JobPolicy())
    here = await bench.instance("one", job)
    path = here.folders.data(job) / "triggeredJob.lock"
    await here.start(job)
    assert '"InstanceId":"one"' in path.read_text()
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await here.end()
    assert not path.exists()
