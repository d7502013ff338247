"""Failures of processes, by cause. The scheduler turns them into outcomes."""

from __future__ import annotations


class SandboxError(Exception):
    """Base of every failure of a process or of the channel to it."""


class SpawnFailedError(SandboxError):
    """The sandbox could not be built or its program not be started; the message says which step."""


class SandboxDiedError(SandboxError):
    """The other end is gone. `started` tells whether the call had begun in it.

    `starved`: it was killed for want of memory, as the kernel or the watch says.
    """

    def __init__(self, message: str, *, started: bool, starved: bool = False) -> None:
        super().__init__(message)
        self.started = started
        self.starved = starved


class ProtocolBrokenError(SandboxError):
    """The worker broke a rule of the channel; it has been killed."""
