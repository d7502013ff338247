"""Continuous jobs: kept running, stopped gracefully, each for itself, over every deployment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from job_fakes import FakeClock, FakeLauncher, lines, make_job, programs, settle

from sandbox.errors import SpawnFailedError
from sandbox.interpreters import MissingInterpreterError
from sandbox.spec import Exit
from scheduler.continuous import ContinuousJobs
from scheduler.continuous_state import LIVE, TRANSITIONS, ContinuousState
from scheduler.desired_state import marker_of
from scheduler.errors import NotFoundError
from scheduler.functions import Bundle, BundleKind, Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.restart_delay import CAP_S, RestartDelay
from scheduler.store.memory import MemoryStore
from scheduler.store.port import Unavailable

INSTANCE = "a1b2c3d4"
S = ContinuousState


@dataclass(frozen=True)
class Change:
    """A deployment, as far as jobs are concerned."""

    jobs_added: tuple[Job, ...] = ()
    jobs_changed: tuple[Job, ...] = ()
    jobs_removed: tuple[Job, ...] = ()


class Bench:
    """Continuous jobs on fakes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.launcher = FakeLauncher()
        self.folders = JobFolders(base / "home")
        self.states: list[ContinuousState] = []
        self.jobs = self.make()

    def make(self, instance: str = INSTANCE) -> ContinuousJobs:
        """Return the jobs of one more platform."""
        jobs = ContinuousJobs(
            self.launcher,
            self.store,
            self.folders,
            instance=instance,
            clock=self.clock,
            programs=programs(self.folders, instance),
        )
        jobs.on_status.append(lambda _job, status: self.states.append(status.state))
        return jobs

    def job(self, name: str = "mail", **fields) -> Job:
        """Return a continuous job."""
        return make_job(self.base, JobKind.CONTINUOUS, name, **fields)

    async def add(self, *jobs: Job) -> None:
        """Deploy jobs that are new."""
        self.jobs.apply(Change(jobs_added=jobs))
        await settle()

    async def change(self, *jobs: Job) -> None:
        """Deploy new definitions."""
        self.jobs.apply(Change(jobs_changed=jobs))
        await settle()

    async def end(self, code: int | None = 0, signal: int | None = None) -> None:
        """End the last process."""
        self.launcher.last.end(code, signal)
        await settle()

    def state(self, name: str = "mail") -> ContinuousState:
        """Return where a job stands."""
        return self.jobs.status(name).state

    def log(self, name: str = "mail") -> list[str]:
        """Return the lines of a job's log."""
        return lines(self.base / "home/data/jobs/continuous" / name / "job_log.txt")

    def status_file(self, name: str = "mail") -> str | None:
        """Return what the status file says."""
        path = self.base / "home/data/jobs/continuous" / name / "status_a1b2c3"
        return json.loads(path.read_text())["Status"] if path.exists() else None


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    """Serve continuous jobs; at the end nothing of them runs."""
    bench = Bench(tmp_path)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(bench.jobs.serve())
        await settle()
        yield bench
        serving.cancel()
    assert bench.launcher.alive == []


def newer(job: Job, digest: str = "digest-2", **fields) -> Job:
    """Return the job of a new release, whose files differ."""
    return replace(job, bundle=replace(job.bundle, digest=digest), **fields)


def exists(path: Path) -> bool:
    """Tell whether a file is there."""
    return path.exists()


def text_of(path: Path) -> str:
    """Return a file's text."""
    return path.read_text()


