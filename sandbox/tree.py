"""Host handle of one sandbox: the init at its root, and through it everything below.

spare -> starting -> running -> gone. A spare is an init forked ahead that nobody has asked for
yet; `start` makes a program or a zygote of it. An init never goes without a word: it says how its
child ended, or why there is none, and is gone from then on. One that is silent was killed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from sandbox.channel import Channel
from sandbox.dial import DialError, Dialler
from sandbox.errors import SpawnFailedError
from sandbox.resources import Holding, Resources
from sandbox.runtime import wire
from sandbox.spec import Exit, SandboxSpec


class TreeState(Enum):
    """Where a sandbox stands."""

    SPARE = "spare"
    STARTING = "starting"
    RUNNING = "running"
    GONE = "gone"


#: state -> states that may follow.
TRANSITIONS: dict[TreeState, frozenset[TreeState]] = {
    TreeState.SPARE: frozenset({TreeState.STARTING, TreeState.GONE}),
    TreeState.STARTING: frozenset({TreeState.RUNNING, TreeState.GONE}),
    TreeState.RUNNING: frozenset({TreeState.GONE}),
    TreeState.GONE: frozenset(),
}


class Tree:
    """One init and its descendants. `ended` resolves when all of them are gone."""

    def __init__(
        self, sock: socket.socket, on_lost: Callable[[Tree], None], token: int = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        self.token = token
        self.state = TreeState.SPARE
        self.pid = 0  # of the init
        self.main_pid = 0
        self.layers: dict[str, Any] = {}
        self.refused = ""  # why the launcher could not make it
        #: True once the launcher has forked the init, False if it never will.
        self.forked: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[Exit] = loop.create_future()
        self._started: asyncio.Future[None] = loop.create_future()
        self._on_lost = on_lost
        self._holding: Holding | None = None
        self._dialler: Dialler | None = None
        self._channel = Channel(sock, self._on_message, self._on_closed)

    def confirm(self, pid: int, resources: Resources) -> None:
        """Take the launcher's word that the init exists, and have it held to limits."""
        self.pid = pid
        resources.hold(self, self._held)

    def _held(self, holding: Holding) -> None:
        if self.state is TreeState.GONE:
            holding.end()
        self._holding = holding
        self._channel.send(wire.encode([wire.HELD]))
        if not self.forked.done():
            self.forked.set_result(True)

    @property
    def memory_bytes(self) -> int:
        """Return the memory limit of the whole sandbox, 0 if it has none."""
        return self._holding.memory_bytes if self._holding else 0

    def starved(self) -> bool:
        """Tell whether a process has died for want of memory since this was asked last."""
        return self._holding.starved() if self._holding else False

    def starve(self) -> None:
        """End the sandbox: it is over its memory limit."""
        self.kill()

    def refuse(self, reason: str) -> None:
        """Take the launcher's word that there will be no init."""
        self.refused = reason
        self.abandon()

    async def start(self, kind: str, spec: SandboxSpec, fds: Sequence[int]) -> None:
        """Make the spare a "program" or a "zygote"; returns when the main child exists.

        Raises:
            SpawnFailedError: naming the step that failed and the operating system's reason.
        """
        self._step(TreeState.STARTING)
        try:
            if self._holding is not None:
                await self._holding.limit(spec.limits, own_files=spec.has_own_files)
            setup = wire.encode([wire.SETUP, kind, spec.wire()])
        except (OSError, OverflowError, ValueError) as error:
            # One sandbox's limits, which the kernel does not take, are no other's business.
            self.abandon()
            raise SpawnFailedError(f"{spec.name}: its limits cannot be set: {error}") from error
        try:
            self._channel.send_with_fds(setup, fds)
        except OSError as error:
            raise SpawnFailedError(f"{spec.name}: the sandbox is gone: {error}") from error
        await self._started
        own_network = spec.kind.namespaces == "closed"
        self._dialler = Dialler(self._channel.send_with_fds, own_network=own_network)

    async def dial(self, port: int) -> socket.socket:
        """Return a connection to a port on the sandbox's loopback; see `Dialler.dial`."""
        if self._dialler is None or self.state is not TreeState.RUNNING:
            raise DialError(f"the sandbox is {self.state.value}")
        return await self._dialler.dial(port)

    def signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        self._channel.send(wire.encode([wire.SIGNAL, number]))

    def kill(self) -> None:
        """Kill every process of the tree; `ended` tells when it is done."""
        if self.state is TreeState.SPARE:
            self.abandon()
        elif self.state is not TreeState.GONE:
            self._channel.send(wire.encode([wire.KILL]))

    def abandon(self) -> None:
        """Close our end: init ends the tree by itself, nobody waits for it."""
        self._gone(Exit(None, None))

    def kill_under(self, pid: int) -> None:
        """Kill one process of the tree with everything that it started.

        `pid` is the number that the process has inside the sandbox.
        """
        if self.state is TreeState.RUNNING:
            self._channel.send(wire.encode([wire.KILL_UNDER, pid]))

    def tidy(self) -> None:
        """End what processes that are gone left behind."""
        if self.state is TreeState.RUNNING:
            self._channel.send(wire.encode([wire.TIDY]))

    def _step(self, to: TreeState) -> None:
        if to not in TRANSITIONS[self.state]:
            raise SpawnFailedError(f"the sandbox is {self.state.value}, it cannot be {to.value}")
        self.state = to

    def _on_message(self, message: list[Any]) -> None:
        match message:
            case [wire.HERE]:  # from the main child: the kernel says who sent it
                self.main_pid = self._channel.peer_pid
            case [wire.STARTED, dict(layers)] if self.state is TreeState.STARTING:
                self.layers = {**layers, **(self._holding.facts if self._holding else {})}
                self._step(TreeState.RUNNING)
                self._started.set_result(None)
            case [wire.FAILED, _, _, text] if self.state is TreeState.STARTING:
                reason = text if type(text) is str else "init failed without a reason"
                self._started.set_exception(SpawnFailedError(reason))
                self._gone(Exit(None, None))
            case [wire.EXITED, code, number]:
                self._gone(Exit(code, number))

    def _on_closed(self, _reason: str) -> None:
        used = self.state is not TreeState.SPARE  # there is nothing below a spare
        self._gone(Exit(None, None))
        if used:
            self._on_lost(self)

    def _gone(self, exit_: Exit) -> None:
        if self.state is TreeState.GONE:
            return
        self.state = TreeState.GONE
        self._channel.close()
        if self._holding is not None:
            if exit_.ok:
                exit_ = exit_._replace(oom_kills=self._holding.oom_kills())
            elif self._holding.starved():
                exit_ = exit_._replace(starved=self._holding.memory_bytes)
            self._holding.end()
        if not self.forked.done():
            self.forked.set_result(False)
        if not self._started.done():
            self._started.set_exception(SpawnFailedError("the sandbox ended while it was built"))
            self._started.exception()  # read: nobody may be waiting for a spare
        if not self.ended.done():
            self.ended.set_result(exit_)
