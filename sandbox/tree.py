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
from sandbox.errors import SpawnFailedError
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
        #: True once the launcher has forked the init, False if it never will.
        self.forked: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[Exit] = loop.create_future()
        self._started: asyncio.Future[None] = loop.create_future()
        self._on_lost = on_lost
        self._channel = Channel(sock, self._on_message, self._on_closed)

    def confirm(self, pid: int) -> None:
        """Take the launcher's word that the init exists."""
        self.pid = pid
        if not self.forked.done():
            self.forked.set_result(True)

    async def start(self, kind: str, spec: SandboxSpec, fds: Sequence[int]) -> None:
        """Make the spare a "program" or a "zygote"; returns when the main child exists.

        Raises:
            SpawnFailedError: naming the step that failed and the operating system's reason.
        """
        self._step(TreeState.STARTING)
        try:
            self._channel.send_with_fds(wire.encode([wire.SETUP, kind, spec.wire()]), fds)
        except OSError as error:
            raise SpawnFailedError(f"{spec.name}: the sandbox is gone: {error}") from error
        await self._started

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
        """Kill one process of the tree with everything that it started."""
        if self.state is TreeState.RUNNING:
            self._channel.send(wire.encode([wire.KILL_UNDER, pid]))

    def _step(self, to: TreeState) -> None:
        if to not in TRANSITIONS[self.state]:
            raise SpawnFailedError(f"the sandbox is {self.state.value}, it cannot be {to.value}")
        self.state = to

    def _on_message(self, message: list[Any]) -> None:
        match message:
            case [wire.STARTED, int(pid), dict(layers)]:
                self.main_pid, self.layers = pid, layers
                self._step(TreeState.RUNNING)
                self._started.set_result(None)
            case [wire.FAILED, _, _, text]:
                self._started.set_exception(SpawnFailedError(str(text)))
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
        if not self.forked.done():
            self.forked.set_result(False)
        if not self._started.done():
            self._started.set_exception(SpawnFailedError("the sandbox ended while it was built"))
            self._started.exception()  # read: nobody may be waiting for a spare
        if not self.ended.done():
            self.ended.set_result(exit_)