class TestLoop:
    async def test_a_job_runs_from_the_moment_it_is_known(self, bench):
        """Starting, Running: in the log, in the status file and for the API."""
        await bench.add(bench.job())
        assert bench.states == [S.STARTING, S.RUNNING]
        status = bench.jobs.status("MAIL")
        assert (status.state, status.detailed_status) == (S.RUNNING, "a1b2c3 - Running\r\n")
        assert (status.pid, status.restarts, status.last_exit) == (1000, 0, None)
        assert bench.status_file() == "Running"
        assert bench.log() == [
            "SYS INFO] Status changed to Starting",
            "SYS INFO] WebJob singleton setting is False",
            "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
            "SYS INFO] Status changed to Running",
        ]

    async def test_jobs_known_before_serving_start_with_it(self, tmp_path):
        """The first deployment may come first; a job that went again does not start."""
        bench = Bench(tmp_path)
        stay, go = bench.job("stay"), bench.job("go")
        bench.jobs.apply(Change(jobs_added=(stay, go)))
        bench.jobs.apply(Change(jobs_removed=(go,)))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(bench.jobs.serve())
            await settle()
            assert [process.spec.name for process in bench.launcher.started] == ["continuous-stay"]
            serving.cancel()

    async def test_triggered_jobs_are_not_ours(self, bench):
        """A deployment has both kinds."""
        await bench.add(make_job(bench.base, JobKind.TRIGGERED, "report"))
        assert bench.launcher.started == []
        with pytest.raises(NotFoundError):
            bench.jobs.status("report")

    async def test_an_ended_process_starts_again_after_the_restart_time(self, bench):
        """The typical log of a short job, to the letter."""
        await bench.add(bench.job())
        bench.launcher.last.print("hello\n")
        await bench.end(0)
        assert bench.status_file() == "PendingRestart"
        assert bench.jobs.status("mail").pid is None
        await bench.clock.pass_time(59)
        assert len(bench.launcher.started) == 1
        await bench.clock.pass_time(2)
        assert bench.state() is S.RUNNING
        assert bench.log()[4:] == [
            "INFO] hello",
            "SYS INFO] Status changed to Success",
            "SYS INFO] Process went down, waiting for 60 seconds",
            "SYS INFO] Status changed to PendingRestart",
            "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
            "SYS INFO] Status changed to Running",
        ]
        status = bench.jobs.status("mail")
        assert (status.restarts, status.last_exit, status.pid) == (1, Exit(0, None), 1001)

    async def test_a_failure_is_told_and_started_again(self, bench):
        """The exit code does not matter to the loop."""
        await bench.add(bench.job())
        await bench.end(7)
        assert "SYS ERR ] Job failed due to exit code 7" in bench.log()
        await bench.clock.pass_time(61)
        await bench.end(None, 9)
        assert "SYS ERR ] Job failed due to exit code 137 (killed by signal 9)" in bench.log()
        await bench.clock.pass_time(61)
        assert bench.state() is S.RUNNING

    async def test_a_child_that_was_killed_for_memory_is_told(self, bench):
        """In the log, and in the facts about how the process ended."""
        await bench.add(bench.job())
        bench.launcher.last.end(0, oom_kills=1)
        await settle()
        told = "1 process was killed for want of memory, whose limit is memory_mib"
        assert f"SYS WARN] {told}" in bench.log()
        assert str(bench.jobs.status("mail").last_exit) == f"exit code 0; {told}"

    async def test_a_process_that_lived_two_minutes_starts_again_at_once(self, bench):
        """Kudu's rule: no wait after a healthy life."""
        await bench.add(bench.job())
        await bench.clock.pass_time(121)
        await bench.end(1)
        assert len(bench.launcher.started) == 2
        assert "SYS INFO] Process went down, waiting for 0 seconds" in bench.log()

    async def test_the_restart_time_is_a_setting(self, bench):
        """WEBJOBS_RESTART_TIME of the job's app settings."""
        await bench.add(bench.job(environment={"WEBJOBS_RESTART_TIME": "3"}))
        await bench.end(1)
        await bench.clock.pass_time(3)
        assert len(bench.launcher.started) == 2

    async def test_each_start_has_its_own_port_and_shutdown_file(self, bench):
        """So that nothing of the last process meets the next."""
        await bench.add(bench.job(environment={"WEBJOBS_RESTART_TIME": "1"}))
        await bench.end()
        await bench.clock.pass_time(1)
        first, second = (process.spec.env for process in bench.launcher.started)
        assert first["WEBJOBS_SHUTDOWN_FILE"] != second["WEBJOBS_SHUTDOWN_FILE"]
        assert int(second["WEBJOBS_PORT"]) > 0
        assert second["WEBJOBS_RUN_ID"] == ""

    async def test_a_long_life_is_mentioned(self, bench):
        """After an hour, then every twelve."""
        await bench.add(bench.job())
        await bench.clock.pass_time(25 * 3600 + 1)
        assert bench.log().count("SYS INFO] WebJob is still running") == 3

    async def test_the_always_on_warning_is_a_switch(self, bench):
        """Exactly 0 asks for it."""
        await bench.add(bench.job(environment={"WEBSITE_SCM_ALWAYS_ON_ENABLED": "0"}))
        assert sum("Always On" in line for line in bench.log()) == 1

    async def test_the_log_keeps_the_last_words_of_a_crash(self, bench):
        """There is no limit of lines: the trace at the end is what people look for."""
        await bench.add(bench.job())
        for number in range(500):
            bench.launcher.last.print(f"line {number}\n")
        bench.launcher.last.print("Traceback: boom")
        await bench.end(1)
        assert "INFO] Traceback: boom" in bench.log()
        assert "INFO] line 499" in bench.log()


