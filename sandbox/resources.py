"""Limits of memory, processes and processors of a whole sandbox, and the facts about them.

Each sandbox stands in a cgroup of its own from before it is known what for. Where the kernel gives
no memory cgroup, one watch looks at all sandboxes instead. Whether one died for want of memory is
the kernel's count or the watch's own act, never a guess from a signal (sandbox.md 4).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from sandbox.cgroup_leaf import Leaf
from sandbox.cgroups import Cgroups
from sandbox.memory_watch import MemoryWatch
from sandbox.spec import ResourceLimits

_log = logging.getLogger("taak.sandbox")
_REMOVE_S = 5.0
#: What most sandboxes are held to: put on ahead, so that nobody waits for the kernel to do it.
_USUAL = ResourceLimits()
#: As good as none, for who has none where the usual limit is on already; the kernel's own maximum.
_ALL_MEMORY, _ALL_PROCESSES = 1 << 62, 4_194_304
T = TypeVar("T")


class Held(Protocol):
    """A sandbox whose resources are held."""

    token: int
    pid: int  # of its init

    def starve(self) -> None:
        """End it: it is over its memory limit."""


class Holding:
    """The account of one sandbox; `limit` before user code runs, `end` when all of it is gone."""

    def __init__(
        self, owner: Resources, sandbox: Held, leaf: Leaf | None, kept: frozenset[str]
    ) -> None:
        self._owner = owner
        self._sandbox = sandbox
        self._leaf = leaf
        self._kept = kept  # which of the usual limits the kernel keeps
        self._seen = 0  # of the kernel's kills
        self._starved = False  # by the watch
        self.memory_bytes = 0
        self.facts: dict[str, Any] = {"cgroup": "none", "memory": "none"}

    async def limit(self, limits: ResourceLimits, *, own_files: bool) -> None:
        """Put the limits on; the memory limit is watched where it cannot be put on."""
        self.memory_bytes = limits.memory_bytes or 0
        kept = self._kept
        if self._leaf is not None:
            if _by_cgroup(limits) != _by_cgroup(_USUAL):
                kept = await self._owner.do(
                    self._leaf.limit,
                    limits.memory_bytes or _ALL_MEMORY,
                    limits.processes or _ALL_PROCESSES,
                    limits.cpu_cores,
                )
            self.facts["cgroup"] = self._owner.kind
        if "memory" in kept and limits.memory_bytes:
            self.facts["memory"] = "cgroup"
        elif limits.memory_bytes:
            self.facts["memory"] = "watch"
            scratch = self._scratch_bytes if own_files else _nothing
            self._owner.watch.watch(self._name, self._sandbox.pid, limits.memory_bytes, scratch)
        if limits.cpu_cores and "cpu" not in kept:
            self.facts["cpu_because"] = self._owner.reason or "no cpu controller"

    def starved(self) -> bool:
        """Tell whether a process has died for want of memory since this was asked last."""
        if self._starved:
            return True
        if self._leaf is None:
            return False
        seen, self._seen = self._seen, self.oom_kills()
        return self._seen > seen

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed for want of memory, as far as it tells."""
        with suppress(OSError):
            return self._leaf.oom_kills() if self._leaf is not None else 0
        return self._seen

    def starve(self) -> None:
        """Take the watch's word that the sandbox is over its limit, and end it."""
        self._starved = True
        self._sandbox.starve()

    def end(self) -> None:
        """Give the cgroup back; the sandbox's processes are gone."""
        self._owner.watch.forget(self._name)
        self._owner.forget(self._name)
        if self._leaf is not None:
            self._owner.remove(self._leaf)

    @property
    def _name(self) -> str:
        return f"{self._sandbox.pid}"

    def _scratch_bytes(self) -> int:
        """Return what the private files take; they count as memory."""
        about = os.statvfs(f"/proc/{self._sandbox.pid}/root/tmp")
        return (about.f_blocks - about.f_bfree) * about.f_frsize


def _nothing() -> int:
    return 0


def _by_cgroup(limits: ResourceLimits) -> tuple[float | None, ...]:
    return limits.memory_bytes, limits.processes, limits.cpu_cores


class Resources:
    """What holds sandboxes to their limits. `serve` runs in the owner's TaskGroup."""

    def __init__(self, cgroups: Cgroups | None = None) -> None:
        self._cgroups = cgroups
        self._held: dict[str, Holding] = {}
        # One thread: the kernel moves processes one after the other anyway, and nobody else waits
        # for a pool that is full of file copies.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="cgroups")
        self.watch = MemoryWatch(self._over)

    @property
    def kind(self) -> str:
        """Return "v2", "v1" or "none"."""
        return self._cgroups.kind if self._cgroups else "none"

    @property
    def reason(self) -> str:
        """Return why a limit cannot be kept by a cgroup; empty if all can."""
        return self._cgroups.reason if self._cgroups else "cgroups are not used"

    async def serve(self) -> None:
        """Watch until cancelled."""
        await self.watch.run()

    async def sweep(self) -> None:
        """Remove what an earlier platform left; before any sandbox is made."""
        if self._cgroups is not None:
            swept = await self.do(self._cgroups.sweep)
            if swept.left:
                _log.warning("cgroups of an earlier run stay: %s", ", ".join(swept.left))

    def hold(self, sandbox: Held, then: Callable[[Holding], None]) -> None:
        """Put a sandbox that is still empty into a cgroup of its own; `then` gets its account."""

        def account(leaf: Leaf | None, kept: frozenset[str]) -> None:
            holding = self._held[f"{sandbox.pid}"] = Holding(self, sandbox, leaf, kept)
            then(holding)

        if self._cgroups is None or not self._cgroups.places:
            account(None, frozenset())
            return
        placed = asyncio.get_running_loop().run_in_executor(
            self._worker, self._placed, self._cgroups, sandbox.token, sandbox.pid
        )
        placed.add_done_callback(lambda done: account(*done.result()))

    def forget(self, name: str) -> None:
        """Drop the account of a sandbox that is gone."""
        self._held.pop(name, None)

    @property
    def folders(self) -> list[str]:
        """Return the folders that hold the cgroups of sandboxes."""
        return [str(place.path) for place in self._cgroups.places] if self._cgroups else []

    def remove(self, leaf: Leaf) -> None:
        """Remove a cgroup, not now and not here."""
        with suppress(RuntimeError):  # closing: `close` removes what is left
            self._worker.submit(leaf.remove, _REMOVE_S)

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work on cgroups in their thread."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def close(self) -> None:
        """Wait until cgroups under way are removed, and remove the folders above them."""
        self._worker.shutdown(wait=True)
        if self._cgroups is not None:
            self._cgroups.sweep()
            self._cgroups.close()

    @staticmethod
    def _placed(cgroups: Cgroups, token: int, pid: int) -> tuple[Leaf | None, frozenset[str]]:
        try:
            leaf = cgroups.leaf(f"{token}-{pid}")
        except OSError as error:
            _log.warning("no cgroup for a sandbox: %s", error)
            return None, frozenset()
        try:
            kept = leaf.limit(_USUAL.memory_bytes, _USUAL.processes)
            leaf.add(pid)
        except OSError as error:
            leaf.remove(_REMOVE_S)
            if not isinstance(error, ProcessLookupError):
                _log.warning("a sandbox cannot be moved into its cgroup: %s", error)
            return None, frozenset()
        return leaf, kept

    def _over(self, name: str, used: int, limit: int) -> None:
        if holding := self._held.get(name):
            _log.warning("a sandbox uses %d bytes, its limit is %d: it is ended", used, limit)
            holding.starve()
