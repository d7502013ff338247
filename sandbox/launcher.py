"""Host handle of the launcher process: starts it, keeps spare sandboxes, replaces it when it dies.

The sandboxes of a launcher outlive it: each has a channel of its own to the host. What its death
costs is the wait for the next one, which is started at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from sandbox import channel as channels
from sandbox import launcher_process
from sandbox.channel import Channel
from sandbox.drain import Drain
from sandbox.errors import SpawnFailedError
from sandbox.launcher_process import Load
from sandbox.output import OutputSink
from sandbox.process import Process
from sandbox.resources import Resources
from sandbox.runtime import wire
from sandbox.spec import Kind, SandboxSpec
from sandbox.tree import Tree, TreeState
from sandbox.zygote import Zygote

_log = logging.getLogger("taak.sandbox")
_RETRY_S = (0.0, 0.1, 0.5, 2.0, 5.0)  # waits before a launcher is started again
_START_TIMEOUT_S = 30.0
_REFILL_S = 0.05


class Launcher:
    """Makes sandboxes, of processes that have in memory what `load` says.

    `serve` must run in the owner's TaskGroup for as long as sandboxes are wanted.
    """

    def __init__(
        self,
        drain: Drain,
        resources: Resources,
        *,
        load: Load,
        privileged: bool,
        spares: int = 2,
    ) -> None:
        self._load = load
        self.privileged = privileged  # sandboxes are made as root, and get a user of their own
        self.pid = 0
        self.restarts = 0
        self._drain = drain
        self._resources = resources
        #: How many sandboxes of a kind to have ready; a kind counts from its first use on.
        self._wanted_spares = {Kind("closed"): spares}
        self._spares: defaultdict[Kind, deque[Tree]] = defaultdict(deque)
        self._coming: dict[int, Tree] = {}  # forked or being forked, not yet confirmed
        self._trees: set[Tree] = set()
        self._tokens = itertools.count(1)
        self._channel: Channel | None = None
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()

    async def serve(self) -> None:
        """Keep a launcher process running until cancelled."""
        failures = 0
        process: subprocess.Popen[bytes] | None = None
        try:
            while True:
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                process = self._start()
                came_up = await self._watch()
                failures = 1 if came_up else failures + 1
                self.restarts += 1
                process.kill()
                process.wait()
                _log.warning("launcher %d ended; starting another", process.pid)
        finally:
            self._stop(process)

    @property
    def is_up(self) -> bool:
        """Tell whether sandboxes can be made without a wait."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Wait until sandboxes can be made."""
        await self._ready.wait()

    def expect(self, kinds: Iterable[Kind]) -> None:
        """Keep spares of these kinds only."""
        self._wanted_spares = dict.fromkeys(kinds, max(self._wanted_spares.values(), default=2))
        for kind in self._spares.keys() - self._wanted_spares.keys():
            for tree in self._spares.pop(kind):
                tree.kill()
        self._refill()

    async def run(self, spec: SandboxSpec, sink: OutputSink) -> Process:
        """Start a program in a sandbox of its own.

        Raises:
            SpawnFailedError: the program cannot be started; the message names step and reason.
        """
        tree = await self._take(spec.kind)
        return await Process.start(tree, spec, sink, self._drain)

    async def look(self, spec: SandboxSpec, sink: OutputSink) -> Process:
        """Start the self-test in the place of a program."""
        tree = await self._take(spec.kind)
        return await Process.start(tree, spec, sink, self._drain, "selftest")

    async def zygote(self, spec: SandboxSpec, sink: OutputSink) -> Zygote:
        """Start a zygote, still without user code, in a sandbox of its own.

        Raises:
            SpawnFailedError: the sandbox cannot be built.
        """
        tree = await self._take(spec.kind)
        return await Zygote.start(tree, spec, sink, self._drain)

    async def _take(self, kind: Kind) -> Tree:
        while True:
            spares = self._spares[kind]
            tree = spares.popleft() if spares else await self._spawned(kind)
            self._wanted_spares.setdefault(kind, 1)
            # Not now: making the next one would take the processors from the one that is wanted.
            asyncio.get_running_loop().call_later(_REFILL_S, self._refill)
            if await tree.forked and tree.state is TreeState.SPARE:
                return tree
            if tree.refused:
                raise SpawnFailedError(f"no sandbox can be made: {tree.refused}")

    async def _spawned(self, kind: Kind) -> Tree:
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            raise SpawnFailedError("the launcher does not start; see the platform's log") from None
        return self._spawn(kind)

    def _refill(self) -> None:
        for kind, wanted in self._wanted_spares.items():
            while self._ready.is_set() and len(self._spares[kind]) < wanted:
                self._spares[kind].append(self._spawn(kind))

    def _spawn(self, kind: Kind) -> Tree:
        """Ask for an init. It can be used at once: what we send waits in its channel."""
        assert self._channel is not None
        host, guest = channels.pair()
        token = next(self._tokens)
        tree = Tree(host, self._on_tree_lost, token)
        message = [wire.SPAWN, token, kind.namespaces, self.privileged, kind.filtered]
        try:
            self._channel.send_with_fds(wire.encode(message), [guest.fileno()])
        except OSError as error:
            tree.kill()
            raise SpawnFailedError(f"the launcher is gone: {error}") from error
        finally:
            guest.close()
        self._coming[token] = tree
        self._trees.add(tree)
        tree.ended.add_done_callback(lambda _: self._trees.discard(tree))
        return tree

    def _start(self) -> subprocess.Popen[bytes]:
        process, host = launcher_process.begun_or_new(self._load)
        self.pid = process.pid
        self._lost.clear()
        self._channel = Channel(host, self._on_message, self._on_closed)
        return process

    async def _watch(self) -> bool:
        await self._lost.wait()
        came_up = self._ready.is_set()
        self._ready.clear()
        self._forget_spares()
        return came_up

    def _stop(self, process: subprocess.Popen[bytes] | None) -> None:
        self._ready.clear()
        self._forget_spares()
        for tree in list(self._trees):
            tree.abandon()
        if self._channel is not None:
            self._channel.close()
        if process is not None:
            process.kill()
            process.wait()

    def _forget_spares(self) -> None:
        spares = (tree for kept in self._spares.values() for tree in kept)
        for tree in (*spares, *self._coming.values()):
            if tree.state is TreeState.SPARE:
                tree.kill()
        self._spares.clear()
        self._coming.clear()

    def _on_message(self, message: list[Any]) -> None:
        match message:
            case [wire.READY, _preloaded]:
                if folders := self._resources.folders:
                    assert self._channel is not None
                    self._channel.send(wire.encode([wire.AFTERWARDS, folders]))
                self._ready.set()
                self._refill()
            case [wire.SPAWNED, int(token), int(pid)]:
                if tree := self._coming.pop(token, None):
                    tree.confirm(pid, self._resources)
            case [wire.SPAWN_FAILED, int(token), str(reason)]:
                if tree := self._coming.pop(token, None):
                    tree.refuse(reason)

    def _on_closed(self, _reason: str) -> None:
        self._lost.set()

    def _on_tree_lost(self, tree: Tree) -> None:
        """End the orphans of an init that was killed: the launcher adopted them."""
        _log.warning("the init %d of a sandbox was killed; ending what it left", tree.pid)
        if self._channel is not None:
            self._channel.send(wire.encode([wire.SWEEP]))