class TestStop:
    async def test_a_stop_is_asked_in_both_ways_and_then_forced(self, bench):
        """Shutdown file, SIGTERM, the grace, SIGKILL; every step is told."""
        await bench.add(bench.job())
        process = bench.launcher.last
        shutdown_file = Path(process.spec.env["WEBJOBS_SHUTDOWN_FILE"])
        assert not exists(shutdown_file)
        await bench.jobs.stop("mail")
        assert bench.state() is S.DISABLING
        await settle()
        assert bench.state() is S.STOPPING
        assert process.terminated
        assert text_of(shutdown_file) == "01/05/2026 10:00:00"
        await bench.clock.pass_time(4)
        assert process.is_alive
        await bench.clock.pass_time(2)
        assert process.killed
        assert bench.state() is S.STOPPED
        assert not exists(shutdown_file)
        assert bench.log()[4:] == [
            "SYS INFO] Status changed to Disabling",
            "SYS INFO] Status changed to Stopping",
            "SYS INFO] WebJob process was aborted",
            "SYS ERR ] Job failed due to exit code 137 (killed by signal 9)",
            "SYS INFO] Status changed to Stopped",
        ]

    async def test_a_polite_job_is_not_killed(self, bench):
        """A clean exit in time shows Success, then Stopped."""
        await bench.add(bench.job())
        process = bench.launcher.last
        process.on_terminate = lambda: process.end(0)
        await bench.jobs.stop("mail")
        await settle()
        assert not process.killed
        assert bench.log()[-2:] == [
            "SYS INFO] Status changed to Success",
            "SYS INFO] Status changed to Stopped",
        ]

    async def test_the_grace_is_the_jobs(self, bench):
        """stopping_wait_time of settings.job."""
        await bench.add(bench.job(stopping_wait_s=50.0))
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(49)
        assert bench.launcher.last.is_alive
        await bench.clock.pass_time(2)
        assert bench.state() is S.STOPPED

    async def test_a_waiting_job_stops_at_once(self, bench):
        """There is no process to wait for."""
        await bench.add(bench.job())
        await bench.end(1)
        await bench.jobs.stop("mail")
        await settle()
        assert bench.state() is S.STOPPED
        await bench.clock.pass_time(600)
        assert len(bench.launcher.started) == 1

    async def test_start_after_stop(self, bench):
        """And the file that tools look at goes and comes."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        assert marker_of(job).exists()
        await bench.clock.pass_time(6)
        await bench.jobs.start("Mail")
        await settle()
        assert not marker_of(job).exists()
        assert bench.state() is S.RUNNING

    async def test_start_during_a_stop_starts_afterwards(self, bench):
        """The last word counts."""
        await bench.add(bench.job())
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(1)
        await bench.jobs.start("mail")
        await bench.clock.pass_time(6)
        assert bench.state() is S.RUNNING
        assert len(bench.launcher.started) == 2

    async def test_starting_a_running_job_does_not_touch_it(self, bench):
        """Nor stopping a stopped one."""
        await bench.add(bench.job())
        await bench.jobs.start("mail")
        await bench.clock.pass_time(10)
        assert len(bench.launcher.started) == 1
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(10)
        written = bench.log()
        await bench.jobs.stop("mail")
        await settle()
        assert bench.log() == written

    async def test_restart_is_a_stop_and_a_start(self, bench):
        """And brings a stopped job back."""
        await bench.add(bench.job())
        await bench.jobs.restart("mail")
        await bench.clock.pass_time(6)
        assert bench.launcher.started[0].terminated
        assert bench.state() is S.RUNNING
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        await bench.jobs.restart("mail")
        await settle()
        assert bench.state() is S.RUNNING

    async def test_a_stop_while_the_job_is_being_prepared(self, bench, monkeypatch):
        """The process is not started for nothing."""
        gate = asyncio.Event()
        place = bench.jobs._place
        prepare = place.programs.prepare

        async def slow(*args):
            await gate.wait()
            return await prepare(*args)

        monkeypatch.setattr(place.programs, "prepare", slow)
        await bench.add(bench.job())
        await bench.jobs.stop("mail")
        gate.set()
        await settle()
        assert bench.launcher.started == []
        assert bench.state() is S.STOPPED

    @pytest.mark.parametrize("failure", [OSError("disk"), MissingInterpreterError("no", "hint")])
    async def test_a_stop_beats_a_start_that_fails(self, bench, monkeypatch, failure):
        """What goes wrong after the decision to stop does not bring the job back to life."""
        gate = asyncio.Event()

        async def fail(*_args):
            await gate.wait()
            raise failure

        monkeypatch.setattr(bench.jobs._place.programs, "prepare", fail)
        await bench.add(bench.job())
        await bench.jobs.stop("mail")
        gate.set()
        await settle()
        assert bench.state() is S.STOPPED
        assert S.PENDING_RESTART not in bench.states

    async def test_a_stop_while_another_instance_holds_the_lock(self, bench, monkeypatch):
        """The answer of the store comes too late to matter."""
        gate = asyncio.Event()

        async def refuse(*_args):
            await gate.wait()

        monkeypatch.setattr(bench.store, "acquire", refuse)
        await bench.add(bench.job(is_singleton=True))
        await bench.jobs.stop("mail")
        gate.set()
        await settle()
        assert bench.states == [S.STARTING, S.DISABLING, S.STOPPING, S.STOPPED]

    async def test_an_unknown_job_is_told(self, bench):
        """By every order."""
        for order in (bench.jobs.start, bench.jobs.stop, bench.jobs.restart):
            with pytest.raises(NotFoundError, match="'nobody'"):
                await order("nobody")


class TestDesiredState:
    """What an operator decided holds until somebody decides otherwise (promise D6)."""

    async def again(self, bench, job) -> bool:
        """Tell whether the job runs on a platform that starts anew."""
        before = len(bench.launcher.started)
        bench.jobs = bench.make()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(bench.jobs.serve())
            await bench.add(job)
            running = len(bench.launcher.started) > before
            serving.cancel()
        return running

    async def test_disable_job_of_a_new_folder_is_heeded(self, bench):
        """Someone deployed a job that is switched off."""
        job = bench.job(disabled=True)
        marker_of(job).touch()
        await bench.add(job)
        assert bench.state() is S.STOPPED
        assert bench.launcher.started == []

    async def test_the_file_made_and_removed_by_hand(self, bench):
        """Both are orders; the deployment that notices them changes nothing else."""
        job = bench.job()
        await bench.add(job)
        marker_of(job).touch()
        await bench.change(replace(job, disabled=True))
        await bench.clock.pass_time(6)
        assert bench.state() is S.STOPPED
        marker_of(job).unlink()
        await bench.change(job)
        assert bench.state() is S.RUNNING
        assert not any("refreshing" in line for line in bench.log())

    async def test_a_file_removed_by_hand_after_a_stop_starts_the_job(self, bench):
        """The store does not insist."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        marker_of(job).unlink()
        await bench.change(job)
        assert bench.state() is S.RUNNING

    async def test_our_own_file_is_no_news(self, bench):
        """The folder watch sees what `stop` and `start` did; nothing happens twice."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        await bench.change(replace(job, disabled=True))
        await bench.clock.pass_time(6)
        await bench.jobs.start("mail")
        await bench.change(job)
        await bench.clock.pass_time(60)
        assert len(bench.launcher.started) == 2
        assert bench.state() is S.RUNNING

    async def test_a_late_look_at_a_file_that_is_gone_again_is_no_news(self, bench):
        """stop, start, and then the deployment that saw the file."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        await bench.jobs.start("mail")
        await settle()
        await bench.change(replace(job, disabled=True))
        await bench.clock.pass_time(6)
        assert bench.state() is S.RUNNING
        assert len(bench.launcher.started) == 2

    async def test_new_binaries_do_not_start_a_stopped_job(self, bench):
        """An upload replaces the folder and disable.job with it; that is no order."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        marker_of(job).unlink()
        await bench.change(newer(job))
        await bench.clock.pass_time(60)
        assert bench.state() is S.STOPPED
        assert len(bench.launcher.started) == 1
        assert marker_of(job).exists()

    async def test_a_stop_outlives_the_platform(self, bench):
        """And a start does."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        assert not await self.again(bench, job)

    async def test_a_stop_that_the_store_refuses_does_not_happen(self, bench, monkeypatch):
        """sandbox.md D9: refused is refused; disable.job would stop the job all the same."""
        job = bench.job()
        await bench.add(job)

        async def full(*_args, **_kwargs):
            raise Unavailable("the disk is full")

        monkeypatch.setattr(bench.store, "put_config", full)
        with pytest.raises(Unavailable):
            await bench.jobs.stop("mail")
        await bench.change(job)
        assert bench.state() is S.RUNNING
        assert not exists(marker_of(job))

    async def test_a_deleted_jobs_stop_is_not_its_successors(self, bench):
        """webjobs.md 4.5: DELETE forgets what was decided; a new job of the name runs."""
        job = bench.job()
        await bench.add(job)
        await bench.jobs.stop("mail")
        stopped = asyncio.create_task(bench.jobs.ended("mail"))
        await settle()
        assert not stopped.done()
        bench.launcher.last.end(0)
        await asyncio.wait_for(stopped, 5)
        bench.jobs.apply(Change(jobs_removed=(job,)))
        await bench.jobs.forget(job)
        marker_of(job).unlink()
        await bench.add(newer(job))
        assert bench.state() is S.RUNNING

    async def test_the_marker_of_a_job_without_script_is_in_its_folder(self, bench):
        """And not beside it, where it would be found by all the others."""
        job = replace(bench.job(), script="", error="no runnable script")
        assert marker_of(job).parent == job.live_folder

    async def test_a_folder_that_cannot_be_written_hinders_nobody(self, bench, monkeypatch):
        """Run from a read-only package: the store remembers."""

        def refuse(*_args, **_options):
            raise OSError(30, "Read-only file system")

        job = bench.job()
        await bench.add(job)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", refuse)
            await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        assert bench.state() is S.STOPPED
        assert not marker_of(job).exists()
        assert not await self.again(bench, job)

    async def test_without_the_store_the_file_decides(self, bench, monkeypatch):
        """A job need not stand still because the disk is full."""

        async def refuse(_key):
            raise Unavailable("disk full")

        monkeypatch.setattr(bench.store, "get_config", refuse)
        await bench.add(bench.job())
        assert bench.state() is S.RUNNING

    async def test_webjobs_stopped_stops_all(self, bench):
        """Setting and unsetting it is a change of the job's environment."""
        job = bench.job(environment={"WEBJOBS_STOPPED": "1"})
        await bench.add(job)
        assert bench.state() is S.STOPPED
        await bench.change(newer(job, environment={}))
        assert bench.state() is S.RUNNING


