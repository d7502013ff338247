"""Words for process trees, read from /proc: who is whose parent, who lives, who is called what.

Code in a sandbox has numbers of its own for its processes. They must never be signalled here: they
mean nothing, or somebody else. `address` is code that tells who runs it, `outside` finds it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: An expression for user code (import os): its process and sandbox, as `outside` understands them.
ADDRESS = "f\"{os.getpid()}@{os.stat('/proc/self/ns/pid').st_ino}\""


def children(pid: int) -> list[int]:
    """Return the direct children of a process, over all of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


def tree(pid: int) -> list[int]:
    """Return everything below a process."""
    found = children(pid)
    for child in list(found):
        found += tree(child)
    return found


def name(pid: int) -> str:
    """Return the short name of a process, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(_fields(pid)[1])


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return _fields(pid)[0] != "Z"
    except OSError:
        return False


def named(pid: int, wanted: str) -> list[int]:
    """Return the processes below `pid` with this name."""
    return [each for each in tree(pid) if name(each) == wanted]


def inside(pid: int) -> int:
    """Return the number that a process has in its own sandbox."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def room_of(pid: int) -> int:
    """Return what tells the sandbox of a process from all others that there are now."""
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def address(pid: int) -> str:
    """Return what user code that evaluates ADDRESS in this process tells."""
    return f"{inside(pid)}@{room_of(pid)}"


def outside(told: str) -> int:
    """Return the process that has told this ADDRESS of itself; LookupError if it is gone.

    All of the machine is looked at: a sandbox that has lost its launcher is below nobody of ours.
    """
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, StopIteration):
            if address(int(entry)) == told and alive(int(entry)):
                return int(entry)
    raise LookupError(f"no process is {told}")


def running(word: str) -> list[int]:
    """Return the living processes of the machine, in any sandbox, that have this argument."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            arguments = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if word.encode() in arguments and alive(int(entry)):
                found.append(int(entry))
    return found


def descriptors(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
