"""Runs of triggered jobs: accepted durably, one at a time, ended one way and told everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from job_fakes import START, FakeClock, FakeLauncher, lines, make_job, programs, settle

from sandbox.errors import SpawnFailedError
from sandbox.output import Stream
from scheduler.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from scheduler.functions import JobKind
from scheduler.idle_rule import IdleRule
from scheduler.job_folders import JobFolders, RunStatus
from scheduler.run import RunKind, RunState
from scheduler.store.memory import MemoryStore
from scheduler.store.port import NewRun, Unavailable
from scheduler.ticks import job_timer
from scheduler.triggered import TriggeredJobs

INSTANCE = "a1b2c3d4"


class Bench:
    """Triggered jobs on fakes, with one job."""

    def __init__(self, base) -> None:
        self.base = base
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.launcher = FakeLauncher()
        self.folders = JobFolders(base / "home")
        self.cpu: dict[int, int] = {}
        self.job = make_job(base, stopping_wait_s=30.0)
        self.jobs = self.make()

    def make(self) -> TriggeredJobs:
        """Return the jobs of one more platform."""
        return TriggeredJobs(
            self.launcher,
            self.store,
            self.folders,
            instance=INSTANCE,
            clock=self.clock,
            programs=programs(self.folders, INSTANCE),
            cpu_ticks=lambda pid: self.cpu.get(pid, 0),
        )

    async def start(self, job=None, **options):
        """Start a run and let it come as far as it can."""
        run = await self.jobs.start(job or self.job, trigger="External - curl/8.1", **options)
        await settle()
        return run

    async def end(self, code: int | None = 0, signal: int | None = None):
        """End the last process."""
        self.launcher.last.end(code, signal)
        await settle()

    async def state(self, run) -> RunState:
        """Return the state that the store has."""
        found = await self.store.get_run(run.id)
        assert found is not None
        return found.state

    def log(self, run) -> list[str]:
        """Return the lines of a run's log."""
        return lines(self.folders.output_log(self.job, run.public_id))

    def word(self, run) -> str:
        """Return what the status file says."""
        status = self.folders.read_run_status(self.job, run.public_id)
        assert status is not None
        return status.status


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    """Serve triggered jobs."""
    bench = Bench(tmp_path)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(bench.jobs.serve())
        await settle()
        yield bench
        serving.cancel()


