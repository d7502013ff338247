"""From a job's definition to a running process: private copy, command, environment.

Both kinds of jobs start their program here. What is done with its end is theirs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sandbox.debuggers import under_debugger
from sandbox.output import OutputSink
from sandbox.spec import Exit, SandboxSpec
from sandbox.users import Users
from scheduler.errors import SchedulerError
from scheduler.functions import Job, key
from scheduler.job_environment import Occasion, job_environment, split_arguments
from scheduler.job_folders import JobFolders
from scheduler.job_interpreter import start_command
from scheduler.job_view import hand_over, job_mounts
from scheduler.source.build_plan import PACKAGES
from scheduler.working_copy import InPlace, WorkingCopy


class Process(Protocol):
    """A running program with everything that it has started."""

    @property
    def pid(self) -> int:
        """Return the process id on this machine."""

    async def wait(self) -> Exit:
        """Return once the program has ended, its tree is gone and its output is read."""

    def terminate(self) -> None:
        """Ask the whole tree to end."""

    async def dial(self, port: int) -> socket.socket:
        """Return a connection to a port on its own loopback; DialError if there is none."""

    async def kill(self) -> Exit:
        """End the whole tree now."""


class Launcher(Protocol):
    """What starts programs."""

    async def run(self, spec: SandboxSpec, sink: OutputSink) -> Process:
        """Start a program; SpawnFailedError if it cannot be."""


class ScriptVanishedError(SchedulerError):
    """The entry script was there at deployment and is gone now; the start fails with this."""


async def watch_over(process: Process, *watches: Coroutine[Any, Any, None]) -> Exit:
    """Wait for the end of a process with watches beside it; they end with it.

    By whatever path this is left, nothing of the process stays.
    """
    try:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(watch) for watch in watches]
            ended = await process.wait()
            for watch in beside:
                watch.cancel()
    except BaseException:  # also a cancellation: nobody is left who would end the process
        await process.kill()
        raise
    return ended


Offload = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Program:
    """Everything about a start but the start itself, so that it can be logged before."""

    spec: SandboxSpec
    script_line: str
    change: str = ""  # why the private copy was made anew
    root: str = ""  # the job's folder, as its process sees it


@dataclass
class JobPrograms:
    """Makes programs of jobs, and keeps the private copies that they run in.

    Attributes:
        offload: runs blocking file work; a thread unless a test wants it inline.
    """

    folders: JobFolders
    instance: str
    settings: Mapping[str, str] = field(default_factory=dict)
    offload: Offload = asyncio.to_thread
    inherited: Mapping[str, str] = field(default_factory=lambda: os.environ)
    users: Users | None = None
    _copies: dict[tuple[str, str], WorkingCopy] = field(default_factory=dict)
    _places: dict[tuple[str, str], InPlace] = field(default_factory=dict)

    async def prepare(self, job: Job, occasion: Occasion) -> Program:
        """Return what is to be started; brings the private copy up to date on the way."""
        program: Program = await self.offload(partial(self._prepare, job, occasion))
        return program

    async def discard(self, job: Job) -> None:
        """Remove the private copy of a job that is gone."""
        slot = (job.kind.value, key(job.name))
        self._places.pop(slot, None)
        copy = self._copies.pop(slot, None)
        if copy is not None:
            await self.offload(copy.discard)

    def _prepare(self, job: Job, occasion: Occasion) -> Program:
        working, change = self._working_folder(job, debugged=occasion.debug is not None)
        script = working / job.script
        if not script.is_file():
            raise ScriptVanishedError(f"The script {job.script} is no longer in {working}.")
        path = self.inherited.get("PATH", os.defpath)
        arguments = split_arguments(occasion.arguments)
        start = start_command(job, script, arguments, settings=self.settings, path=path)
        if occasion.debug is not None:
            start = under_debugger(start, job.script, occasion.debug)
        environment = job_environment(
            job,
            occasion,
            working=working,
            folders=self.folders,
            instance=self.instance,
            inherited=self.inherited,
            settings=self.settings,
        )
        self.folders.data(job).mkdir(parents=True, exist_ok=True)
        name = f"{job.kind.value}-{job.name}"
        hand_over(working, self.folders.data(job), self.users.uid(name) if self.users else 0)
        mounts = job_mounts(
            job,
            self.folders,
            program=start.argv[0],
            shows=start.shows,
            working=working,
            shutdown_file=occasion.shutdown_file,
        )
        spec = job.bundle.isolation.spec(
            name,
            cwd=str(script.parent),
            argv=start.argv,
            env={**start.environment, **environment, **_packages(job, working, environment)},
            mounts=mounts,
            scratch=(environment["HOME"],),
        )
        spec = replace(spec, listen=occasion.ports)
        line = f"Run script '{script.name}' with script host - '{start.host_name}'"
        return Program(spec, line, change, str(working))

    def _working_folder(self, job: Job, *, debugged: bool) -> tuple[Path, str]:
        slot = (job.kind.value, key(job.name))
        if job.is_in_place:
            return job.live_folder, self._places.setdefault(slot, InPlace()).look(job.live_folder)
        copies = self._copies
        copy = copies.setdefault(slot, WorkingCopy(self.folders.working(job)))
        working, change = copy.prepare(job.folder, lasting=debugged)
        _allow_execution(working / job.script)
        return working, change


def same_program(old: Job, new: Job) -> bool:
    """Tell whether a process of the old definition serves for the new one as well.

    Neither disable.job nor limits of logs are part of it, nor the release in which the same files
    were seen first.
    """
    return old.bundle.digest == new.bundle.digest and old == replace(
        new, bundle=old.bundle, disabled=old.disabled, logs=old.logs
    )


def _packages(job: Job, working: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Let a Python script import what was built for it: beside itself, or for the whole app."""
    if not job.script.endswith(".py"):
        return {}
    folders = [working / PACKAGES, Path(environment["WEBROOT_PATH"]) / PACKAGES]
    there = [str(folder) for folder in folders if folder.is_dir()]
    given = environment.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [given, *there]))} if there else {}


def _allow_execution(script: Path) -> None:
    """Make a program in our own copy executable: archives made on Windows do not say so."""
    if script.suffix.lower() == ".exe" and script.is_file():
        script.chmod(script.stat().st_mode | 0o100)