class TestDeployment:
    async def test_a_changed_job_is_stopped_and_started_from_the_new_files(self, bench):
        """The log says that it was a deployment, and which file it was."""
        job = bench.job()
        await bench.add(job)
        root = bench.base / "release-2"
        changed = replace(job, bundle=Bundle("mail", BundleKind.JOB, "digest-2", root))
        changed.folder.mkdir(parents=True)
        (changed.folder / "run.sh").write_text("echo new\n")
        await bench.change(changed)
        await bench.clock.pass_time(6)
        assert bench.launcher.started[0].killed
        new = bench.launcher.last
        assert (Path(new.spec.cwd) / "run.sh").read_text() == "echo new\n"
        log = bench.log()
        refresh = log.index("SYS INFO] Detected WebJob file/s were updated, refreshing WebJob")
        assert log[refresh + 1] == "SYS INFO] Status changed to Stopping"
        assert "SYS INFO] Status changed to Stopped" in log[refresh:]
        assert any("Job file 'run.sh' timestamp differs" in line for line in log[refresh:])

    async def test_an_unchanged_job_is_not_touched(self, bench):
        """Deploying one job does not restart its neighbours."""
        job = bench.job()
        await bench.add(job)
        await bench.change(replace(job))
        await bench.clock.pass_time(10)
        assert len(bench.launcher.started) == 1
        assert not bench.launcher.last.terminated

    async def test_a_change_during_the_wait_starts_at_once(self, bench):
        """Who repairs a crashing job does not wait for its next turn."""
        job = bench.job()
        await bench.add(job)
        await bench.end(1)
        await bench.change(newer(job))
        assert bench.state() is S.RUNNING

    async def test_a_removed_job_is_stopped_and_forgotten(self, bench):
        """Its data stays, its private copy goes."""
        job = bench.job()
        await bench.add(job)
        bench.jobs.apply(Change(jobs_removed=(job,)))
        with pytest.raises(NotFoundError):
            bench.jobs.status("mail")
        await bench.clock.pass_time(6)
        assert bench.launcher.alive == []
        assert bench.log()[-1] == "SYS INFO] Status changed to Stopped"
        assert not bench.folders.working(job).exists()

    async def test_a_job_that_comes_back_waits_for_its_last_process(self, bench):
        """Removed and added within a moment: never two processes of one job."""
        job = bench.job()
        await bench.add(job)
        bench.jobs.apply(Change(jobs_removed=(job,)))
        await bench.add(job)
        await bench.clock.pass_time(4)
        assert len(bench.launcher.alive) == 1
        await bench.clock.pass_time(2)
        assert len(bench.launcher.started) == 2
        assert bench.launcher.alive == [bench.launcher.last]
        assert bench.state() is S.RUNNING

    async def test_a_job_without_script_is_shown_with_its_error(self, bench):
        """Instead of vanishing; the script's arrival starts it."""
        job = bench.job(script="", error="no runnable script: put run.sh there")
        await bench.add(job)
        assert bench.state() is S.STOPPED
        assert "SYS ERR ] no runnable script: put run.sh there" in bench.log()
        with pytest.raises(NotFoundError, match="no runnable script"):
            await bench.jobs.start("mail")
        await bench.change(newer(bench.job()))
        assert bench.state() is S.RUNNING