class TestLife:
    async def test_a_run_is_recorded_before_the_caller_hears_of_it(self, bench):
        """Row, folder, status and log exist when `start` returns; the process may come later."""
        run = await bench.jobs.start(bench.job, trigger="External - curl/8.1", arguments="a b")
        assert run == await bench.store.get_run(run.id)
        assert (run.state, run.public_id) == (RunState.INITIALIZING, "202601051000000000")
        assert (run.kind, run.name, run.arguments) == (RunKind.TRIGGERED, "report", "a b")
        assert (run.trigger, run.instance) == ("External - curl/8.1", INSTANCE)
        assert bench.folders.read_run_status(bench.job, run.public_id) == RunStatus(
            "External - curl/8.1", "Initializing", START
        )
        assert bench.log(run) == ["SYS INFO] Status changed to Initializing"]
        assert bench.launcher.started == []

    async def test_a_run_that_succeeds(self, bench):
        """The log tells the story in Kudu's words, files and store say the same."""
        run = await bench.start()
        assert await bench.state(run) is RunState.RUNNING
        assert bench.word(run) == "Running"
        assert bench.jobs.active(bench.job).id == run.id
        await bench.clock.pass_time(2.5)
        bench.launcher.last.print("working\n")
        bench.launcher.last.print("oops\n", Stream.STDERR)
        await bench.end(0)
        assert bench.log(run) == [
            "SYS INFO] Status changed to Initializing",
            "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
            "SYS INFO] Status changed to Running",
            "INFO] working",
            "ERR ] oops",
            "SYS INFO] Status changed to Success",
        ]
        final = await bench.store.get_run(run.id)
        assert (final.state, final.exit_code, final.reason) == (RunState.SUCCESS, 0, "")
        assert final.ended_at == START + timedelta(seconds=2.5)
        assert final.exec_ms == 2500
        status = bench.folders.read_run_status(bench.job, run.public_id)
        assert (status.status, status.ended_at) == ("Success", final.ended_at)
        assert bench.jobs.active(bench.job) is None

    async def test_a_run_that_fails_tells_its_exit_code(self, bench):
        """After the status, as Kudu does."""
        run = await bench.start()
        await bench.end(3)
        assert bench.log(run)[-2:] == [
            "SYS INFO] Status changed to Failed",
            "SYS ERR ] Job failed due to exit code 3",
        ]
        final = await bench.store.get_run(run.id)
        assert (final.state, final.exit_code, final.reason) == (RunState.FAILED, 3, "exit code 3")

    async def test_a_run_that_ends_well_but_lost_a_child_warns(self, bench):
        """The kernel's count, in the log and in the row; the run is still a success."""
        run = await bench.start()
        bench.launcher.last.end(0, oom_kills=2)
        await settle()
        told = "2 processes were killed for want of memory, whose limit is memory_mib"
        assert bench.log(run)[-1] == f"SYS WARN] {told}"
        final = await bench.store.get_run(run.id)
        assert (final.state, final.reason) == (RunState.SUCCESS, told)

    async def test_a_killed_process_is_a_failure_with_its_signal(self, bench):
        """The number is the one that a shell would show."""
        run = await bench.start()
        await bench.end(None, 9)
        line = "SYS ERR ] Job failed due to exit code 137 (killed by signal 9)"
        assert bench.log(run)[-1] == line
        assert (await bench.store.get_run(run.id)).reason == "killed by signal 9"

    async def test_a_process_that_vanished_is_a_failure(self, bench):
        """Its sandbox died before it could say how."""
        run = await bench.start()
        await bench.end(None, None)
        assert bench.log(run)[-1] == "SYS ERR ] Job failed: its process vanished"
        assert await bench.state(run) is RunState.FAILED

    async def test_the_process_gets_its_arguments_and_its_environment(self, bench):
        """An argv list, the script's folder, the raw text in a variable."""
        run = await bench.start(arguments="one 'two three'")
        spec = bench.launcher.last.spec
        assert spec.argv == ("/bin/bash", "run.sh", "one", "two three")
        assert spec.cwd == spec.env["WEBJOBS_PATH"]
        assert spec.cwd.startswith(str(bench.base / "home/tmp/jobs/triggered/report/"))
        assert spec.env["WEBJOBS_COMMAND_ARGUMENTS"] == "one 'two three'"
        assert spec.env["WEBJOBS_RUN_ID"] == run.public_id

    async def test_a_script_in_an_inner_folder_starts_there(self, bench):
        """The working directory is the script's, WEBJOBS_PATH the copy's root."""
        await bench.start(make_job(bench.base, name="inner", script="app/run.sh"))
        spec = bench.launcher.last.spec
        assert spec.cwd == spec.env["WEBJOBS_PATH"] + "/app"
        assert spec.argv == ("/bin/bash", "run.sh")

    async def test_in_place_runs_where_people_edit(self, bench):
        """Without a copy."""
        job = make_job(bench.base, name="here", is_in_place=True)
        await bench.start(job)
        assert bench.launcher.last.spec.cwd == str(job.live_folder)

    async def test_a_listener_hears_of_every_end_and_cannot_hurt(self, bench):
        """The web hook's place."""
        heard = []
        bench.jobs.on_finished += [lambda run: 1 / 0, heard.append]
        await bench.start()
        await bench.end(1)
        assert [run.state for run in heard] == [RunState.FAILED]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (SpawnFailedError("no fork: EAGAIN"), "Job failed: no fork: EAGAIN"),
            (RuntimeError("our mistake"), "Job failed: RuntimeError: our mistake"),
        ],
    )
    async def test_a_failure_of_ours_ends_the_run_only(self, bench, error, line):
        """The loop goes on: the next run is as good as any."""
        bench.launcher.refusal = error
        run = await bench.start()
        assert bench.log(run)[-1] == f"SYS ERR ] {line}"
        assert await bench.state(run) is RunState.FAILED
        bench.launcher.refusal = None
        again = await bench.start()
        await bench.end(0)
        assert await bench.state(again) is RunState.SUCCESS

    async def test_a_missing_interpreter_is_told_with_its_remedy(self, bench):
        """In the job's own log."""
        run = await bench.jobs.start(make_job(bench.base, script="run.ps1"), trigger="t")
        await settle()
        assert "pwsh" in bench.log(run)[-1]
        assert "Install PowerShell" in (await bench.store.get_run(run.id)).reason

    async def test_a_script_that_vanished_is_told(self, bench):
        """Somebody deleted it while the job was in place."""
        job = make_job(bench.base, is_in_place=True)
        (job.live_folder / "run.sh").unlink()
        run = await bench.start(job)
        assert "run.sh is no longer in" in bench.log(run)[-1]
        assert await bench.state(run) is RunState.FAILED

    async def test_a_store_that_is_away_at_the_end_is_told_later(self, bench, monkeypatch):
        """The end is not lost: it is tried again."""
        run = await bench.start()
        update = bench.store.update_run

        async def refuse(*_args, **_options):
            raise Unavailable("disk full")

        monkeypatch.setattr(bench.store, "update_run", refuse)
        await bench.end(0)
        assert await bench.state(run) is RunState.RUNNING
        assert bench.word(run) == "Success"
        monkeypatch.setattr(bench.store, "update_run", update)
        await bench.clock.pass_time(1)
        assert await bench.state(run) is RunState.SUCCESS

    async def test_a_store_that_refuses_a_run_leaves_nothing_behind(self, bench, monkeypatch):
        """No folder, no lease, and the next start works."""

        async def refuse(_new):
            raise Unavailable("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "create_run", refuse)
            with pytest.raises(UnavailableError):
                await bench.start()
        assert bench.folders.run_ids(bench.job) == []
        assert list(await bench.store.leases()) == []
        await bench.start()

    async def test_a_disk_that_takes_no_folder_refuses_the_run(self, bench):
        """Before anything is acknowledged."""
        data = bench.folders.data(bench.job)
        data.parent.mkdir(parents=True)
        data.write_text("in the way")
        with pytest.raises(UnavailableError, match="folder of a new run"):
            await bench.start()
        assert await bench.jobs.history(bench.job) == []


class TestAdmission:
    async def test_one_run_of_a_job_at_a_time(self, bench):
        """The second caller is told so, in Kudu's words, and can come back afterwards."""
        await bench.start()
        with pytest.raises(ConflictError, match=r"^Cannot start a new run since job is already"):
            await bench.start()
        await bench.end()
        await bench.start()

    async def test_who_saw_the_end_may_start_the_next(self, bench, monkeypatch):
        """webjobs.md 5.1: the end is visible a moment before the lease is given back."""
        release, given_back = bench.store.release_lease, asyncio.Event()

        async def slow(name, token):
            await given_back.wait()
            return await release(name, token)

        monkeypatch.setattr(bench.store, "release_lease", slow)
        first = await bench.start()
        await bench.end()
        assert await bench.state(first) is RunState.SUCCESS
        second = asyncio.create_task(bench.start())
        await settle()
        assert not second.done()
        given_back.set()
        assert (await second).id != first.id
        with pytest.raises(ConflictError):  # that one runs: nobody waits for it
            await bench.start()
        await bench.end()

    async def test_an_end_that_cannot_be_told_holds_up_nobody_for_long(self, bench, monkeypatch):
        """The store is away: the next start is refused after a bounded wait."""

        async def away(*_args, **_fields):
            raise Unavailable("the disk is full")

        await bench.start()
        monkeypatch.setattr(bench.store, "update_run", away)
        await bench.end()
        second = asyncio.create_task(bench.start())
        await settle()
        await bench.clock.pass_time(3)
        with pytest.raises(ConflictError):
            await second
        monkeypatch.undo()
        await bench.clock.pass_time(5)
        await bench.start()
        await bench.end()

    @pytest.mark.real
    async def test_an_end_is_told_however_long_the_store_is_away(self, bench, monkeypatch):
        """sandbox.md D9: nothing is lost, no restart is needed, and the status file follows."""

        async def away(*_args, **_fields):
            raise Unavailable("the disk is full")

        def full(*_args):
            raise OSError(28, "No space left on device")

        run = await bench.start()
        monkeypatch.setattr(bench.store, "update_run", away)
        monkeypatch.setattr(bench.folders, "write_run_status", full)
        await bench.end()
        await bench.clock.pass_time(3600)
        assert await bench.state(run) is RunState.RUNNING
        monkeypatch.undo()
        await bench.clock.pass_time(6)
        assert (await bench.state(run), bench.word(run)) == (RunState.SUCCESS, "Success")

    async def test_a_deleted_jobs_history_goes_with_it(self, bench):
        """webjobs.md 6.3: `ended` waits for what runs, `forget` removes what is known."""
        await bench.start()
        ended = asyncio.create_task(bench.jobs.ended(bench.job))
        await settle()
        assert not ended.done()
        await bench.end()
        await asyncio.wait_for(ended, 5)
        await bench.jobs.forget(bench.job)
        assert await bench.jobs.history(bench.job) == []

    async def test_two_callers_at_the_same_moment_start_one_run(self, bench):
        """The place is taken before the first await."""
        results = await asyncio.gather(
            *(bench.jobs.start(bench.job, trigger="t") for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(result, ConflictError) for result in results) == 4
        assert len(await bench.jobs.history(bench.job)) == 1

    async def test_a_run_on_another_instance_counts(self, bench):
        """One run over all instances: the right is a lease in the store."""
        await bench.store.acquire("run/triggered/report", "other", 15)
        with pytest.raises(ConflictError, match="already running"):
            await bench.start()
        await bench.clock.pass_time(16)
        await bench.start()

    async def test_names_compare_without_case(self, bench):
        """Report is report."""
        await bench.start()
        with pytest.raises(ConflictError):
            await bench.start(make_job(bench.base, name="REPORT"))

    async def test_different_jobs_run_beside_each_other(self, bench):
        """Without a limit."""
        for name in ("one", "two", "three"):
            await bench.start(make_job(bench.base, name=name))
        assert len(bench.launcher.alive) == 3

    async def test_stopped_jobs_do_not_run(self, bench):
        """WEBJOBS_STOPPED refuses in Kudu's words."""
        job = make_job(bench.base, environment={"WEBJOBS_STOPPED": "1"})
        with pytest.raises(ConflictError, match=r'^WebJobs are currently in "stopped" state'):
            await bench.start(job)

    async def test_wrong_arguments_are_refused_at_once(self, bench):
        """Nothing is recorded."""
        with pytest.raises(BadRequestError, match="quot"):
            await bench.start(arguments="'open")
        assert await bench.jobs.history(bench.job) == []

    async def test_a_job_without_script_cannot_be_started(self, bench):
        """The definition's own words say why."""
        job = make_job(bench.base, script="", error="no runnable script: put run.sh there")
        with pytest.raises(NotFoundError, match="no runnable script"):
            await bench.start(job)

    async def test_before_the_platform_serves_nothing_starts(self, tmp_path):
        """503, to be tried again."""
        bench = Bench(tmp_path)
        with pytest.raises(UnavailableError, match="starting"):
            await bench.start()


class TestTicks:
    async def test_a_tick_and_its_run_are_one_record(self, bench):
        """Who looks at the tick finds the run."""
        run = await bench.jobs.start_tick(bench.job, START, "Schedule - 0 * * * * *")
        assert run.trigger == "Schedule - 0 * * * * *"
        tick = await bench.store.last_tick(job_timer("Report"))
        assert (tick.due_at, tick.run_id) == (START, run.id)

    async def test_a_tick_starts_one_run_however_often_it_is_tried(self, bench):
        """The second attempt leaves no trace."""
        await bench.jobs.start_tick(bench.job, START, "t")
        await settle()
        await bench.end()
        assert await bench.jobs.start_tick(bench.job, START, "t") is None
        assert len(bench.folders.run_ids(bench.job)) == 1
        assert len(await bench.jobs.history(bench.job)) == 1
        await bench.start()

    async def test_a_tick_during_a_run_is_refused_and_not_recorded(self, bench):
        """The caller decides whether it is skipped."""
        await bench.start()
        with pytest.raises(ConflictError):
            await bench.jobs.start_tick(bench.job, START, "t")
        assert await bench.store.last_tick(job_timer("report")) is None


class TestHistory:
    async def test_newest_first_and_found_by_id(self, bench):
        """Whatever their ends."""
        runs = []
        for code in (0, 1, 0):
            runs.append(await bench.start())
            await bench.end(code)
            await bench.clock.pass_time(1)
        assert [run.id for run in await bench.jobs.history(bench.job)] == [
            run.id for run in reversed(runs)
        ]
        assert (await bench.jobs.latest(bench.job)).id == runs[-1].id
        found = await bench.jobs.find(bench.job, runs[1].public_id)
        assert found.state is RunState.FAILED
        assert await bench.jobs.find(bench.job, "202601051000000999") is None

    @pytest.mark.real
    async def test_a_long_history_is_read_to_its_end(self, bench):
        """Over the pages of the store."""
        for number in range(450):
            await left_open(bench, run_id=f"2026010410{number:08}")
        assert len(await bench.jobs.history(bench.job)) == 450

    async def test_old_runs_that_cannot_be_removed_hinder_no_new_one(self, bench, monkeypatch):
        """They stay for the next time."""

        def refuse(_job):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(bench.folders, "run_ids", refuse)
        run = await bench.start()
        await bench.end()
        assert await bench.state(run) is RunState.SUCCESS

    async def test_the_size_is_kept_in_files_and_store(self, bench):
        """WEBJOBS_HISTORY_SIZE counts the new run; a folder of the job's own stays."""
        bench.job = make_job(bench.base, environment={"WEBJOBS_HISTORY_SIZE": "2"})
        (bench.folders.data(bench.job) / "mine").mkdir(parents=True)
        for _ in range(4):
            run = await bench.start()
            await bench.end()
            await bench.clock.pass_time(1)
        kept = [run.public_id for run in await bench.jobs.history(bench.job)]
        assert len(kept) == 2
        assert kept[0] == run.public_id
        assert bench.folders.run_ids(bench.job) == kept
        assert (bench.folders.data(bench.job) / "mine").is_dir()


class TestIdle:
    async def test_a_silent_run_without_processor_time_is_aborted(self, bench):
        """After about twice the timeout, as failed, naming the setting."""
        bench.job = make_job(bench.base, environment={"WEBJOBS_IDLE_TIMEOUT": "5"})
        run = await bench.start()
        await bench.clock.pass_time(9)
        assert await bench.state(run) is RunState.RUNNING
        await bench.clock.pass_time(2)
        final = await bench.store.get_run(run.id)
        assert final.state is RunState.TIMED_OUT
        assert final.reason.startswith("idle_timeout")
        assert bench.word(run) == "Failed"
        log = bench.log(run)
        command = next(line for line in log if line.startswith("ERR ] Command '/bin/bash run.sh'"))
        assert "no output nor CPU activity for 6 seconds" in command
        assert "WEBJOBS_IDLE_TIMEOUT" in command
        assert "SYS INFO] Status changed to Failed" in log

    async def test_output_or_processor_time_is_life(self, bench):
        """Either starts the wait anew."""
        bench.job = make_job(bench.base, environment={"WEBJOBS_IDLE_TIMEOUT": "5"})
        run = await bench.start()
        for second in range(30):
            if second % 4 == 0:
                bench.launcher.last.print(".")
            await bench.clock.pass_time(1)
        for second in range(30):
            bench.cpu[bench.launcher.last.pid] = second
            await bench.clock.pass_time(1)
        assert await bench.state(run) is RunState.RUNNING

    def test_the_rule_with_a_timeout_of_zero(self):
        """Legal: two idle seconds end the run."""
        rule = IdleRule(0, 0.0)
        assert [rule.is_hung(second, 0.0, lambda: 7) for second in (1.0, 2.0)] == [False, True]

    def test_the_rule_never_fires_on_a_process_that_cannot_be_seen(self):
        """No sample is no proof."""
        rule = IdleRule(1, 0.0)
        assert not any(rule.is_hung(float(second), 0.0, lambda: None) for second in range(10))


class TestCancel:
    async def test_a_run_is_asked_to_end_and_then_killed(self, bench):
        """SIGTERM, the job's grace, SIGKILL; the record says who wanted it."""
        run = await bench.start()
        await bench.jobs.cancel(bench.job, run.public_id)
        await bench.clock.pass_time(29)
        assert bench.launcher.last.terminated
        assert bench.launcher.last.is_alive
        await bench.clock.pass_time(2)
        assert bench.launcher.last.killed
        final = await bench.store.get_run(run.id)
        assert (final.state, final.reason) == (RunState.CANCELLED, "cancelled by request")
        assert bench.word(run) == "Aborted"
        assert "SYS WARN] WebJob process was aborted" in bench.log(run)

    async def test_a_polite_job_ends_at_once(self, bench):
        """Its exit code does not make a cancelled run a success."""
        run = await bench.start()
        bench.launcher.last.on_terminate = lambda: bench.launcher.last.end(0)
        await bench.jobs.cancel(bench.job, run.public_id)
        await settle()
        assert await bench.state(run) is RunState.CANCELLED
        assert not bench.launcher.last.killed

    async def test_a_run_that_has_not_begun_never_does(self, bench):
        """Cancelled while its copy was made."""
        run = await bench.jobs.start(bench.job, trigger="t")
        await bench.jobs.cancel(bench.job, run.public_id)
        await settle()
        assert bench.launcher.started == []
        assert await bench.state(run) is RunState.CANCELLED

    async def test_what_cannot_be_cancelled_says_why(self, bench):
        """Unknown, ended, or somebody else's."""
        run = await bench.start()
        await bench.end()
        with pytest.raises(ConflictError, match="already ended: success"):
            await bench.jobs.cancel(bench.job, run.public_id)
        with pytest.raises(NotFoundError):
            await bench.jobs.cancel(bench.job, "202601051000000999")
        await left_open(bench, instance="other")
        with pytest.raises(ConflictError, match="instance other"):
            await bench.jobs.cancel(bench.job, "202601041000000000")


async def left_open(bench, state=RunState.RUNNING, instance=INSTANCE, run_id="202601041000000000"):
    """Leave a run as a killed process would."""
    run = await bench.store.create_run(
        NewRun(
            public_id=run_id,
            kind=RunKind.TRIGGERED,
            name="report",
            trigger="t",
            state=state,
            instance=instance,
            created_at=START - timedelta(days=1),
        )
    )
    bench.folders.run_folder(bench.job, run_id).mkdir(parents=True)
    status = RunStatus("t", "Running", run.created_at)
    bench.folders.write_run_status(bench.job, run_id, status)
    return run


class TestRestart:
    @pytest.mark.parametrize("state", [RunState.INITIALIZING, RunState.RUNNING])
    async def test_an_open_run_is_closed_as_aborted(self, bench, state):
        """Store, status file and log say so, and nothing is run again."""
        run = await left_open(bench, state)
        closed = await bench.make().recover()
        assert [one.id for one in closed] == [run.id]
        final = await bench.store.get_run(run.id)
        assert (final.state, final.reason) == (RunState.ABORTED, "host_restart")
        status = bench.folders.read_run_status(bench.job, run.public_id)
        assert (status.status, status.ended_at) == ("Aborted", final.ended_at)
        assert "the platform was restarted" in bench.log(run)[-1]
        assert bench.launcher.started == []

    @pytest.mark.parametrize(
        ("word", "state"), [("Success", RunState.SUCCESS), ("Failed", RunState.FAILED)]
    )
    async def test_an_end_that_only_the_file_knows_is_kept(self, bench, word, state):
        """The store was away at the end; the run did end."""
        run = await left_open(bench)
        ended = START - timedelta(hours=23)
        bench.folders.write_run_status(
            bench.job, run.public_id, RunStatus("t", word, run.created_at, ended)
        )
        assert await bench.make().recover() == []
        final = await bench.store.get_run(run.id)
        assert (final.state, final.ended_at) == (state, ended)

    async def test_the_runs_of_other_instances_are_theirs(self, bench):
        """They may well be alive."""
        run = await left_open(bench, instance="other")
        await bench.make().recover()
        assert await bench.state(run) is RunState.RUNNING

    async def test_the_job_can_run_at_once_although_its_lease_was_left(self, bench, tmp_path):
        """A restart need not wait until the lease of the killed process runs out."""
        await bench.store.acquire("run/triggered/report", INSTANCE, 15)
        jobs = bench.make()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(jobs.serve())
            await settle()
            await jobs.start(bench.job, trigger="t")
            serving.cancel()


class TestDrain:
    async def test_active_runs_are_waited_for(self, bench):
        """New ones are refused meanwhile; a run that ends in time ends as it likes."""
        run = await bench.start()
        drained = asyncio.ensure_future(bench.jobs.drain(60))
        await bench.clock.pass_time(5)
        with pytest.raises(ConflictError, match="stopped"):
            await bench.start(make_job(bench.base, name="other"))
        assert not drained.done()
        await bench.end(0)
        await drained
        assert await bench.state(run) is RunState.SUCCESS

    @pytest.mark.parametrize(("timeout_s", "waited"), [(60, 30), (10, 10)])
    async def test_who_takes_longer_is_killed_and_recorded(self, bench, timeout_s, waited):
        """The job's own stopping_wait_time, but never more than the platform has."""
        run = await bench.start()
        drained = asyncio.ensure_future(bench.jobs.drain(timeout_s))
        await bench.clock.pass_time(waited - 1)
        assert bench.launcher.last.is_alive
        await bench.clock.pass_time(2)
        await drained
        final = await bench.store.get_run(run.id)
        assert (final.state, final.reason) == (RunState.ABORTED, "host_shutdown")
        assert bench.word(run) == "Aborted"

    async def test_a_cancelled_run_in_its_grace_is_cut_short(self, bench):
        """The platform does not wait thirty seconds for a run that nobody wants."""
        run = await bench.start()
        await bench.jobs.cancel(bench.job, run.public_id)
        await bench.clock.pass_time(1)
        drained = asyncio.ensure_future(bench.jobs.drain(2))
        await bench.clock.pass_time(3)
        await drained
        assert await bench.state(run) is RunState.CANCELLED

    async def test_serving_ends_after_the_drain(self, tmp_path):
        """Nothing is left running."""
        bench = Bench(tmp_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.jobs.serve())
            await settle()
            await bench.start()
            group.create_task(bench.jobs.drain(1))
            await bench.clock.pass_time(2)
        assert bench.launcher.alive == []
        assert list(await bench.store.leases()) == []

    async def test_a_cancelled_platform_leaves_no_process(self, tmp_path):
        """By whatever path `serve` is left, the tree is killed."""
        bench = Bench(tmp_path)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(bench.jobs.serve())
            await settle()
            await bench.start()
            serving.cancel()
        assert bench.launcher.last.killed


async def test_a_job_of_the_other_kind_is_untouched(bench):
    """Continuous and triggered jobs of one name are two jobs."""
    run = await bench.start()
    twin = make_job(bench.base, JobKind.CONTINUOUS, "report")
    assert bench.folders.data(twin) != bench.folders.data(bench.job)
    assert await bench.state(run) is RunState.RUNNING
