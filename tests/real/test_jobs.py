"""Jobs with real scripts in real sandboxes: output, ends, stops, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from job_fakes import lines, make_job
from real.processes import running
from real.sandboxes import WAIT_S, alive, launchers, until

from sandbox.cpu_time import tree_ticks
from scheduler.continuous import ContinuousJobs
from scheduler.continuous_state import ContinuousState
from scheduler.functions import Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.run import Run, RunState
from scheduler.store.memory import MemoryStore
from scheduler.triggered import TriggeredJobs

pytestmark = [pytest.mark.real]

S = ContinuousState


@dataclass
class Bench:
    """Jobs of both kinds on a real launcher and a store in memory."""

    base: Path
    folders: JobFolders
    triggered: TriggeredJobs
    continuous: ContinuousJobs
    finished: asyncio.Queue[Run] = field(default_factory=asyncio.Queue)
    states: list[tuple[str, ContinuousState]] = field(default_factory=list)

    def job(self, kind: JobKind, script: str, text: str, name: str = "job", **fields) -> Job:
        """Return a job of one script."""
        return make_job(self.base, kind, name, script=script, text=textwrap.dedent(text), **fields)

    async def run(self, script: str, text: str, arguments: str = "", **fields) -> list[str]:
        """Run a triggered job to its end and return its log."""
        job = self.job(JobKind.TRIGGERED, script, text, **fields)
        await self.triggered.start(job, trigger="test", arguments=arguments)
        return await self.ended(job)

    async def ended(self, job: Job) -> list[str]:
        """Wait for the end of a run and return its log."""
        run = await asyncio.wait_for(self.finished.get(), WAIT_S)
        self.last = run
        return self.log(self.folders.output_log(job, run.public_id))

    async def keep(self, script: str, text: str, name: str = "job", **fields) -> Job:
        """Deploy a continuous job and wait until its process has printed `ready`."""
        job = self.job(JobKind.CONTINUOUS, script, text, name, **fields)
        self.continuous.apply(Deployed((job,)))
        await self.printed(job, "INFO] ready")
        return job

    async def printed(self, job: Job, line: str, times: int = 1) -> None:
        """Wait until a continuous job's log has a line so many times."""
        path = self.folders.job_log(job)
        await until(lambda: lines(path).count(line) >= times, f"{line!r} in {path}")

    async def reached(self, name: str, state: ContinuousState) -> None:
        """Wait until a continuous job stands there."""
        await until(lambda: self.continuous.status(name).state is state, state.value)

    @staticmethod
    def log(path: Path) -> list[str]:
        """Return a log's lines without their time stamps."""
        return lines(path)


