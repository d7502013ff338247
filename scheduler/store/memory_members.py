"""The reference for members and commands."""

# ruff: noqa: D102 - the port's docstrings hold

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from scheduler.store.errors import Lost
from scheduler.store.memory_app import MemoryApp
from scheduler.store.port_members import (
    Command,
    CommandResult,
    Heartbeat,
    Member,
    MembersPort,
)
from scheduler.store.work_state import WorkState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


@dataclass(slots=True)
class _Seen:
    member: Member
    at: datetime
    ttl: timedelta


class MemoryMembers(MemoryApp, MembersPort):
    """Members by name; commands and their results in order."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._epoch = 0
        self._members: dict[str, _Seen] = {}
        self._last_command = 0
        self._commands: dict[int, Command] = {}
        self._command_keys: dict[str, int] = {}
        self._results: dict[tuple[int, str], CommandResult] = {}

    async def join(
        self,
        instance: str,
        *,
        address: str = "",
        slots: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl_s: float = 5.0,
    ) -> int:
        now = self._now()
        self._epoch += 1
        member = Member(
            instance=instance,
            epoch=self._epoch,
            address=address,
            slots=slots,
            labels=dict(labels or {}),
        )
        self._members[instance] = _Seen(member, now, timedelta(seconds=ttl_s))
        self._free_all(instance, now)
        return self._epoch

    async def heartbeat(
        self,
        instance: str,
        epoch: int,
        *,
        load: Mapping[str, Any] | None = None,
        job_statuses: Mapping[str, Any] | None = None,
        acks: Mapping[int, str] | None = None,
    ) -> Heartbeat:
        now = self._now()
        seen = self._members.get(instance)
        if seen is None or seen.member.epoch != epoch:
            raise Lost(f"instance {instance!r} is not at epoch {epoch} any more")
        seen.at = now
        seen.member = replace(
            seen.member, load=dict(load or {}), job_statuses=dict(job_statuses or {})
        )
        for command_id, result in (acks or {}).items():
            if command_id in self._commands:
                answer = CommandResult(command_id, instance, now, result)
                self._results.setdefault((command_id, instance), answer)
        return Heartbeat(self._pending(instance, now), self._current.generation)

    async def leave(self, instance: str, epoch: int) -> None:
        self._now()
        seen = self._members.get(instance)
        if seen is not None and seen.member.epoch == epoch:
            del self._members[instance]

    async def members(self) -> list[Member]:
        now = self._now()
        return [
            replace(
                seen.member, age_s=(now - seen.at).total_seconds(), alive=now < seen.at + seen.ttl
            )
            for _, seen in sorted(self._members.items())
        ]

    async def send_command(
        self,
        verb: str,
        *,
        target: str = "",
        args: Mapping[str, Any] | None = None,
        ttl_s: float = 60.0,
        idempotency_key: str | None = None,
    ) -> int:
        now = self._now()
        if idempotency_key is not None and idempotency_key in self._command_keys:
            return self._command_keys[idempotency_key]
        self._last_command += 1
        command = Command(
            id=self._last_command,
            target=target,
            verb=verb,
            args=dict(args or {}),
            created_at=now,
            expires_at=now + timedelta(seconds=ttl_s),
        )
        self._commands[command.id] = command
        if idempotency_key is not None:
            self._command_keys[idempotency_key] = command.id
        self._signals.publish([f"command:{target}"])
        return command.id

    async def command_results(self, command_id: int) -> Sequence[CommandResult]:
        found = [result for (its, _), result in self._results.items() if its == command_id]
        return sorted(found, key=lambda result: (result.at, result.instance))

    async def prune_commands(self, older_than: datetime, *, limit: int = 1000) -> int:
        self._now()
        by_expiry = sorted(self._commands.values(), key=lambda command: command.expires_at)
        doomed = {command.id for command in by_expiry[:limit] if command.expires_at < older_than}
        self._commands = {id_: c for id_, c in self._commands.items() if id_ not in doomed}
        self._results = {at: r for at, r in self._results.items() if at[0] not in doomed}
        keys = self._command_keys.items()
        self._command_keys = {key: id_ for key, id_ in keys if id_ not in doomed}
        return len(doomed)

    def _pending(self, instance: str, now: datetime) -> tuple[Command, ...]:
        return tuple(
            command
            for command in self._commands.values()
            if command.target in {"", instance}
            and command.expires_at > now
            and (command.id, instance) not in self._results
        )

    def _free_all(self, instance: str, now: datetime) -> None:
        for row in self._work.values():
            if row.state is WorkState.LEASED and row.owner == instance:
                row.lease_until = now
        for name, lease in self._leases.items():
            if lease.owner == instance:
                self._leases[name] = replace(lease, expires_at=min(now, lease.expires_at))

    def _is_owner_dead(self, owner: str, now: datetime) -> bool:
        seen = self._members.get(owner)
        return seen is not None and now >= seen.at + seen.ttl
