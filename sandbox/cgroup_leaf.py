"""One sandbox's cgroup: a folder in each hierarchy that we may use, and what is done with it.

All methods are blocking file calls of 20 to 600 microseconds, but three take milliseconds: `add`
(the kernel waits for all processors before it moves a process, once for a burst of moves, in
however many hierarchies), `kill` without cgroup.kill, and `remove` while processes still end.
Call them in a thread (asyncio.to_thread), never on the loop. A leaf without places (no cgroup is
writable) does nothing and says so in what it returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.cgroup_files import CgroupFiles

_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000  # the kernel refuses less
_STOP_ROUNDS = 1_000  # a bound, far above what any tree needed
_KILL_S = 5.0
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in one hierarchy, and which of memory, pids and cpu are limited there."""

    version: int
    path: Path
    controllers: frozenset[str]

    def below(self, name: str) -> Place:
        """Return the place one level down."""
        return Place(self.version, self.path / name, self.controllers)


class Leaf:
    """The cgroup of one sandbox; made by `Cgroups.leaf`."""

    def __init__(
        self,
        name: str,
        places: tuple[Place, ...],
        files: CgroupFiles,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.places = places
        self._files = files
        self._clock = clock
        self._pause = pause

    def make(self) -> None:
        """Make the folders, all or none; FileExistsError if the leaf is there already."""
        made: list[Place] = []
        try:
            for place in self.places:
                self._files.make(place.path)
                made.append(place)
        except OSError:
            for place in made:
                self._files.remove(place.path)
            raise

    def add(self, pid: int) -> None:
        """Move a process in, with its threads; what it forked before stays outside.

        Raises ProcessLookupError if it is gone. After any error it may be inside in part, so
        `kill` and `remove` are what is left to do.
        """
        for place in self.places:
            self._files.write(place.path / "cgroup.procs", str(pid))

    def limit(
        self,
        memory_bytes: int | None = None,
        processes: int | None = None,
        cpu_cores: float | None = None,
        *,
        together: bool = False,
    ) -> frozenset[str]:
        """Set limits, None leaves one as it is; return which the kernel now keeps.

        `memory_bytes` covers anonymous memory, page cache and tmpfs, without swap beside it.
        `processes` counts threads too. `together` lets a lack of memory kill the whole leaf
        instead of one process (v2 only). Raises OSError if the kernel refuses a value.
        """
        kept = set()
        for place in self.places:
            if memory_bytes is not None and "memory" in place.controllers:
                self._limit_memory(place, memory_bytes, together=together)
                kept.add("memory")
            if processes is not None and "pids" in place.controllers:
                self._files.write(place.path / "pids.max", str(processes))
                kept.add("pids")
            if cpu_cores is not None and "cpu" in place.controllers:
                self._limit_cpu(place, max(int(cpu_cores * _PERIOD_US), _LEAST_QUOTA_US))
                kept.add("cpu")
        return frozenset(kept)

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed here for want of memory.

        Its own count, so 0 where no memory cgroup is kept. Ask before `remove`: OSError after.
        """
        place = self._holding("memory")
        if place is None:
            return 0
        name = "memory.events" if place.version == 2 else "memory.oom_control"
        return _field(self._files.read(place.path / name), "oom_kill") or 0

    def memory_bytes(self) -> int | None:
        """Return what the leaf uses now; None if the kernel does not say."""
        return self._memory("memory.current", "memory.usage_in_bytes")

    def peak_bytes(self) -> int | None:
        """Return the most that the leaf has used; None if the kernel does not say."""
        return self._memory("memory.peak", "memory.max_usage_in_bytes")

    def cpu_seconds(self) -> float | None:
        """Return the processor time used here, by ended processes too; None if not known."""
        for place in self.places:
            with contextlib.suppress(OSError):
                if place.version == 2:  # kept for every v2 cgroup, also without the controller
                    used = _field(self._files.read(place.path / "cpu.stat"), "usage_usec")
                    if used is not None:
                        return used / 1e6
                elif "cpu" in place.controllers:  # there only if cpuacct is mounted with cpu
                    return int(self._files.read(place.path / "cpuacct.usage")) / 1e9
        return None

    def kill(self) -> None:
        """Kill every process in the leaf; `remove` waits until they are gone.

        One write where the kernel has cgroup.kill. Else forks are stopped first, because killing
        one by one loses against a tree that forks (sandbox.md T6), then signals go round until
        nobody is left, for 5 s at most.
        """
        for place in self.places:
            if place.version == 2 and self._wrote(place.path / "cgroup.kill", "1"):
                return
        self._stop_forks()
        until = self._clock() + _KILL_S
        while self._signal(signal.SIGKILL) and self._clock() < until:
            self._pause(_FIRST_PAUSE_S)

    def remove(self, within_s: float = 2.0) -> bool:
        """Remove the folders; kill who is still inside. Tell whether the leaf is gone.

        A process that has just died may hold its cgroup for a moment, hence the retries.
        """
        until, wait = self._clock() + within_s, _FIRST_PAUSE_S
        left = [place.path for place in self.places]
        while left := [path for path in left if not self._removed(path)]:
            if self._clock() >= until:
                return False
            for path in left:
                # Not `kill`: who was added in part stands in some of the hierarchies only.
                if not self._wrote(path / "cgroup.kill", "1"):
                    self._signal_in(path, signal.SIGKILL)
            self._pause(wait)
            wait = min(2 * wait, _LONGEST_PAUSE_S)
        return True

    def _limit_memory(self, place: Place, limit: int, *, together: bool) -> None:
        path, text = place.path, str(limit)
        if place.version == 2:
            self._files.write(path / "memory.max", text)
            self._wrote(path / "memory.swap.max", "0")  # absent in a kernel without swap
            if together:
                self._files.write(path / "memory.oom.group", "1")
            return
        both = path / "memory.memsw.limit_in_bytes"
        try:
            self._files.write(path / "memory.limit_in_bytes", text)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Above the limit of memory with swap, which must therefore rise first.
            self._files.write(both, text)
            self._files.write(path / "memory.limit_in_bytes", text)
        if not self._wrote(both, text):  # swap is not accounted: keep it out instead
            self._wrote(path / "memory.swappiness", "0")

    def _limit_cpu(self, place: Place, quota: int) -> None:
        if place.version == 2:
            self._files.write(place.path / "cpu.max", f"{quota} {_PERIOD_US}")
            return
        self._files.write(place.path / "cpu.cfs_period_us", str(_PERIOD_US))
        try:
            self._files.write(place.path / "cpu.cfs_quota_us", str(quota))
        except OSError as error:
            # v1 refuses more than a parent has: the parent's limit is lower, and holds.
            if error.errno != errno.EINVAL:
                raise

    def _memory(self, v2: str, v1: str) -> int | None:
        place = self._holding("memory")
        if place is None:
            return None
        try:
            return int(self._files.read(place.path / (v2 if place.version == 2 else v1)))
        except OSError:
            return None

    def _holding(self, controller: str) -> Place | None:
        return next((place for place in self.places if controller in place.controllers), None)

    def _wrote(self, path: Path, text: str) -> bool:
        try:
            self._files.write(path, text)
        except OSError:
            return False
        return True

    def _removed(self, path: Path) -> bool:
        try:
            self._files.remove(path)
        except FileNotFoundError:
            return True
        except OSError:
            for below in self._files.below(path):  # made by who was inside: gone in a next round
                self._removed(below)
            return False
        return True

    def _stop_forks(self) -> None:
        pids = self._holding("pids")
        if pids is not None and self._wrote(pids.path / "pids.max", "0"):
            return
        if any(self._wrote(place.path / "cgroup.freeze", "1") for place in self.places):
            return
        stopped: set[int] = set()
        for _ in range(_STOP_ROUNDS):
            new = self._signal(signal.SIGSTOP) - stopped
            if not new:
                return
            stopped |= new

    def _signal(self, number: int) -> set[int]:
        """Signal everybody inside once; return who it was."""
        return set().union(*(self._signal_in(place.path, number) for place in self.places))

    def _signal_in(self, path: Path, number: int) -> set[int]:
        signalled = {pid for pid in self._members(path) if self._signal_one(path, pid, number)}
        return signalled.union(*(self._signal_in(each, number) for each in self._files.below(path)))

    def _signal_one(self, path: Path, pid: int, number: int) -> bool:
        # A pid number may be another process by now. Held by a descriptor it cannot change, so
        # whoever is still listed after the descriptor was opened is the one that is meant.
        try:
            process = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if pid not in self._members(path):
                return False
            signal.pidfd_send_signal(process, number)
        except OSError:
            return False
        finally:
            os.close(process)
        return True

    def _members(self, path: Path) -> set[int]:
        try:
            listed = {int(pid) for pid in self._files.read(path / "cgroup.procs").split()}
        except OSError:
            return set()
        return listed - {0, os.getpid()}  # 0: a process that our pid namespace does not show


def _field(text: str, name: str) -> int | None:
    """Return a number from a flat keyed file (lines of "name value")."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
