"""What this machine gives: the whole chain once, in a sandbox that is thrown away.

A kernel or a container may refuse any step of it, the last as well as the first, so nothing but a
finished sandbox that has looked at itself tells the level that is really reached (sandbox.md 1).
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import SpawnFailedError
from sandbox.output import OutputSink, Stream
from sandbox.process import Process
from sandbox.spec import Level, Network, SandboxSpec

Start = Callable[[SandboxSpec, OutputSink], Awaitable[Process]]


@dataclass(frozen=True, slots=True)
class Reach:
    """The most that holds here. `because` names the first thing that failed, and what mends it."""

    level: Level
    because: str = ""
    layers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_standard(self) -> bool:
        """Tell whether everything is there that stands around code by default."""
        return self.level.reaches(Level.STANDARD)

    @property
    def namespaces(self) -> bool:
        """Tell whether sandboxes have namespaces, and so a file tree of their own."""
        return bool(self.layers.get("namespaces"))


async def survey(start: Start, *, uid: int) -> Reach:
    """Return what holds around a sandbox of the user `uid`."""
    because = ""
    for level, without in ((Level.STANDARD, frozenset[str]()), (Level.PROCESS, {"namespaces"})):
        spec = SandboxSpec(
            name="selftest",
            cwd="/",
            level=level,
            network=Network.NONE,
            uid=uid,
            because=because,
            without=frozenset(without),
        )
        try:
            wrong, layers = await _look(start, spec)
        except SpawnFailedError as error:
            wrong, layers = str(error), {}
        if not wrong:
            reached = Level(layers["level"])
            return Reach(reached, because or str(layers["degraded_because"]), layers)
        because = because or f"{wrong}{_hint(wrong)}"
    return Reach(Level.PROCESS, because)


async def _look(start: Start, spec: SandboxSpec) -> tuple[str, dict[str, Any]]:
    words = _Words()
    process = await start(spec, words)
    ended = await process.wait()
    return ("" if ended.ok else words.text or f"the self-test ended: {ended}"), process.layers


class _Words:
    """A sink that keeps what the self-test says."""

    def __init__(self) -> None:
        self.text = ""
        self.closed = threading.Event()

    def write(self, _stream: Stream, chunk: bytes) -> None:
        """Keep it."""
        self.text += chunk.decode(errors="replace")

    def close(self) -> None:
        """Nothing more comes."""
        self.closed.set()


#: What a failing step says -> what helps. The first that occurs in the text counts.
_HINTS = {
    "unshare": (
        "the kernel or the container forbids namespaces; outside of containers: sysctl "
        "kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0, or "
        "start as root; in a container: --cap-add SYS_ADMIN --security-opt seccomp=unconfined"
    ),
    "mount": (
        "the system restricts what a user namespace may do (AppArmor on Ubuntu: sysctl "
        "kernel.apparmor_restrict_unprivileged_userns=0), or the container does"
    ),
    "map": "allow user namespaces: sysctl user.max_user_namespaces=10000",
}


def _hint(text: str) -> str:
    return next((f" ({hint})" for word, hint in _HINTS.items() if word in text), "")
