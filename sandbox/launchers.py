"""The launchers: one with azure-functions in memory, and two that are started when first wanted.

A plain one serves apps that bring packages which our preloaded copy could meet. One of next to
nothing serves programs: what a sandbox inherits is thrown away by the exec, page by page, while
somebody waits. Here is also decided what a machine that cannot give the wanted level gives instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sandbox.drain import Drain
from sandbox.errors import SpawnFailedError
from sandbox.launcher import Launcher
from sandbox.launcher_process import Load
from sandbox.output import OutputSink
from sandbox.process import Process
from sandbox.resources import Resources
from sandbox.selftest import Reach, survey
from sandbox.spec import Exit, Kind, Level, SandboxSpec
from sandbox.users import Users
from sandbox.zygote import Zygote


class Launchers:
    """Where all sandboxes come from. `serve` runs in the owner's TaskGroup.

    Attributes:
        reach: the most that this machine gives; known once `ready` has returned.
    """

    def __init__(
        self,
        drain: Drain,
        users: Users | None = None,
        resources: Resources | None = None,
        scratch: Path | None = None,
        least: str = "",
        closed_ports: Iterable[int] = (),
    ) -> None:
        self.users = users or Users(None)
        self.resources = resources or Resources()
        self._least = Level(least) if least else None  # below it nothing is started
        self._closed_ports = frozenset(closed_ports)  # the platform's own
        self._scratch = scratch  # where sandboxes without a file tree of their own get a TMPDIR
        privileged = self.users.separate
        self.preloaded, self.plain, self.programs = (
            Launcher(drain, self.resources, load=load, privileged=privileged)
            for load in (Load.PRELOADED, Load.PLAIN, Load.PROGRAMS)
        )
        self.reach = Reach(Level.STANDARD)
        self._plain_wanted = asyncio.Event()
        self._programs_wanted = asyncio.Event()
        self._surveyed = asyncio.Event()

    async def serve(self) -> None:
        """Keep both running until cancelled."""
        await self.resources.sweep()
        if self._scratch is not None:  # what a killed platform left
            await asyncio.to_thread(_remove, str(self._scratch))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.resources.serve())
            group.create_task(self.preloaded.serve())
            await self.preloaded.ready()
            self.reach = await survey(self.preloaded.look, uid=self.users.uid("selftest"))
            if not self.reach.namespaces:
                for launcher in (self.preloaded, self.plain, self.programs):
                    launcher.expect((Kind("bare"),))
            self._surveyed.set()
            group.create_task(_serve_when(self._plain_wanted, self.plain))
            group.create_task(_serve_when(self._programs_wanted, self.programs))

    async def ready(self) -> None:
        """Wait until sandboxes can be made, and it is known how much they hold."""
        await self._surveyed.wait()

    def too_little(self) -> str:
        """Return why this machine cannot give the least level that is wanted; empty if it can."""
        machine = self.reach.level  # what it takes to be strict is what it takes to be standard
        if self._least is None or machine.reaches(min(self._least, Level.STANDARD, key=_rank)):
            return ""
        return (
            f"--require-sandbox {self._least.value}: this machine gives {machine.value} only: "
            f"{self.reach.because}"
        )

    async def run(self, spec: SandboxSpec, sink: OutputSink) -> Process:
        """Start a program in a sandbox of its own; see `Launcher.run`."""
        await self.ready()
        spec = self.possible(spec)
        process = await self._of_programs().run(spec, sink)
        self._clean_after(spec, process.ended)
        return process

    async def zygote(self, spec: SandboxSpec, sink: OutputSink, *, preload: bool) -> Zygote:
        """Start a zygote with or without the preloaded library; see `Launcher.zygote`."""
        await self.ready()
        spec = self.possible(spec)
        if not preload:
            self._plain_wanted.set()
        zygote = await (self.preloaded if preload else self.plain).zygote(spec, sink)
        self._clean_after(spec, zygote.ended)
        return zygote

    def _of_programs(self) -> Launcher:
        """Return the launcher for programs; another as long as one would have to wait for it."""
        self._programs_wanted.set()
        return self.programs if self.programs.is_up else self.preloaded

    def possible(self, spec: SandboxSpec) -> SandboxSpec:
        """Return the spec as far as this machine can give it, with the reason if that is less.

        Raises:
            SpawnFailedError: it asks for less than the platform was started to give, or what it
                needs on the disk cannot be made.
        """
        try:
            return self._possible(spec)
        except OSError as error:
            raise SpawnFailedError(f"the sandbox cannot be prepared: {error}") from error

    def _possible(self, spec: SandboxSpec) -> SandboxSpec:
        if self._least is not None and not spec.level.reaches(self._least):
            raise SpawnFailedError(
                f'"sandbox": "{spec.level.value}" is refused: the platform was started with '
                f"--require-sandbox {self._least.value}"
            )
        if self.users.separate and not spec.uid:
            spec = replace(spec, uid=self.users.uid(spec.name))
        if self._closed_ports.intersection(spec.ports):
            open_ports = tuple(port for port in spec.ports if port not in self._closed_ports)
            spec = replace(spec, ports=open_ports)
        if not self.reach.namespaces:
            level = Level.TRUSTED if spec.level is Level.TRUSTED else Level.PROCESS
            without = spec.without | {"namespaces"}
            spec = replace(spec, level=level, because=self.reach.because, without=without)
        return self._with_own_folder(spec) if not spec.has_own_files else spec

    def _with_own_folder(self, spec: SandboxSpec) -> SandboxSpec:
        """Give a sandbox that sees the host's files a private folder for temporary ones."""
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="taak-", dir=self._scratch)
        if spec.uid:
            os.chown(folder, spec.uid, spec.uid)
        env = {**spec.env, "TMPDIR": folder}
        return replace(spec, env=env, scratch=(folder,))

    def _clean_after(self, spec: SandboxSpec, ended: asyncio.Future[Exit]) -> None:
        if not spec.has_own_files:
            folder = spec.env["TMPDIR"]
            ended.add_done_callback(
                lambda _: threading.Thread(target=_remove, args=(folder,)).start()
            )


async def _serve_when(wanted: asyncio.Event, launcher: Launcher) -> None:
    await wanted.wait()
    await launcher.serve()


def _rank(level: Level) -> int:
    return list(Level).index(level)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
