"""The way to the ports of a job's process, for as long as one runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.dial import DialError
from scheduler.errors import UnreachableError
from scheduler.job_environment import Occasion
from scheduler.job_program import Process


class JobReach:
    """What of one job can be connected to now."""

    def __init__(self) -> None:
        self._running: tuple[Process, Occasion] | None = None

    @contextmanager
    def of(self, process: Process, occasion: Occasion) -> Iterator[None]:
        """Lead to this process for the length of a block."""
        self._running = process, occasion
        try:
            yield
        finally:
            self._running = None

    async def own_port(self) -> socket.socket:
        """Return a connection to the job's WEBJOBS_PORT (webjobs.md 6.6).

        Raises:
            UnreachableError: no process runs here, or it does not listen.
        """
        occasion = self._running[1] if self._running else None
        return await self._dial(occasion.port if occasion else None)

    async def debugger(self) -> socket.socket:
        """Return a connection to the debugger; raises as `own_port` does."""
        occasion = self._running[1] if self._running else None
        return await self._dial(occasion.debug.port if occasion and occasion.debug else None)

    async def _dial(self, port: int | None) -> socket.socket:
        if self._running is None or port is None:
            raise UnreachableError("no process of it runs here", refused=True)
        try:
            return await self._running[0].dial(port)
        except DialError as error:
            raise UnreachableError(str(error), refused=error.refused) from error
