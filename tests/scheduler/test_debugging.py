"""Debugging of continuous jobs on virtual time: begun, kept over restarts, over by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from job_fakes import FakeClock, FakeLauncher, FakeProcess, lines, make_job, programs, settle

from sandbox.dial import DialError
from scheduler.continuous import ContinuousJobs
from scheduler.debugging import (
    PATIENCE_S,
    TRANSITIONS,
    Debugging,
    DebugState,
    NotDebuggableError,
    debugger_for,
)
from scheduler.errors import UnreachableError
from scheduler.functions import Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.store.memory import MemoryStore

HOUR = 3600.0


@dataclass(frozen=True)
class Change:
    jobs_added: tuple[Job, ...] = ()
    jobs_changed: tuple[Job, ...] = ()
    jobs_removed: tuple[Job, ...] = ()


class Bench:
    """One continuous job of node on fakes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.clock = FakeClock()
        self.launcher = FakeLauncher()
        self.folders = JobFolders(base / "home")
        made = programs(self.folders)
        (base / "bin").mkdir()
        for name in ("node", "php"):
            (base / "bin" / name).write_text("#!/bin/sh\n")
            (base / "bin" / name).chmod(0o755)
        made.inherited = {"PATH": str(base / "bin")}
        store = MemoryStore(clock=self.clock)
        self.jobs = ContinuousJobs(
            self.launcher, store, self.folders, instance="a", clock=self.clock, programs=made
        )

    def job(self, **fields) -> Job:
        return make_job(self.base, JobKind.CONTINUOUS, "mail", **{"script": "run.js", **fields})

    async def begin(self, *, wait: bool = False, seconds: float = HOUR):
        session = await self.jobs.debug("mail", private_network=True, wait=wait, duration_s=seconds)
        await self.stop_old()
        return session

    async def stop_old(self) -> None:
        """Let the process that is told to go, go."""
        await settle()
        for process in self.launcher.alive:
            if process.terminated:
                process.end(0)
        await settle()

    @property
    def process(self) -> FakeProcess:
        (one,) = self.launcher.alive
        return one

    @property
    def debugging(self) -> Debugging:
        return self.jobs.debugging("mail")

    def log(self) -> list[str]:
        return lines(self.base / "home/data/jobs/continuous/mail/job_log.txt")


def port_of(process: FakeProcess) -> int:
    """Return the port that its debugger was given."""
    flag = next(word for word in process.spec.argv if word.startswith("--inspect"))
    return int(flag.rpartition(":")[2])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose job runs."""
    bench = Bench(tmp_path)
    serving = asyncio.create_task(bench.jobs.serve())
    await settle()
    bench.jobs.apply(Change(jobs_added=(bench.job(),)))
    await settle()
    yield bench
    draining = asyncio.create_task(bench.jobs.drain(1))
    await bench.stop_old()
    await bench.clock.pass_time(60)
    await draining
    await serving


def test_the_table_is_total() -> None:
    """Each state has an entry, and none leads out of the table."""
    assert set(TRANSITIONS) == set(DebugState)
    assert all(after <= set(DebugState) for after in TRANSITIONS.values())


async def test_it_restarts_the_process_under_its_debugger(bench: Bench) -> None:
    """The port is new, may be listened at, and is another than the job's own."""
    plain = bench.process
    assert not any("inspect" in word for word in plain.spec.argv)
    session = await bench.begin()
    assert not plain.is_alive
    port = port_of(bench.process)
    assert bench.process.spec.listen == (int(bench.process.spec.env["WEBJOBS_PORT"]), port)
    assert len(set(bench.process.spec.listen)) == 2
    assert (session.debugger, bench.debugging.state) == ("node", DebugState.ATTACHABLE)
    assert bench.jobs.status("mail").debugging == bench.debugging.session
    assert any(
        "Debugging is on (node) until 2026-01-05 11:00:00 UTC" in each for each in bench.log()
    )


async def test_a_second_order_only_prolongs_it(bench: Bench) -> None:
    """The process goes on, the session is the same, the hour begins anew."""
    first = await bench.begin()
    process = bench.process
    await bench.clock.pass_time(HOUR - 1)
    second = await bench.begin()
    assert (second.id, process.is_alive) == (first.id, True)
    await bench.clock.pass_time(HOUR - 1)
    assert bench.debugging.session is not None
    await bench.clock.pass_time(2)
    assert bench.debugging.session is None


async def test_an_order_may_shorten_it(bench: Bench) -> None:
    """What was said last counts."""
    await bench.begin()
    await bench.begin(seconds=5)
    await bench.clock.pass_time(6)
    assert bench.debugging.state is DebugState.OFF


async def test_waiting_for_a_client_is_another_start(bench: Bench) -> None:
    """Who wants the program to wait gets a new process, and a new session."""
    first = await bench.begin()
    second = await bench.begin(wait=True)
    assert second.id != first.id
    assert any(word.startswith("--inspect-brk=") for word in bench.process.spec.argv)
    await bench.clock.pass_time(HOUR + 1)
    assert bench.debugging.state is DebugState.OFF


async def test_its_end_restarts_the_process_without(bench: Bench) -> None:
    """After its time the job is an ordinary one again, and the log says why."""
    await bench.begin()
    debugged = bench.process
    await bench.clock.pass_time(HOUR + 1)
    await bench.stop_old()
    assert not debugged.is_alive
    assert not any("inspect" in word for word in bench.process.spec.argv)
    assert any("Debugging is off: its time is over" in each for each in bench.log())
    assert bench.jobs.status("mail").debugging is None


