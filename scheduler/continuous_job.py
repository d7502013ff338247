"""One continuous job: the loop that keeps its process running (webjobs.md 4).

`while wanted: async with lease: await ended`. The loop obeys two things, the job's definition and
the desired state; whoever changes one of them says so with `poke`, and the loop looks again. What
goes wrong here is told in the job's log and tried again; it never reaches another job.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.interpreters import MissingInterpreterError
from sandbox.spec import Exit
from scheduler.clock import within
from scheduler.continuous_place import JobPlace
from scheduler.continuous_record import ContinuousRecord
from scheduler.continuous_state import LIVE, ContinuousState, ContinuousStatus
from scheduler.continuous_turn import turn
from scheduler.debugging import Debugging
from scheduler.desired_state import DesiredState, has_marker
from scheduler.functions import Job
from scheduler.job_environment import Occasion, free_port
from scheduler.job_output import JobOutput
from scheduler.job_program import (
    Process,
    Program,
    same_program,
    watch_over,
)
from scheduler.job_reach import JobReach
from scheduler.job_settings import JobSettings
from scheduler.restart_delay import RestartDelay

_log = logging.getLogger("taak.jobs")

_STANDBY_LOOK_S = 5.0
_FIRST_REMINDER_S = 3600.0
_REMINDER_S = 12 * 3600.0
_ALWAYS_ON = (
    "'Always On' is switched off (WEBSITE_SCM_ALWAYS_ON_ENABLED=0): where a host unloads idle "
    "sites, this job would stop with them."
)


@dataclass(frozen=True, slots=True)
class Departure:
    """Why the loop is to end for good, and how long the process may take at most."""

    line: str = ""
    grace_s: float = float("inf")


class ContinuousJob:
    """A continuous job on this instance.

    Attributes:
        job: its current definition.
        resting: set while nothing of the job runs and nothing is to run.
        gone: set once the loop has ended and nothing of the job runs any more.
        reach: the way to its process's ports.
        debugging: whether, and until when, it runs under its debugger.
    """

    def __init__(self, place: JobPlace, job: Job, group: asyncio.TaskGroup) -> None:
        self.job = job
        self.resting = asyncio.Event()
        self.gone = asyncio.Event()
        self._place = place
        self._group = group
        self._desired = DesiredState(place.store, place.instance)
        self._record = ContinuousRecord(job, place)
        self._log = self._record.journal
        self._news = asyncio.Event()
        self._departure: Departure | None = None
        self._leaving = asyncio.Event()
        self._awake = asyncio.Event()  # at rest, what is wanted is looked at again
        self.reach = JobReach()
        self.debugging = Debugging(place.clock, group, self._log, self.reach, self.poke)

    # --- What others ask of it

    @property
    def status(self) -> ContinuousStatus:
        """Return how the job is now."""
        session = self.debugging.session
        return replace(self._record.status, debugging=session) if session else self._record.status

    @property
    def is_live(self) -> bool:
        """Tell whether the loop keeps the job running."""
        return self.status.state in LIVE

    @property
    def departing(self) -> bool:
        """Tell whether the loop is ending for good."""
        return self._departure is not None

    def poke(self) -> None:
        """Make the loop look again at what is wanted: a running process is stopped first."""
        self._news.set()

    def wake(self) -> None:
        """Make the loop look again if it is at rest; what runs is not touched."""
        self._awake.set()

    async def heed(self) -> None:
        """Follow a decision that may have been taken elsewhere."""
        wanted = await self._desired.load(self.job)
        if wanted:
            self.wake()
        else:
            self.disable()

    def disable(self) -> None:
        """Show that the decision to stop was taken, and make the loop act on it."""
        if self.is_live:
            self._record.become(ContinuousState.DISABLING)
        self.poke()

    def define(self, job: Job) -> None:
        """Take a new definition; the process is only touched if something in it differs."""
        previous, self.job = self.job, job
        if not same_program(previous, job):
            self._log.info("Detected WebJob file/s were updated, refreshing WebJob")
            self.poke()
        elif has_marker(job) == self.is_live:
            self.poke()  # somebody has made or removed disable.job by hand

    def depart(self, departure: Departure) -> None:
        """Stop for good."""
        self._departure = departure
        self._leaving.set()
        self.debugging.end("the job leaves")
        self.poke()

    # --- The loop

    async def serve(self, after: asyncio.Event | None = None) -> None:
        """Keep the job as it is wanted until `depart`; begins once `after` is set."""
        try:
            if after is not None:
                await after.wait()
            self._record.sweep()
            while self._departure is None:
                self._news.clear()
                self._awake.clear()
                if await self._is_wanted():
                    await self._live()
                else:
                    self._record.become(ContinuousState.STOPPED)
                    self.resting.set()
                    await self._rest()
                    self.resting.clear()
        finally:
            self._record.close()
            self.resting.set()
            self.gone.set()

    async def _rest(self) -> None:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(event.wait()) for event in (self._news, self._awake)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _is_wanted(self) -> bool:
        if self.job.error:
            self._log.error(self.job.error)
            return False
        if JobSettings.of(self.job, self._place.settings).stopped:
            return False
        return await self._desired.load(self.job)

    async def _live(self) -> None:
        """Start the process again and again until there is news."""
        job = self.job
        self._record.become(ContinuousState.STARTING)
        if JobSettings.of(job, self._place.settings).always_on_warning:
            self._record.warn_once(_ALWAYS_ON)
        self._log.info(f"WebJob singleton setting is {job.is_singleton}")
        delay = RestartDelay.of(job)
        while not self._news.is_set():
            try:
                async with turn(self._place, job, self._group, self._log) as lost:
                    if lost is not None:
                        await self._once(job, delay, lost)
                        continue
                self._step(ContinuousState.INACTIVE_INSTANCE)
                await self._pause(_STANDBY_LOOK_S)
            except Exception as error:  # noqa: BLE001 - the boundary of a job's loop
                await self._mishap(error)
        self._tell_departure()
        self._record.become(ContinuousState.STOPPING)
        self._record.become(ContinuousState.STOPPED)

    async def _once(self, job: Job, delay: RestartDelay, lost: asyncio.Event) -> None:
        """Run the process once, and wait as long as its end asks for."""
        began = self._place.clock.monotonic()
        restart_s = JobSettings.of(job, self._place.settings).restart_time_s
        try:
            ended = await self._run(job, lost)
        except MissingInterpreterError as error:
            wait_s = delay.after_missing(restart_s=restart_s)
            if delay.first_missing:
                self._log.error(f"{error} The start is tried again every {wait_s:g} seconds or so.")
            self._step(ContinuousState.PENDING_RESTART)
            await self._pause(wait_s)
            return
        if ended is None or self._news.is_set() or lost.is_set():
            return
        lived_s = self._place.clock.monotonic() - began
        if self.debugging.session:  # who looks for a fault is not to wait ever longer for it
            delay = RestartDelay.of(job)
        wait_s = delay.after_end(ok=ended.ok, lived_s=lived_s, restart_s=restart_s)
        self._log.info(f"Process went down, waiting for {wait_s:g} seconds")
        self._step(ContinuousState.PENDING_RESTART)
        await self._pause(wait_s)

    async def _run(self, job: Job, lost: asyncio.Event) -> Exit | None:
        """Run the process to its end; None if it is not wanted any more before it began."""
        shutdown_file = self._place.folders.new_shutdown_file(job)
        port = free_port()
        debug = self.debugging.next_start(job, port)
        occasion = Occasion(port=port, debug=debug, shutdown_file=shutdown_file)
        program = await self._place.programs.prepare(job, occasion)
        if program.change:
            self._log.info(program.change)
        self._log.info(program.script_line)
        if self._news.is_set():
            return None
        self._step(ContinuousState.RUNNING)
        try:
            ended = await self._supervise(job, program, occasion, shutdown_file, lost)
        finally:
            with suppress(OSError):
                shutdown_file.unlink(missing_ok=True)
        self._record.ended(ended)
        return ended

    async def _supervise(
        self,
        job: Job,
        program: Program,
        occasion: Occasion,
        shutdown_file: Path,
        lost: asyncio.Event,
    ) -> Exit:
        output = JobOutput(self._log, monotonic=self._place.clock.monotonic)
        process = await self._place.launcher.run(program.spec, output)
        self._record.started(process.pid)
        with self.reach.of(process, occasion), self.debugging.over(occasion, program.root):
            return await watch_over(
                process,
                self._stop_at_news(job, process, shutdown_file),
                self._kill_when_lost(process, lost),
                self._remind(),
            )

    # --- Beside the running process

    async def _stop_at_news(self, job: Job, process: Process, shutdown_file: Path) -> None:
        """Ask politely in both ways, wait, kill: webjobs.md 4.6."""
        await self._news.wait()
        self._tell_departure()
        self._record.become(ContinuousState.STOPPING)
        self._write_shutdown_file(shutdown_file)
        process.terminate()
        await self._grace(job.stopping_wait_s)
        self._log.info("WebJob process was aborted")
        await process.kill()

    def _tell_departure(self) -> None:
        """Say, once, why the loop ends for good; before the status does."""
        line = self._departure.line if self._departure is not None else ""
        if line and self.status.state is not ContinuousState.STOPPING:
            self._log.info(line)

    async def _grace(self, seconds: float) -> None:
        """Let the grace of a process pass; the end of the platform meanwhile cuts it short."""
        clock = self._place.clock
        if self._departure is None and not await within(clock, seconds, self._leaving):
            return
        assert self._departure is not None
        await clock.sleep(min(seconds, self._departure.grace_s))

    def _write_shutdown_file(self, path: Path) -> None:
        try:
            path.write_text(f"{self._place.clock.now():%m/%d/%Y %H:%M:%S}", encoding="ascii")
        except OSError as error:  # the signal still tells it
            self._log.warning(f"The shutdown file cannot be written: {error}")

    async def _kill_when_lost(self, process: Process, lost: asyncio.Event) -> None:
        await lost.wait()
        self._log.error("WebJob singleton lock is lost, its process is ended")
        await process.kill()

    async def _remind(self) -> None:
        await self._place.clock.sleep(_FIRST_REMINDER_S)
        while True:
            self._log.info("WebJob is still running")
            await self._place.clock.sleep(_REMINDER_S)

    async def _mishap(self, error: Exception) -> None:
        """Tell a failure of ours (or a script that is gone) and try again later."""
        _log.warning("continuous job %s failed to run", self.job.name, exc_info=error)
        wait_s = self._place.retry_s
        self._log.error(f"WebJob cannot run: {error}. Trying again in {wait_s:g} seconds.")
        self._step(ContinuousState.PENDING_RESTART)
        await self._pause(wait_s)

    def _step(self, state: ContinuousState) -> None:
        """Go on by one state, unless news have come: then it is the stop that goes on."""
        if not self._news.is_set():
            self._record.become(state)

    async def _pause(self, seconds: float) -> None:
        await within(self._place.clock, seconds, self._news)
