"""Words for process trees, read from /proc: who is whose parent, who lives, who is called what."""

from __future__ import annotations

import os
from pathlib import Path


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


def descriptors(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