class TestTrouble:
    async def test_a_failure_of_ours_is_told_and_tried_again(self, bench):
        """After a minute, and no other job notices."""
        other = bench.job("other")
        await bench.add(other)
        bench.launcher.refusal = SpawnFailedError("no fork: EAGAIN")
        await bench.add(bench.job())
        line = "SYS ERR ] WebJob cannot run: no fork: EAGAIN. Trying again in 60 seconds."
        assert bench.log()[-2:] == [line, "SYS INFO] Status changed to PendingRestart"]
        bench.launcher.refusal = None
        await bench.clock.pass_time(61)
        assert bench.state() is S.RUNNING
        assert bench.state("other") is S.RUNNING

    async def test_even_our_own_mistake_harms_one_job_only(self, bench, monkeypatch):
        """An error that nobody thought of is a failure of that job."""
        await bench.add(bench.job("other"))
        bench.launcher.refusal = ZeroDivisionError("oops")
        await bench.add(bench.job())
        assert bench.state() is S.PENDING_RESTART
        assert bench.state("other") is S.RUNNING

    async def test_a_script_that_vanished_is_told(self, bench):
        """In place, anybody may delete it."""
        job = bench.job(is_in_place=True)
        (job.live_folder / "run.sh").unlink()
        await bench.add(job)
        await settle()
        assert bench.state() is S.PENDING_RESTART

    async def test_a_missing_interpreter_is_told_once(self, bench):
        """And tried again ever more rarely: no storm of restarts."""
        await bench.add(bench.job(script="run.ps1", environment={"WEBJOBS_RESTART_TIME": "0"}))
        assert bench.state() is S.PENDING_RESTART
        await bench.clock.pass_time(24 * 3600)
        log = bench.log()
        assert sum("Install PowerShell" in line for line in log) == 1
        assert len(log) < 10
        assert bench.launcher.started == []

    async def test_a_listener_cannot_hurt(self, bench):
        """The loop goes on."""
        bench.jobs.on_status.insert(0, lambda _job, _status: 1 / 0)
        await bench.add(bench.job())
        assert bench.state() is S.RUNNING


