"""What a sandbox is to be: one frozen value that says it all, before anything is forked.

The value crosses the launcher's channel as plain types (`wire()`), so nothing in it may need our
classes on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


class Level(Enum):
    """How much stands around user code; sandbox.md 3. Layers beyond PROCESS arrive one by one."""

    TRUSTED = "trusted"
    PROCESS = "process"
    STANDARD = "standard"
    STRICT = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """rlimits of every process in the sandbox; None leaves the inherited value.

    Attributes:
        open_files: RLIMIT_NOFILE.
        processes: RLIMIT_NPROC; void for host uid 0 (sandbox.md T2).
        file_bytes: RLIMIT_FSIZE.
        address_bytes: RLIMIT_AS; only for Python-only sandboxes (sandbox.md T12).
        core_bytes: RLIMIT_CORE.
    """

    open_files: int | None = 1024
    processes: int | None = None
    file_bytes: int | None = None
    address_bytes: int | None = None
    core_bytes: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One sandbox: its name, where it stands, what it sees, what it may use.

    `argv` is a program for `Launcher.run`; a zygote has none. `env` is the whole environment:
    nothing is inherited.
    """

    name: str
    cwd: str
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    level: Level = Level.PROCESS

    def wire(self) -> dict[str, Any]:
        """Return the value as plain types, for the launcher's channel."""
        return {
            "name": self.name,
            "cwd": self.cwd,
            "argv": list(self.argv),
            "env": dict(self.env),
            "limits": {
                "open_files": self.limits.open_files,
                "processes": self.limits.processes,
                "file_bytes": self.limits.file_bytes,
                "address_bytes": self.limits.address_bytes,
                "core_bytes": self.limits.core_bytes,
            },
            "level": self.level.value,
        }


class Exit(NamedTuple):
    """How a process ended: an exit code, or the number of the signal that killed it.

    Both are None when the sandbox vanished before it could say (its init was killed).
    """

    code: int | None
    signal: int | None

    @property
    def ok(self) -> bool:
        """Tell whether the program ended by itself with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal}"
        return f"exit code {self.code}" if self.code is not None else "vanished"
