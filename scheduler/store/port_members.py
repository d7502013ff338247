"""Members and commands at the port: who is alive, and what they are asked to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance as the store knows it. `alive`: its last heartbeat is younger than its ttl."""

    instance: str
    epoch: int
    address: str
    slots: int
    labels: Mapping[str, str] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    job_statuses: Mapping[str, Any] = field(default_factory=dict)
    age_s: float = 0.0
    alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something to do; `target` is an instance, or "" for all. The verb must bear repetition."""

    id: int
    target: str
    verb: str
    args: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What an instance answered to a command."""

    command_id: int
    instance: str
    at: datetime
    result: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The answer to a heartbeat: commands not yet acknowledged, and the current generation."""

    commands: tuple[Command, ...]
    generation: int


class MembersPort(ABC):
    """Members and commands."""

    @abstractmethod
    async def join(
        self,
        instance: str,
        *,
        address: str = "",
        slots: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl_s: float = 5.0,
    ) -> int:
        """Enter as this instance and return a new epoch, larger than every one before.

        Whatever this name held in an earlier life is free at once: its leases have run out and its
        queued work goes back at the next reap.
        """

    @abstractmethod
    async def heartbeat(
        self,
        instance: str,
        epoch: int,
        *,
        load: Mapping[str, Any] | None = None,
        job_statuses: Mapping[str, Any] | None = None,
        acks: Mapping[int, str] | None = None,
    ) -> Heartbeat:
        """Say that this instance lives, and answer commands: {command id: result}.

        Relaxed: a power cut may lose it, which costs a repeated command. Raises Lost when another
        process joined under this name.
        """

    @abstractmethod
    async def leave(self, instance: str, epoch: int) -> None:
        """Go. An epoch that is not current changes nothing."""

    @abstractmethod
    async def members(self) -> list[Member]:
        """Return all who joined and did not leave, by name."""

    @abstractmethod
    async def send_command(
        self,
        verb: str,
        *,
        target: str = "",
        args: Mapping[str, Any] | None = None,
        ttl_s: float = 60.0,
        idempotency_key: str | None = None,
    ) -> int:
        """Ask one instance, or all, to do something; return the command's id.

        Given until acknowledged, dropped after `ttl_s`. The same key returns the id of the first.
        """

    @abstractmethod
    async def command_results(self, command_id: int) -> Sequence[CommandResult]:
        """Return the answers so far, oldest first."""

    @abstractmethod
    async def prune_commands(self, older_than: datetime, *, limit: int = 1000) -> int:
        """Forget commands that expired before this instant, with their answers and keys.

        Returns how many commands went.
        """
