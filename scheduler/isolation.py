"""What stands around a function or a job, and what it may use: the part of "taak" about sandboxes.

A frozen value with the product's defaults. It belongs to a bundle, because a sandbox does; how it
becomes a sandbox is said here too, so that functions and jobs cannot differ in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.selftest import Reach
from sandbox.spec import MIB, WEB_PORTS, Level, Mount, Network, ResourceLimits, SandboxSpec

__all__ = ["Isolation", "Level", "Network", "Reach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Level, network and resources of one sandbox. A number of 0 is no limit.

    Attributes:
        sandbox: the level; "process" is what a machine falls back to, nobody asks for it.
        network: none, or outbound TCP to `ports`.
        ports: what outbound code may connect to; replaces the default.
        memory_mib: of all processes and private files together.
        cpu_cores: processors at once.
        processes: processes and threads at once.
        open_files: of each process.
        tmp_mib: private files in /tmp, /var/tmp, /dev/shm and, for a job, HOME.
        tmp_files: how many of them.
        file_mib: size of the largest file that can be written.
        cpu_s: processor seconds of each process of a job's run.
    """

    sandbox: Level = Level.STANDARD
    network: Network = Network.NONE
    ports: tuple[int, ...] = WEB_PORTS
    memory_mib: int = 2048
    cpu_cores: float = 0.0
    processes: int = 512
    open_files: int = 1024
    tmp_mib: int = 256
    tmp_files: int = 65536
    file_mib: int = 0
    cpu_s: int = 0

    @property
    def limits(self) -> ResourceLimits:
        """Return the limits as the sandbox layer takes them."""
        return ResourceLimits(
            memory_bytes=self.memory_mib * MIB or None,
            cpu_cores=self.cpu_cores or None,
            processes=self.processes or None,
            cpu_s=self.cpu_s or None,
            open_files=self.open_files or None,
            file_bytes=self.file_mib * MIB or None,
            scratch_bytes=(self.tmp_mib or _UNBOUNDED_MIB) * MIB,
            scratch_files=self.tmp_files or _UNBOUNDED_FILES,
        )

    def report(self, reach: Reach) -> dict[str, Any]:
        """Return what will stand around the code on a machine that gives this much."""
        is_trusted = self.sandbox is Level.TRUSTED
        is_less = not is_trusted and not reach.is_standard
        shares_net = is_trusted or self.network is Network.OUTBOUND
        named = reach.layers.get("namespaces", ())
        return {
            **reach.layers,
            "level": (reach.level if is_less else self.sandbox).value,
            "namespaces": [name for name in named if name != "net" or not shares_net],
            "network": "host" if is_trusted else self.network.value,
            "degraded_because": reach.because if is_less else "",
        }

    def spec(
        self,
        name: str,
        *,
        cwd: str,
        env: Mapping[str, str],
        mounts: Iterable[Mount],
        argv: tuple[str, ...] = (),
        scratch: tuple[str, ...] = (),
    ) -> SandboxSpec:
        """Return the sandbox for one bundle or run."""
        is_trusted = self.sandbox is Level.TRUSTED
        return SandboxSpec(
            name=name,
            cwd=cwd,
            argv=argv,
            env=env,
            limits=self.limits,
            level=self.sandbox,
            network=Network.HOST if is_trusted else self.network,
            ports=self.ports,
            mounts=tuple(mounts),
            scratch=scratch,
        )


_UNBOUNDED_MIB: Final = 1 << 20  # the memory of the sandbox bounds it
_UNBOUNDED_FILES: Final = 1 << 30