@dataclass(frozen=True)
class Deployed:
    """A deployment that adds jobs."""

    jobs_added: tuple[Job, ...] = ()
    jobs_changed: tuple[Job, ...] = ()
    jobs_removed: tuple[Job, ...] = ()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Serve both kinds of jobs; they are drained at the end."""
    folders = JobFolders(tmp_path / "home")
    store = MemoryStore()
    async with launchers() as launcher, asyncio.TaskGroup() as group:
        shared: dict[str, Any] = {"instance": "a1b2c3d4", "users": launcher.users}
        bench = Bench(
            tmp_path,
            folders,
            TriggeredJobs(launcher, store, folders, **shared),
            ContinuousJobs(launcher, store, folders, **shared),
        )
        bench.triggered.on_finished.append(bench.finished.put_nowait)
        bench.continuous.on_status.append(
            lambda job, status: bench.states.append((job.name, status.state))
        )
        serving = [
            group.create_task(bench.triggered.serve()),
            group.create_task(bench.continuous.serve()),
        ]
        await asyncio.sleep(0)
        yield bench
        await asyncio.gather(bench.triggered.drain(0.2), bench.continuous.drain(0.2))
        await asyncio.gather(*serving)


@pytest.fixture
def nap() -> str:
    """How long a child is to sleep: long, and of a length that nobody else sleeps."""
    return f"300.{uuid.uuid4().int % 10**9:09}"


class TestTriggered:
    async def test_a_shell_script_gets_its_arguments_and_its_log(self, bench):
        """Output of both streams, the story around it, and the run's own environment."""
        log = await bench.run(
            "run.sh",
            """
            echo "args: $# [$1] [$2]"
            echo "$WEBJOBS_NAME $WEBJOBS_TYPE ${WEBJOBS_RUN_ID:+has-id} ${TAAK_HOME:-clean}"
            echo "trouble" >&2
            """,
            arguments="one 'two three'",
        )
        assert log[:3] == [
            "SYS INFO] Status changed to Initializing",
            "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
            "SYS INFO] Status changed to Running",
        ]
        assert "INFO] args: 2 [one] [two three]" in log
        assert "INFO] job triggered has-id clean" in log
        assert "ERR ] trouble" in log
        assert log[-1] == "SYS INFO] Status changed to Success"
        assert bench.last.state is RunState.SUCCESS

    async def test_a_python_script_runs_with_a_python_of_the_machine(self, bench):
        """Its lines come when they are printed, its traceback is in the log, its code is told."""
        log = await bench.run("run.py", 'print("größe"); raise SystemExit(3)')
        assert "INFO] größe" in log
        assert log[-1] == "SYS ERR ] Job failed due to exit code 3"
        log = await bench.run("run.py", "import no_such_module", name="other")
        assert any("ModuleNotFoundError" in line for line in log)
        assert bench.last.exit_code == 1

    async def test_a_job_changes_its_private_copy_only(self, bench):
        """And gets a fresh one next time."""
        text = "echo dirty >> run.sh; echo more > new; ls | wc -l"
        for _ in range(2):
            log = await bench.run("run.sh", text)
            assert "INFO] 2" in log
        live = bench.job(JobKind.TRIGGERED, "run.sh", text).live_folder
        assert [path.name for path in live.iterdir()] == ["run.sh"]

    async def test_what_a_job_leaves_behind_ends_with_it(self, bench, nap):
        """The life of the run is the life of its script, daemons included."""
        script = f"setsid sleep {nap} >/dev/null 2>&1 &\nkill -0 $! && echo it lives"
        assert "INFO] it lives" in await bench.run("run.sh", script)
        assert not running(nap)
        assert bench.last.state is RunState.SUCCESS

    async def test_a_job_that_reads_its_input_finds_none(self, bench):
        """Instead of hanging until it counts as idle."""
        assert "INFO] end" in await bench.run("run.sh", "cat; echo end")

    async def test_a_flood_of_output_neither_blocks_nor_fills(self, bench):
        """The process runs to its end; what is over the limit is counted, its end is kept."""
        flood = "head -c 30000000 /dev/zero | tr '\\0' 'x' | fold -w 200; echo; echo last words"
        log = await bench.run("run.sh", flood)
        assert any(line.startswith("SYS WARN] Output was truncated: ") for line in log)
        assert log[-2:] == ["INFO] last words", "SYS INFO] Status changed to Success"]
        assert bench.last.state is RunState.SUCCESS

    async def test_cancel_ends_a_job_that_does_not_listen(self, bench, nap):
        """SIGTERM is ignored, SIGKILL is not; the child goes as well."""
        job = bench.job(
            JobKind.TRIGGERED,
            "run.sh",
            f"trap '' TERM; sleep {nap} & while :; do wait; done",
            stopping_wait_s=0.2,
        )
        run = await bench.triggered.start(job, trigger="test")
        await until(lambda: running(nap), "the child")
        await bench.triggered.cancel(job, run.public_id)
        await bench.ended(job)
        assert bench.last.state is RunState.CANCELLED
        assert not running(nap)

    async def test_a_hung_job_is_aborted_and_a_busy_one_is_not(self, bench):
        """Silence with processor time is work, silence without is not."""
        setting = {"environment": {"WEBJOBS_IDLE_TIMEOUT": "0"}}
        busy = "end=$((SECONDS+4)); while [ $SECONDS -lt $end ]; do :; done"
        await bench.run("run.sh", busy, name="busy", **setting)
        assert bench.last.state is RunState.SUCCESS
        log = await bench.run("run.sh", "sleep 300", name="hung", **setting)
        assert bench.last.state is RunState.TIMED_OUT
        assert any("WEBJOBS_IDLE_TIMEOUT" in line for line in log)

    async def test_a_missing_interpreter_is_told_in_the_log(self, bench):
        """With the way to get it."""
        log = await bench.run("run.exe", "neither this nor that")
        assert "neither a Linux program" in log[-1]

    async def test_a_batch_file_runs_and_shows_its_lines(self, bench):
        """As under cmd: the line with its prompt, then what it prints; its code is the run's."""
        log = await bench.run("run.cmd", "echo hello %1\r\nexit /b 3\r\n", arguments="there")
        assert any(line.startswith("INFO] /") and ">echo hello there" in line for line in log)
        assert "INFO] hello there" in log
        assert bench.last.state is RunState.FAILED
        assert any("exit code 3" in line for line in log)


