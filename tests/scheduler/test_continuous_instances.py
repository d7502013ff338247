"""Continuous jobs of two platforms on one store: one singleton, one will, one answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from job_fakes import FakeClock, FakeLauncher, lines, make_job, programs, settle

from scheduler.continuous import ContinuousJobs
from scheduler.continuous_state import ContinuousState
from scheduler.desired_state import marker_of
from scheduler.functions import Job, JobKind
from scheduler.held_file import HeldFile, is_held
from scheduler.instance_statuses import Summary, summary
from scheduler.job_folders import JobFolders
from scheduler.store.memory import MemoryStore

S = ContinuousState


class Instance:
    """One platform: a site, a home and processes of its own."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name
        self.launcher = FakeLauncher()
        self.folders = JobFolders(bench.base / name / "home")
        self.jobs = ContinuousJobs(
            self.launcher,
            bench.store,
            self.folders,
            instance=name,
            clock=bench.clock,
            programs=programs(self.folders, name),
        )
        self.job: Job = make_job(bench.base / name, JobKind.CONTINUOUS, "mail")
        self._serving: asyncio.Task[None] | None = None
        self._epoch = 0

    async def serve(self, **fields: object) -> Instance:
        """Begin with one job."""
        self.job = replace(self.job, **fields)
        self._serving = asyncio.create_task(self.jobs.serve())
        await settle()
        await self.deploy()
        return self

    async def deploy(self) -> None:
        """Deploy the job."""
        self.jobs.apply(SimpleNamespace(jobs_added=(self.job,), jobs_changed=(), jobs_removed=()))
        await settle()

    async def beat(self) -> None:
        """Tell the others how its jobs are."""
        store = self.bench.store
        self._epoch = self._epoch or await store.join(self.name, ttl_s=5)
        await store.heartbeat(self.name, self._epoch, job_statuses=self.jobs.states())

    async def die(self) -> None:
        """End without a word: what it holds runs out by itself."""
        assert self._serving is not None
        store = self.bench.store
        release = store.release_lease

        async def unreachable(*_args: object) -> bool:
            return False

        store.release_lease = unreachable
        self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        store.release_lease = release

    @property
    def state(self) -> ContinuousState:
        """Return where its job stands."""
        return self.jobs.status("mail").state

    @property
    def log(self) -> list[str]:
        """Return its log."""
        return lines(self.folders.job_log(self.job))