class TestRestartDelay:
    """Kudu's constant wait at first; longer for a job that keeps failing."""

    def delays(self, count: int, restart_s: float = 60.0, **options) -> list[float]:
        """Return the waits after so many failures in a row."""
        delay = RestartDelay(**options)
        return [delay.after_end(ok=False, lived_s=1, restart_s=restart_s) for _ in range(count)]

    def test_the_first_restarts_are_kudus(self):
        """Then the wait doubles up to the cap."""
        assert self.delays(7) == [60, 60, 60, 120, 240, 300, 300]

    def test_never_below_the_restart_time(self):
        """Who sets ten minutes gets ten minutes."""
        assert self.delays(6, 600) == [600] * 6

    def test_zero_stays_zero(self):
        """Who wants no wait has none."""
        assert self.delays(20, 0) == [0] * 20

    def test_it_can_be_switched_off(self):
        """`"taak": {"restart_backoff": false}`."""
        assert self.delays(20, backs_off=False) == [60] * 20

    @pytest.mark.parametrize(("ok", "lived_s", "wait_s"), [(True, 1, 60), (False, 120, 0)])
    def test_success_or_a_healthy_life_starts_the_count_anew(self, ok, lived_s, wait_s):
        """A job that is made to end and start again keeps its rhythm for ever."""
        delay = RestartDelay()
        for _ in range(10):
            delay.after_end(ok=False, lived_s=1, restart_s=60)
        assert delay.after_end(ok=ok, lived_s=lived_s, restart_s=60) == wait_s
        assert delay.after_end(ok=False, lived_s=1, restart_s=60) == 60

    def test_years_of_failure(self):
        """The count does not overflow."""
        assert self.delays(5000)[-1] == CAP_S

    async def test_the_loop_uses_it(self, bench):
        """And settings.job switches it off."""
        await bench.add(
            bench.job(), bench.job("plain", settings={"taak": {"restart_backoff": False}})
        )
        for wait in (60, 60, 60, 120, 240):
            for process in bench.launcher.alive:
                process.end(1)
            await bench.clock.pass_time(wait + 1)
        waits = [line for line in bench.log() if "waiting for" in line]
        assert waits[3:] == [
            "SYS INFO] Process went down, waiting for 120 seconds",
            "SYS INFO] Process went down, waiting for 240 seconds",
        ]
        plain = [line for line in bench.log("plain") if "waiting for" in line]
        assert plain[:4] == ["SYS INFO] Process went down, waiting for 60 seconds"] * 4