async def test_it_can_be_ended(bench: Bench) -> None:
    """By order, once; a second order changes nothing."""
    await bench.begin()
    assert bench.debugging.end("it was ordered")
    await bench.stop_old()
    plain = bench.process
    assert not bench.debugging.end("it was ordered")
    await bench.stop_old()
    assert bench.process is plain
    await bench.clock.pass_time(HOUR + 1)  # whoever waited for its end has gone
    assert bench.process is plain


async def test_it_outlives_crashes_without_a_growing_wait(bench: Bench) -> None:
    """Each start is under the debugger, at a port of its own, after the plain restart time."""
    session = await bench.begin()
    for _ in range(8):
        bench.process.end(1)
        await settle()
        assert bench.debugging.state is DebugState.WAITING
        await bench.clock.pass_time(61)
        assert port_of(bench.process)
        assert bench.debugging.state is DebugState.ATTACHABLE
    assert bench.debugging.session is not None
    assert bench.debugging.session.id == session.id


async def test_a_redeploy_stays_under_the_debugger_at_the_same_path(bench: Bench) -> None:
    """Path mappings of an editor hold over new copies of the job's files."""
    await bench.begin()
    assert bench.debugging.session is not None
    root = bench.debugging.session.root
    new = bench.job(text="changed\n", is_in_place=False)
    bundle = replace(new.bundle, digest="digest-2")
    bench.jobs.apply(Change(jobs_changed=(replace(new, bundle=bundle),)))
    await bench.stop_old()
    assert port_of(bench.process)
    assert bench.debugging.session.root == root
    assert (Path(root) / "run.js").read_text() == "changed\n"


async def test_another_kind_of_script_ends_it(bench: Bench) -> None:
    """A job that cannot be debugged any more runs on without."""
    await bench.begin()
    new = bench.job(script="run.php")
    bench.jobs.apply(Change(jobs_changed=(new,)))
    await bench.stop_old()
    assert bench.process.spec.argv[-1] == "run.php"
    assert bench.debugging.state is DebugState.OFF
    assert any("Debugging is off: run.php" in each for each in bench.log())


async def test_debugging_starts_a_stopped_job(bench: Bench) -> None:
    """As a restart does."""
    await bench.jobs.stop("mail")
    await bench.stop_old()
    assert bench.launcher.alive == []
    await bench.begin()
    assert port_of(bench.process)


async def test_a_removed_job_takes_it_along(bench: Bench) -> None:
    """Nobody waits for the end of what is gone."""
    await bench.begin()
    debugging = bench.debugging
    bench.jobs.apply(Change(jobs_removed=(bench.job(),)))
    await bench.stop_old()
    assert debugging.session is None


async def test_a_client_waits_for_a_start(bench: Bench) -> None:
    """Between two processes, and until the debugger listens; not for ever, nor when it is off."""
    await bench.begin()
    refusals = [DialError("not yet", refused=True)] * 3

    async def dial(port: int) -> str:
        if refusals:
            raise refusals.pop()
        return f"a connection to {port}"

    bench.process.dial = dial  # type: ignore[method-assign]
    waiting = asyncio.create_task(bench.debugging.attach())
    await bench.clock.pass_time(1)
    assert await waiting == f"a connection to {port_of(bench.process)}"

    bench.process.end(1)
    await settle()
    waiting = asyncio.create_task(bench.debugging.attach())
    await bench.clock.pass_time(PATIENCE_S + 1)
    with pytest.raises(UnreachableError, match="no process"):
        await waiting
    bench.debugging.end("x")
    with pytest.raises(UnreachableError, match="off"):
        await bench.debugging.attach()


async def test_passthrough_goes_to_the_jobs_own_port(bench: Bench) -> None:
    """WEBJOBS_PORT is dialled, and why it cannot be is told."""
    port = bench.process.spec.env["WEBJOBS_PORT"]
    assert await bench.jobs.dial("mail") == f"a connection to {port}"  # type: ignore[comparison-overlap]
    bench.process.end(0)
    await settle()
    with pytest.raises(UnreachableError, match="no process"):
        await bench.jobs.dial("mail")


REFUSED = [
    ({"kind": JobKind.TRIGGERED}, True, "triggered job"),
    ({"script": "run.sh"}, True, "no debugger"),
    ({"script": "run.php"}, True, "Xdebug"),
    ({"script": "run.ps1"}, True, "pipe"),
    ({"settings": {"taak": {"debug": False}}}, True, "settings.job"),
    ({}, False, "network"),
]


@pytest.mark.parametrize(("fields", "private", "words"), REFUSED)
def test_what_cannot_be_debugged_says_why(tmp_path: Path, fields, private, words) -> None:
    """Each refusal has its reason, and what helps."""
    job = make_job(tmp_path, **{"kind": JobKind.CONTINUOUS, "script": "run.py", **fields})
    with pytest.raises(NotDebuggableError, match=words) as refused:
        debugger_for(job, private_network=private)
    assert refused.value.hint


def test_the_owner_may_allow_it_on_the_machines_network(tmp_path: Path) -> None:
    """With "debug": true they say that nobody else is there."""
    settings = {"taak": {"debug": True}}
    job = make_job(tmp_path, JobKind.CONTINUOUS, script="run.py", settings=settings)
    assert debugger_for(job, private_network=False) == "debugpy"
