"""The two launchers: one with azure-functions in memory, one without, started when first wanted.

A plain launcher serves apps that bring packages which our preloaded copy could meet.
"""

from __future__ import annotations

import asyncio

from sandbox.drain import Drain
from sandbox.launcher import Launcher
from sandbox.output import OutputSink
from sandbox.process import Process
from sandbox.spec import SandboxSpec
from sandbox.zygote import Zygote


class Launchers:
    """Where all sandboxes come from. `serve` runs in the owner's TaskGroup."""

    def __init__(self, drain: Drain) -> None:
        self.preloaded = Launcher(drain, preload=True)
        self.plain = Launcher(drain, preload=False)
        self._plain_wanted = asyncio.Event()

    async def serve(self) -> None:
        """Keep both running until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.preloaded.serve())
            await self._plain_wanted.wait()
            group.create_task(self.plain.serve())

    async def ready(self) -> None:
        """Wait until sandboxes can be made."""
        await self.preloaded.ready()

    async def run(self, spec: SandboxSpec, sink: OutputSink) -> Process:
        """Start a program in a sandbox of its own; see `Launcher.run`."""
        return await self.preloaded.run(spec, sink)

    async def zygote(self, spec: SandboxSpec, sink: OutputSink, *, preload: bool) -> Zygote:
        """Start a zygote with or without the preloaded library; see `Launcher.zygote`."""
        if preload:
            return await self.preloaded.zygote(spec, sink)
        self._plain_wanted.set()
        return await self.plain.zygote(spec, sink)