class TestSingleton:
    async def test_one_instance_runs_the_others_wait(self, bench):
        """InactiveInstance until the holder is gone; then within a look of five seconds."""
        job = bench.job(is_singleton=True)
        token = await bench.store.acquire("singleton/continuous/mail", "other", 12)
        assert token
        await bench.add(job)
        assert bench.state() is S.INACTIVE_INSTANCE
        assert bench.launcher.started == []
        assert bench.log() == [
            "SYS INFO] Status changed to Starting",
            "SYS INFO] WebJob singleton setting is True",
            "SYS INFO] Status changed to InactiveInstance",
        ]
        await bench.clock.pass_time(16)
        assert bench.state() is S.RUNNING
        assert "SYS INFO] WebJob singleton lock is acquired" in bench.log()

    async def test_the_lock_is_kept_over_the_wait_and_released_at_each_restart(self, bench):
        """So another instance may take over, as with Kudu."""
        await bench.add(bench.job(is_singleton=True))
        await bench.end(0)
        assert await bench.store.acquire("singleton/continuous/mail", "other", 15) is None
        await bench.clock.pass_time(61)
        assert "SYS INFO] WebJob singleton lock is released" in bench.log()

    async def test_a_lost_lock_ends_the_process(self, bench):
        """Two copies at once is what a singleton must never be."""
        await bench.add(bench.job(is_singleton=True))
        (lease,) = await bench.store.leases("singleton/")
        await bench.store.release_lease(lease.name, lease.token)
        await bench.store.acquire(lease.name, "other", 100)
        await bench.clock.pass_time(6)
        assert bench.launcher.last.killed
        assert bench.state() is S.INACTIVE_INSTANCE

    async def test_a_stop_frees_the_lock(self, bench):
        """For good, not after fifteen seconds."""
        await bench.add(bench.job(is_singleton=True))
        await bench.jobs.stop("mail")
        await bench.clock.pass_time(6)
        assert list(await bench.store.leases("singleton/")) == []

    async def test_a_killed_platform_has_it_again_at_once(self, tmp_path):
        """Its own lease from before is no obstacle."""
        bench = Bench(tmp_path)
        await bench.store.acquire("singleton/continuous/mail", INSTANCE, 15)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(bench.jobs.serve())
            await bench.add(bench.job(is_singleton=True))
            assert bench.state() is S.RUNNING
            serving.cancel()


