"""Whether a continuous job runs under its debugger: asked for, for a bounded time, and over.

It outlives the job's processes: each start while it is on is one under the debugger, at a new port.
Nothing of it is stored; a platform that starts anew debugs nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from sandbox.debuggers import DebugStart, NoDebuggerError, debugger_of, debugpy_folder
from scheduler.clock import Clock, within
from scheduler.errors import ConflictError, UnreachableError
from scheduler.functions import Job, JobKind
from scheduler.job_environment import Occasion, free_port
from scheduler.job_reach import JobReach
from scheduler.job_settings import own_setting
from scheduler.journal import Journal

#: How long a client waits for a job that is being started.
PATIENCE_S = 20.0
_LOOK_S = 0.1


class DebugState(Enum):
    """Where debugging stands."""

    OFF = "off"
    WAITING = "waiting"  # wanted, and no process runs under the debugger
    ATTACHABLE = "attachable"


#: state -> states that may follow.
TRANSITIONS: dict[DebugState, frozenset[DebugState]] = {
    DebugState.OFF: frozenset({DebugState.WAITING}),
    DebugState.WAITING: frozenset({DebugState.ATTACHABLE, DebugState.OFF}),
    DebugState.ATTACHABLE: frozenset({DebugState.WAITING, DebugState.OFF}),
}


class NotDebuggableError(ConflictError):
    """The job cannot, or must not, be debugged; `hint` says what helps."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSession:
    """One time of debugging. `root` is the job's folder as its process sees it, "" before one."""

    id: str
    debugger: str
    wait: bool
    began: datetime
    ends: datetime
    state: DebugState = DebugState.WAITING
    root: str = ""


def debugger_for(job: Job, *, private_network: bool) -> str:
    """Return the name of the debugger that a job can be run under.

    Args:
        job: any job.
        private_network: its sandbox has a network of its own, into which only the platform gets.

    Raises:
        NotDebuggableError: with the reason.
    """
    if job.kind is JobKind.TRIGGERED:
        raise NotDebuggableError(
            f"{job.name} is a triggered job: its runs begin and end by themselves, and none waits"
            " for a debugger.",
            "debug a continuous job with the same code, or run the script where the editor is",
        )
    allowed = own_setting(job, "debug")
    if allowed is False:
        raise NotDebuggableError(
            f"{job.name} must not be debugged: its settings.job says so",
            'take "debug": false out of "taak" in its settings.job',
        )
    if allowed is not True and not private_network:
        raise NotDebuggableError(
            f"{job.name} runs on this machine's network: while it is debugged, every program of"
            " this machine could reach its debugger, and do with it what the job can",
            'if nobody else is here, allow it: "taak": {"debug": true} in its settings.job',
        )
    try:
        debugger = debugger_of(job.script)
        if debugger == "debugpy":
            debugpy_folder()
    except NoDebuggerError as error:
        raise NotDebuggableError(str(error), error.hint) from error
    return debugger


class Debugging:
    """The debugging of one job on this instance.

    Attributes:
        session: what is under way, None when it is off.
        tunnels: connections of clients that stand.
    """

    def __init__(
        self,
        clock: Clock,
        group: asyncio.TaskGroup,
        journal: Journal,
        reach: JobReach,
        restart: Callable[[], None],
    ) -> None:
        self.session: DebugSession | None = None
        self.tunnels = 0
        self._clock = clock
        self._group = group
        self._journal = journal
        self._reach = reach
        self._restart = restart
        self._until = 0.0  # on the clock that never jumps
        self._news = asyncio.Event()  # for who waits until then

    @property
    def state(self) -> DebugState:
        """Return where it stands."""
        return self.session.state if self.session else DebugState.OFF

    def begin(self, debugger: str, *, wait: bool, duration_s: float) -> DebugSession:
        """Debug for so long from now on; the process is restarted unless it is debugged so already.

        `wait`: the program does nothing until a client has come.
        """
        now = self._clock.now()
        ends = now + timedelta(seconds=duration_s)
        self._until = self._clock.monotonic() + duration_s
        if self.session is not None and self.session.wait == wait:
            self.session = replace(self.session, ends=ends)
            self._news.set()
            return self.session
        if self.session is not None:
            self._off()
        name = secrets.token_hex(8)
        self.session = DebugSession(id=name, debugger=debugger, wait=wait, began=now, ends=ends)
        self._group.create_task(self._watch(name), name="end of debugging")
        self._journal.info(f"Debugging is on ({debugger}) until {ends:%Y-%m-%d %H:%M:%S} UTC")
        self._restart()
        return self.session

    def end(self, why: str) -> bool:
        """Debug no longer, and restart the process; tell whether it was on."""
        if self.session is None:
            return False
        self._off()
        self._journal.info(f"Debugging is off: {why}")
        self._restart()
        return True

    def next_start(self, job: Job, port: int) -> DebugStart | None:
        """Return how the next process is debugged, None if it is not; `port` is taken already."""
        if self.session is None:
            return None
        try:
            debugger = debugger_of(job.script)
        except NoDebuggerError as error:  # another script has been deployed meanwhile
            self._off()
            self._journal.warning(f"Debugging is off: {error}")
            return None
        self.session = replace(self.session, debugger=debugger)
        chosen = port
        while chosen == port:
            chosen = free_port()
        return DebugStart(chosen, wait=self.session.wait)

    @contextmanager
    def over(self, occasion: Occasion, root: str) -> Iterator[None]:
        """Be attachable for the length of a block in which a process runs under the debugger."""
        session = self.session
        if session is None or occasion.debug is None:
            yield
            return
        self.session = replace(session, root=root)
        self._step(DebugState.ATTACHABLE)
        try:
            yield
        finally:
            if self.session is not None and self.session.id == session.id:
                self._step(DebugState.WAITING)

    async def attach(self) -> socket.socket:
        """Return a connection to the debugger; one that is being started is waited for.

        Raises:
            UnreachableError: debugging is off, or no process came in time.
        """
        until = self._clock.monotonic() + PATIENCE_S
        while True:
            if self.session is None:
                raise UnreachableError("debugging is off")
            try:
                return await self._reach.debugger()
            except UnreachableError as error:
                if not error.refused or self._clock.monotonic() >= until:
                    raise
            # Nobody tells when a program begins to listen.
            await self._clock.sleep(_LOOK_S)

    async def _watch(self, name: str) -> None:
        """End the session of this name in its time."""
        while self.session is not None and self.session.id == name:
            self._news.clear()
            left = self._until - self._clock.monotonic()
            if not await within(self._clock, left, self._news) and left <= 0:
                self.end("its time is over")

    def _off(self) -> None:
        self._step(DebugState.OFF)
        self._news.set()
        self._news = asyncio.Event()

    def _step(self, to: DebugState) -> None:
        assert to in TRANSITIONS[self.state], f"debugging: {self.state} -> {to}"
        assert self.session is not None
        self.session = None if to is DebugState.OFF else replace(self.session, state=to)
