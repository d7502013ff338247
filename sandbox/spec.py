"""What a sandbox is to be: one frozen value that says it all, before anything is forked.

The value crosses the launcher's channel as plain types (`wire()`), so nothing in it may need our
classes on the other side.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple


class Level(Enum):
    """How much stands around user code (sandbox.md 3), from least to most."""

    TRUSTED = "trusted"
    PROCESS = "process"
    STANDARD = "standard"
    STRICT = "strict"

    def reaches(self, wanted: Level) -> bool:
        """Tell whether this level holds at least what `wanted` does."""
        order = list(Level)
        return order.index(self) >= order.index(wanted)


class Network(Enum):
    """What user code can reach (sandbox.md 3).

    NONE: a loopback of its own. OUTBOUND: TCP connections to some ports, on the host's network, and
    listening only where the platform calls it. HOST: everything; for trusted code only.
    """

    NONE = "none"
    OUTBOUND = "outbound"
    HOST = "host"


class Mount(NamedTuple):
    """One file or folder of the host that the sandbox shows at `target`."""

    source: str
    target: str
    writable: bool = False

    @classmethod
    def at(cls, path: object, *, writable: bool = False) -> Mount:
        """Show a path of the host at the same path inside."""
        return cls(str(path), str(path), writable)


MIB: Final = 1 << 20
#: TCP ports that OUTBOUND code may connect to unless it asks for others.
WEB_PORTS: Final = (53, 80, 443)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """What one sandbox may use; None is no limit.

    Attributes:
        memory_bytes: of all its processes and its private files together; by cgroup, else watched.
        cpu_cores: processors at once, e.g. 0.5; needs a cgroup.
        processes: processes and threads at once; by cgroup and RLIMIT_NPROC (sandbox.md T2).
        cpu_s: RLIMIT_CPU, processor seconds of each process; for programs, not for workers.
        open_files: RLIMIT_NOFILE, of each process.
        file_bytes: RLIMIT_FSIZE, the largest file that can be written.
        address_bytes: RLIMIT_AS; only for Python-only sandboxes (sandbox.md T12).
        core_bytes: RLIMIT_CORE.
        scratch_bytes: private files in /tmp, /var/tmp, /dev/shm and HOME together.
        scratch_files: how many of them.
    """

    memory_bytes: int | None = 2048 * MIB
    cpu_cores: float | None = None
    processes: int | None = 512
    cpu_s: int | None = None
    open_files: int | None = 1024
    file_bytes: int | None = None
    address_bytes: int | None = None
    core_bytes: int | None = 0
    scratch_bytes: int = 256 * MIB
    scratch_files: int = 65536


class Kind(NamedTuple):
    """What must be known of a sandbox to make it ahead.

    `namespaces` is a name of sandbox/runtime/namespaces.py, `filtered` tells whether its system
    calls are.
    """

    namespaces: str
    filtered: bool = True


_NAMESPACES: Final = {
    (Level.STANDARD, Network.NONE): "closed",
    (Level.STRICT, Network.NONE): "closed",
    (Level.STANDARD, Network.OUTBOUND): "open",
    (Level.STRICT, Network.OUTBOUND): "open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One sandbox: its name, where it stands, what it sees, what it may use.

    Attributes:
        argv: the program for `Launcher.run`; a zygote has none.
        env: the whole environment: nothing is inherited.
        level: the least that must hold; `because` says why it is less than what was wanted.
        mounts: what it sees besides the system's programs and libraries.
        scratch: more folders that are private, writable and gone afterwards, such as HOME.
        uid: user and group of the sandbox when the platform is root; 0 keeps the platform's user.
        ports: TCP ports that Network.OUTBOUND may connect to.
        listen: TCP ports that it may listen at, chosen by us; with a network of its own, any.
        without: layers to leave out: "namespaces" where there are none to be had; others, by their
            names in sandbox/runtime/confine.py, only to test that each escape meets two of them.
    """

    name: str
    cwd: str
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    level: Level = Level.STANDARD
    because: str = ""
    network: Network = Network.NONE
    ports: tuple[int, ...] = WEB_PORTS
    listen: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    scratch: tuple[str, ...] = ()
    uid: int = 0
    without: frozenset[str] = frozenset()

    @property
    def has_own_files(self) -> bool:
        """Tell whether it has a file tree of its own, and in it private scratch folders."""
        return self.kind.namespaces in ("closed", "open")

    @property
    def kind(self) -> Kind:
        """Return what must be known of the sandbox before it is made."""
        filtered = self.level is not Level.TRUSTED and "seccomp" not in self.without
        return Kind(self._namespaces, filtered)

    @property
    def _namespaces(self) -> str:
        if "namespaces" in self.without:
            return "bare"
        if self.level is Level.TRUSTED:
            return "trusted"
        return _NAMESPACES.get((self.level, self.network), "bare")

    def wire(self) -> dict[str, Any]:
        """Return the value as plain types, for the launcher's channel."""
        limits = self.limits
        return {
            "name": self.name,
            "cwd": self.cwd,
            "argv": list(self.argv),
            "env": dict(self.env),
            "limits": {
                "open_files": limits.open_files,
                "processes": limits.processes,
                "file_bytes": limits.file_bytes,
                "address_bytes": limits.address_bytes,
                "core_bytes": limits.core_bytes,
                "cpu_s": limits.cpu_s,
            },
            "scratch": {
                "bytes": limits.scratch_bytes,
                "files": limits.scratch_files,
                "paths": list(self.scratch),
            },
            "level": self.level.value,
            "because": self.because,
            "network": self.network.value,
            "ports": list(self.ports),
            "listen": list(self.listen),
            "mounts": [list(mount) for mount in self.mounts],
            "uid": self.uid,
            "home": self.env.get("HOME", "/tmp"),  # noqa: S108  inside it is private
            "without": sorted(self.without),
        }


class Exit(NamedTuple):
    """How a process ended: an exit code, or the number of the signal that killed it.

    Both are None when the sandbox vanished before it could say (its init was killed). `starved` is
    the memory limit in bytes if a process of it was killed for want of memory, else 0. `oom_kills`
    counts the processes that were killed so although the program itself ended well.
    """

    code: int | None
    signal: int | None
    starved: int = 0
    oom_kills: int = 0

    @property
    def vanished(self) -> bool:
        """Tell whether nobody could say how it ended."""
        return self.code is None and self.signal is None

    @property
    def ok(self) -> bool:
        """Tell whether the program ended by itself with code 0."""
        return self.code == 0

    @property
    def loss(self) -> str:
        """Return what the program lost and did not tell; empty if it is nothing."""
        if not self.oom_kills:
            return ""
        what = "process was" if self.oom_kills == 1 else "processes were"
        return f"{self.oom_kills} {what} killed for want of memory, whose limit is memory_mib"

    def __str__(self) -> str:
        if self.loss:
            return f"exit code {self.code}; {self.loss}"
        if self.starved:
            return f"out of memory: the limit is {self.starved // MIB} MiB (memory_mib)"
        if self.signal == signal.SIGXCPU:
            return "out of processor time (cpu_s)"
        if self.signal is not None:
            return f"killed by signal {self.signal}"
        return f"exit code {self.code}" if self.code is not None else "vanished"
