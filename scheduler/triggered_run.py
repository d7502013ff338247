"""One run of a triggered job, from its acceptance to its recorded end (webjobs.md 5.1).

Whatever goes wrong here ends the run, never the platform: the end is a verdict, written to the log,
to the status file and to the store. Who may run when is decided in `triggered.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sandbox.errors import SandboxError
from sandbox.spec import Exit
from scheduler.clock import Clock, within
from scheduler.errors import SchedulerError, UnavailableError
from scheduler.functions import Job
from scheduler.idle_rule import IdleRule
from scheduler.job_environment import Occasion
from scheduler.job_folders import JobFolders, NamedJob, RunStatus
from scheduler.job_logs import JobLogs
from scheduler.job_output import JobOutput
from scheduler.job_program import JobPrograms, Launcher, Process, Program, watch_over
from scheduler.job_settings import JobSettings
from scheduler.log_line import Level
from scheduler.run import Run, RunState
from scheduler.run_ending import insist_on_end
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")

#: The words of Kudu's status file; it knows fewer than we do.
KUDU_WORDS = {
    RunState.QUEUED: "Initializing",
    RunState.INITIALIZING: "Initializing",
    RunState.RUNNING: "Running",
    RunState.SUCCESS: "Success",
    RunState.FAILED: "Failed",
    RunState.TIMED_OUT: "Failed",
    RunState.OUT_OF_MEMORY: "Failed",
    RunState.ABORTED: "Aborted",
    RunState.CANCELLED: "Aborted",
}

_IDLE_LOOK_S = 1.0


class Verdict(NamedTuple):
    """How a run ended; `line` is what the job's log says about it as an error."""

    state: RunState
    reason: str = ""
    line: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """What every run is carried out with."""

    launcher: Launcher
    store: Store
    folders: JobFolders
    programs: JobPrograms
    logs: JobLogs
    instance: str
    clock: Clock
    cpu_ticks: Callable[[int], int | None]
    settings: Mapping[str, str] = field(default_factory=dict)