class Bench:
    """A store and a clock."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)

    async def two(self, **fields: object) -> tuple[Instance, Instance]:
        """Return two instances that serve the same job."""
        one = await Instance(self, "alpha-1").serve(**fields)
        return one, await Instance(self, "bravo-2").serve(**fields)


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    """An empty store; what serves is cancelled at the end."""
    yield Bench(tmp_path)
    for _ in range(3):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settle()


class TestSingleton:
    async def test_one_runs_and_the_other_stands_by(self, bench):
        """webjobs.md 4.8: InactiveInstance is written once, however often it is looked."""
        one, two = await bench.two(is_singleton=True)
        await bench.clock.pass_time(31)
        assert (one.state, two.state) == (S.RUNNING, S.INACTIVE_INSTANCE)
        assert two.log.count("SYS INFO] Status changed to InactiveInstance") == 1
        assert two.launcher.started == []

    async def test_the_other_takes_over_with_a_later_token(self, bench):
        """Once the lease of the dead one has run out, and not a moment before."""
        one, two = await bench.two(is_singleton=True)
        (before,) = await bench.store.leases("singleton/")
        await one.die()
        await bench.clock.pass_time(9)
        assert two.state is S.INACTIVE_INSTANCE
        await bench.clock.pass_time(11)
        assert two.state is S.RUNNING
        (after,) = await bench.store.leases("singleton/")
        assert (after.owner, after.token > before.token) == ("bravo-2", True)
        assert not await bench.store.renew(before.name, before.token, 15)

    async def test_a_stopped_singleton_is_handed_on_at_once(self, bench):
        """An ordered end gives the right back: the other has it at its next look."""
        one, two = await bench.two(is_singleton=True)
        one.launcher.last.on_terminate = lambda: one.launcher.last.end(0)
        await one.jobs.drain(5)
        await bench.clock.pass_time(5)
        assert two.state is S.RUNNING

    async def test_the_lock_file_is_held_by_the_one_that_runs(self, bench):
        """webjobs.md 1.6: singleton.job.lock; standing by holds nothing."""
        one, two = await bench.two(is_singleton=True)
        files = [each.folders.data(each.job) / "singleton.job.lock" for each in (one, two)]
        assert [is_held(path) for path in files] == [True, False]


class TestOneWill:
    async def test_a_stop_is_followed_by_all(self, bench):
        """webjobs.md 4.5: decided at one, done at both, with disable.job in each folder."""
        one, two = await bench.two()
        await one.jobs.stop("mail")
        for instance in (one, two):
            instance.launcher.last.on_terminate = instance.launcher.last.end
        await bench.clock.pass_time(8)
        assert (one.state, two.state) == (S.STOPPED, S.STOPPED)
        assert marker_of(one.job).exists()
        assert marker_of(two.job).exists()
        await two.jobs.start("mail")
        await bench.clock.pass_time(3)
        assert (one.state, two.state) == (S.RUNNING, S.RUNNING)
        assert not marker_of(one.job).exists()
        assert [len(each.launcher.started) for each in (one, two)] == [2, 2]

    async def test_an_edit_at_one_is_an_order_for_all(self, bench):
        """Somebody makes disable.job by hand at the second."""
        one, two = await bench.two()
        await one.jobs.start("mail")  # from now on the store has an opinion
        await bench.clock.pass_time(3)
        marker_of(two.job).touch()
        two.jobs.apply(SimpleNamespace(jobs_added=(), jobs_changed=(two.job,), jobs_removed=()))
        await bench.clock.pass_time(20)
        assert (one.state, two.state) == (S.STOPPED, S.STOPPED)
        assert marker_of(one.job).exists()

    async def test_a_folder_that_cannot_be_written_overrules_nobody(self, bench, monkeypatch):
        """disable.job that cannot be made at the second is no order to start there."""
        one, two = await bench.two()
        there = marker_of(two.job)
        touch = Path.touch

        def refuse(path, *args, **fields):
            if path == there:
                raise PermissionError(30, "Read-only file system")
            touch(path, *args, **fields)

        monkeypatch.setattr(Path, "touch", refuse)
        await one.jobs.stop("mail")
        await bench.clock.pass_time(30)
        assert (one.state, two.state) == (S.STOPPED, S.STOPPED)
        assert not there.exists()

    async def test_who_comes_later_follows_too(self, bench):
        """A third instance of a stopped job does not start it, whatever its folder says."""
        one, _ = await bench.two()
        await one.jobs.stop("mail")
        await bench.clock.pass_time(8)
        three = await Instance(bench, "charly-3").serve()
        await bench.clock.pass_time(8)
        assert (three.state, three.launcher.started) == (S.STOPPED, [])
        assert marker_of(three.job).exists()

    async def test_a_decision_of_an_older_version_is_understood(self, bench):
        """It knew one instance, and one folder."""
        text = '{"running": false, "marker": false, "digest": "digest-1"}'
        await bench.store.put_config("job/continuous/mail", text)
        one, _ = await bench.two()
        assert one.state is S.STOPPED


class TestOneAnswer:
    async def test_each_has_a_line_and_the_active_one_wins(self, bench):
        """webjobs.md 4.8: whoever is asked, in the order of their names."""
        one, two = await bench.two(is_singleton=True)
        for instance in (one, two):
            await instance.beat()
        told = Summary("Running", "alpha- - Running\r\nbravo- - InactiveInstance\r\n")
        assert await one.jobs.summary(one.job) == told
        assert await two.jobs.summary(two.job) == told

    async def test_who_is_dead_is_not_listed(self, bench):
        """Nobody reads the words of one who cannot change them."""
        one, two = await bench.two()
        for instance in (one, two):
            await instance.beat()
        await bench.clock.pass_time(6)
        await two.beat()
        assert await two.jobs.summary(two.job) == Summary("Running", "bravo- - Running\r\n")

    def test_a_job_that_nobody_speaks_of(self):
        """Initializing, in one line without an end, as Kudu says it."""
        assert summary({}, "alpha-1") == Summary("Initializing", "alpha- - Initializing")

    @pytest.mark.parametrize(
        ("words", "status"),
        [
            (["InactiveInstance", "Running"], "Running"),
            (["Running", "InactiveInstance"], "Running"),
            (["Running", "PendingRestart"], "PendingRestart"),
            (["InactiveInstance", "InactiveInstance"], "InactiveInstance"),
        ],
    )
    def test_the_last_active_one_wins(self, words, status):
        """The first counts only until an active one comes."""
        assert summary({f"i{n}": word for n, word in enumerate(words)}, "x").status == status


class TestStatusFiles:
    async def test_a_status_file_is_held_while_its_platform_lives(self, bench):
        """webjobs.md 9: on Linux a lock tells who lives, not whether a file can be deleted."""
        one = await Instance(bench, "alpha-1").serve()
        path = one.folders.status_file(one.job, "alpha-1")
        assert (path.read_text(), is_held(path)) == ('{"Status":"Running"}', True)
        await one.die()
        assert not is_held(path)

    async def test_what_the_dead_have_left_is_removed(self, bench):
        """And what somebody who lives holds is not."""
        one = Instance(bench, "alpha-1")
        dead, alive = (one.folders.status_file(one.job, name) for name in ("dead", "live"))
        dead.parent.mkdir(parents=True)
        dead.write_text('{"Status":"Running"}')
        held = HeldFile(alive)
        held.write('{"Status":"Running"}')
        await one.serve()
        assert (dead.exists(), alive.exists()) == (False, True)
        held.remove()