class TestContinuous:
    async def test_a_job_killed_from_outside_comes_back(self, bench):
        """Kill -9 of the process is an end like any other."""
        job = await bench.keep(
            "run.sh", "echo ready; sleep 300", environment={"WEBJOBS_RESTART_TIME": "0"}
        )
        first = bench.continuous.status("job").pid
        assert first
        os.kill(first, signal.SIGKILL)
        await bench.printed(job, "INFO] ready", times=2)
        await bench.reached("job", S.RUNNING)
        assert bench.continuous.status("job").restarts == 1
        assert not alive(first)

    async def test_a_job_that_watches_its_file_ends_by_itself(self, bench):
        """The contract of Kudu: the file appears, the job finishes its work."""
        job = await bench.keep(
            "run.py",
            """
            import os, signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("ready")
            while not os.path.exists(os.environ["WEBJOBS_SHUTDOWN_FILE"]):
                time.sleep(0.02)
            print("finished my work")
            """,
            stopping_wait_s=WAIT_S,
        )
        await bench.continuous.stop("job")
        await bench.reached("job", S.STOPPED)
        log = bench.log(bench.folders.job_log(job))
        assert log[-3:] == [
            "INFO] finished my work",
            "SYS INFO] Status changed to Success",
            "SYS INFO] Status changed to Stopped",
        ]

    async def test_a_job_that_does_not_listen_is_killed_with_its_children(self, bench, nap):
        """After its grace."""
        job = await bench.keep(
            "run.sh",
            f"trap '' TERM; sleep {nap} & echo ready; while :; do wait; done",
            stopping_wait_s=0.2,
        )
        await until(lambda: running(nap), "the child")
        await bench.continuous.stop("job")
        await bench.reached("job", S.STOPPED)
        log = bench.log(bench.folders.job_log(job))
        assert "SYS INFO] WebJob process was aborted" in log
        assert not running(nap)

    async def test_the_passthrough_port_can_be_listened_on(self, bench):
        """What WEBJOBS_PORT says is free for the job."""
        job = await bench.keep(
            "run.py",
            """
            import os, socket
            server = socket.create_server(("127.0.0.1", int(os.environ["WEBJOBS_PORT"])))
            print("ready")
            server.accept()
            """,
        )
        assert "ERR ]" not in "".join(bench.log(bench.folders.job_log(job)))

    async def test_a_platform_that_ends_stops_all_jobs_at_once(self, bench):
        """In the time of one."""
        text = "trap '' TERM; echo ready; while :; do sleep 300 & wait; done"
        for name in ("one", "two", "three"):
            await bench.keep("run.sh", text, name, stopping_wait_s=0.5)
        pids = [bench.continuous.status(name).pid for name in ("one", "two", "three")]
        async with asyncio.timeout(5):
            await bench.continuous.drain(30)
        assert not any(alive(pid) for pid in pids)


async def test_the_processor_time_of_a_tree_counts_children() -> None:
    """A parent that waits for a busy child is not idle."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "sh -c 'while :; do :; done' & wait", start_new_session=True
    )
    try:
        await until(lambda: (tree_ticks(process.pid) or 0) > 5, "processor time")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert tree_ticks(process.pid) is None