class TriggeredRun:
    """A run in progress.

    Attributes:
        run: its row, as last recorded.
        asked: the verdict that somebody asked for; the first one stands.
        begun: set once its process runs, or is known never to.
        over: set once its process has ended; then the end is told to everybody, one by one.
        left: set once the next run of the job may begin.
    """

    def __init__(self, place: RunPlace, job: Job, run: Run) -> None:
        self.job = job
        self.run = run
        self.asked: Verdict | None = None
        self.begun = asyncio.Event()
        self.over = asyncio.Event()
        self.left = asyncio.Event()
        self._grace_s = 0.0
        self._ending = asyncio.Event()
        self._at_once = asyncio.Event()
        self._place = place
        self._settings = JobSettings.of(job, place.settings)
        streamed = self._settings.logs_to_app
        self._log = place.logs.run(job, run.public_id, limits=job.logs, streamed=streamed)

    def end(self, verdict: Verdict, *, grace_s: float = 0.0) -> None:
        """Ask the run to end: SIGTERM, and after the grace SIGKILL.

        Who asks later changes nothing, except that without a grace the end comes at once.
        """
        if self.asked is None:
            self.asked, self._grace_s = verdict, grace_s
            self._ending.set()
        if grace_s <= 0:
            self._at_once.set()

    def accepted(self) -> None:
        """Write the first status; the log file exists from here on."""
        self._show(RunState.INITIALIZING)

    async def carry_out(self) -> Run:
        """Run to the end and return the final row."""
        verdict = await self._verdict()
        self.begun.set()
        self.over.set()
        ended_at = self._place.clock.now()
        shown = self._show(verdict.state, ended_at)
        if verdict.line:
            self._log.error(verdict.line)
        elif verdict.reason:
            self._log.warning(verdict.reason)
        final = await self._record_end(verdict, ended_at)
        if not shown:  # the disk was full; the store has room again, so the file may have too
            show_status(self._place.folders, self.job, final, KUDU_WORDS[final.state], ended_at)
        return final

    async def _verdict(self) -> Verdict:
        try:
            return await self._execute()
        except (SandboxError, SchedulerError, OSError) as error:
            return Verdict(RunState.FAILED, str(error), f"Job failed: {error}")
        except Exception as error:  # noqa: BLE001 - the boundary of a run: it ends, nothing else
            _log.exception("run %s of job %s failed", self.run.public_id, self.job.name)
            told = f"{type(error).__name__}: {error}"
            return Verdict(RunState.FAILED, told, f"Job failed: {told}")

    async def _execute(self) -> Verdict:
        occasion = Occasion(run_id=self.run.public_id, arguments=self.run.arguments)
        program = await self._place.programs.prepare(self.job, occasion)
        if program.change:
            self._log.info(program.change)
        self._log.info(program.script_line)
        if self.asked is not None:
            return self.asked
        self._log.status(KUDU_WORDS[RunState.RUNNING])
        # The program first: nobody but the end waits for what is told of its start.
        ended, told = await asyncio.gather(
            self._supervise(program), self._tell_start(), return_exceptions=True
        )
        if isinstance(ended, BaseException):
            raise ended
        if told is not None:
            raise told
        return self.asked or _verdict_of(ended)

    async def _supervise(self, program: Program) -> Exit:
        clock = self._place.clock
        output = JobOutput(self._log, monotonic=clock.monotonic)
        process = await self._place.launcher.run(program.spec, output)
        self.begun.set()
        return await watch_over(
            process,
            self._end_when_asked(process),
            self._abort_when_hung(process, output, program),
            self._end_when_late(),
        )

    async def _end_when_asked(self, process: Process) -> None:
        await self._ending.wait()
        if not self._at_once.is_set():
            process.terminate()
            await within(self._place.clock, self._grace_s, self._at_once)
        self._log.warning("WebJob process was aborted")
        await process.kill()

    async def _abort_when_hung(self, process: Process, output: JobOutput, program: Program) -> None:
        clock, place = self._place.clock, self._place
        timeout_s = self._settings.idle_timeout_s
        rule = IdleRule(timeout_s, clock.monotonic())
        while True:
            await clock.sleep(_IDLE_LOOK_S)
            if rule.is_hung(
                clock.monotonic(), output.last_write, lambda: place.cpu_ticks(process.pid)
            ):
                break
        spent = f"no output nor CPU activity for {timeout_s + 1} seconds"
        self._log.append(
            Level.ERR,
            [
                (
                    f"Command '{' '.join(program.spec.argv)}' was aborted due to {spent}. You can "
                    "increase the SCM_COMMAND_IDLE_TIMEOUT app setting (or WEBJOBS_IDLE_TIMEOUT if "
                    "this is a WebJob) if needed."
                )
            ],
        )
        self.end(Verdict(RunState.TIMED_OUT, f"idle_timeout: {spent}", f"Job failed: {spent}"))

    async def _end_when_late(self) -> None:
        """Hold the run to its own time limit; the job may end in order, as in a stop."""
        limit_s = self.job.policy.timeout_s
        if limit_s is None:
            return
        await self._place.clock.sleep(limit_s)
        told = f'longer than {limit_s:g} seconds, its limit ("taak": {{"timeout_s": {limit_s:g}}})'
        verdict = Verdict(RunState.TIMED_OUT, f"timeout: {told}", f"Job failed: {told}")
        self._log.warning(f"The run takes {told}; it is ended")
        self.end(verdict, grace_s=self.job.stopping_wait_s)

    # --- What others see

    def _show(self, state: RunState, ended_at: datetime | None = None) -> bool:
        word = KUDU_WORDS[state]
        shown = show_status(self._place.folders, self.job, self.run, word, ended_at)
        self._log.status(word)
        return shown

    async def _tell_start(self) -> None:
        """Say that it runs, in the file and in the store, while its sandbox comes to be."""
        word = KUDU_WORDS[RunState.RUNNING]
        show_status(self._place.folders, self.job, self.run, word, None)
        try:
            self.run = await self._place.store.update_run(
                self.run.id, RunState.RUNNING, started_at=self._place.clock.now()
            )
        except UnavailableError as error:  # the job can run all the same; its end is recorded
            _log.warning("run %s: its start is not recorded: %s", self.run.public_id, error)

    async def _record_end(self, verdict: Verdict, ended_at: datetime) -> Run:
        started_at = self.run.started_at
        final = replace(
            self.run,
            state=verdict.state,
            reason=verdict.reason,
            exit_code=verdict.exit_code,
            ended_at=ended_at,
            exec_ms=(ended_at - started_at).total_seconds() * 1000 if started_at else 0.0,
        )
        recorded = await insist_on_end(
            self._place.store, self._place.clock, final, give_up=self._at_once
        )
        return recorded or final  # the next start of the platform takes it from the status file


def show_status(
    folders: JobFolders, job: NamedJob, run: Run, word: str, ended_at: datetime | None
) -> bool:
    """Write the status file; it is for others to read, so a failure is told and nothing more."""
    try:
        status = RunStatus(run.trigger, word, run.created_at, ended_at)
        folders.write_run_status(job, run.public_id, status)
    except OSError as error:
        _log.warning("the status of run %s cannot be written: %s", run.public_id, error)
        return False
    return True


def _verdict_of(ended: Exit) -> Verdict:
    if ended.ok:
        return Verdict(RunState.SUCCESS, ended.loss, exit_code=0)
    if ended.starved:
        return Verdict(RunState.OUT_OF_MEMORY, str(ended), f"Job failed: {ended}", ended.code)
    if ended.signal is not None:
        code = 128 + ended.signal  # as a shell tells it, so that the line keeps its number
        return Verdict(
            RunState.FAILED, str(ended), f"Job failed due to exit code {code} ({ended})", code
        )
    if ended.code is None:
        return Verdict(RunState.FAILED, str(ended), "Job failed: its process vanished")
    line = f"Job failed due to exit code {ended.code}"
    return Verdict(RunState.FAILED, str(ended), line, ended.code)