class TestDrain:
    async def test_all_jobs_stop_at_the_same_time(self, tmp_path):
        """Not one after another; what takes longer than the platform has is cut."""
        bench = Bench(tmp_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.jobs.serve())
            names = ("one", "two", "three")
            await bench.add(*(bench.job(name, stopping_wait_s=50.0) for name in names))
            group.create_task(bench.jobs.drain(8))
            await bench.clock.pass_time(1)
            assert all(process.terminated for process in bench.launcher.started)
            await bench.clock.pass_time(8)
        assert bench.launcher.alive == []
        for name in names:
            assert "SYS INFO] WebJob is stopping due to website shutting down" in bench.log(name)
            assert bench.status_file(name) == "Stopped"

    async def test_a_stop_in_its_grace_is_cut_short(self, tmp_path):
        """A job that was given minutes does not hold up the platform."""
        bench = Bench(tmp_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.jobs.serve())
            await bench.add(bench.job(stopping_wait_s=600.0))
            await bench.jobs.stop("mail")
            await bench.clock.pass_time(1)
            group.create_task(bench.jobs.drain(3))
            await bench.clock.pass_time(4)
        assert bench.launcher.last.killed

    async def test_a_stop_at_the_end_is_not_remembered(self, tmp_path):
        """The jobs run again with the next start."""
        bench = Bench(tmp_path)
        for _ in range(2):
            bench.jobs = bench.make()
            async with asyncio.TaskGroup() as group:
                group.create_task(bench.jobs.serve())
                await bench.add(bench.job())
                assert bench.state() is S.RUNNING
                group.create_task(bench.jobs.drain(1))
                await bench.clock.pass_time(2)


class TestTable:
    def test_every_state_has_an_entry(self):
        """And every word of Kudu's is there but Success."""
        assert TRANSITIONS.keys() == set(ContinuousState)

    def test_every_live_state_can_be_stopped(self):
        """By hand or by the platform."""
        assert all({S.DISABLING, S.STOPPING} <= TRANSITIONS[state] for state in LIVE)
