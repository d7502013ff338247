"""A plain program in a sandbox of its own: one run of a job.

The whole tree ends with its first process, as a WebJob's run does (webjobs.md 1.3), and all of it
ends when the platform does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from functools import partial
from typing import Any

from sandbox.drain import Drain
from sandbox.output import OutputSink, Stream
from sandbox.spec import Exit, SandboxSpec
from sandbox.tree import Tree

_DRAIN_TIMEOUT_S = 5.0


class Process:
    """Handle of a running program."""

    def __init__(self, tree: Tree, drained: asyncio.Event) -> None:
        self._tree = tree
        self._drained = drained

    @classmethod
    async def start(
        cls, tree: Tree, spec: SandboxSpec, sink: OutputSink, drain: Drain, kind: str = "program"
    ) -> Process:
        """Start the program of `spec` in a spare sandbox; "selftest" needs none.

        Raises:
            SpawnFailedError: naming the step that failed.
        """
        drained = asyncio.Event()
        output = Output(sink, drained)
        fds = output.attach(drain)
        try:
            await tree.start(kind, spec, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return cls(tree, drained)

    @property
    def pid(self) -> int:
        """Return the pid of the program itself."""
        return self._tree.main_pid

    @property
    def layers(self) -> dict[str, Any]:
        """Return what stands around the program, as init reported it."""
        return self._tree.layers

    @property
    def ended(self) -> asyncio.Future[Exit]:
        """Return the future of the whole tree's end."""
        return self._tree.ended

    async def wait(self) -> Exit:
        """Wait for the end: the program has ended, its tree is gone, its output is read."""
        exit_ = await asyncio.shield(self._tree.ended)
        # A tree that is gone holds no pipe; the bound is for an init that was killed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await self._drained.wait()
        return exit_

    def terminate(self) -> None:
        """Send SIGTERM to every process of the tree."""
        self._tree.signal(signal.SIGTERM)

    async def dial(self, port: int) -> socket.socket:
        """Return a connection to a port on its own loopback; see `Dialler.dial`."""
        return await self._tree.dial(port)

    async def kill(self) -> Exit:
        """Kill the whole tree and wait for its end."""
        self._tree.kill()
        return await self.wait()


class Output:
    """The two pipes of a sandbox, joined to one sink."""

    def __init__(self, sink: OutputSink, drained: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._drained = drained
        self._open = 2

    def attach(self, drain: Drain) -> list[int]:
        """Give the read ends to the drain; return the write ends, which the caller closes."""
        writers = []
        for stream in Stream:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            drain.attach(reader, partial(self._sink.write, stream), self._end)
            writers.append(writer)
        return writers

    def _end(self) -> None:
        self._open -= 1  # only the drain's thread comes here
        if self._open == 0:
            self._sink.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._drained.set)
