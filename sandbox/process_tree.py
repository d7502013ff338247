"""Which processes belong to a sandbox, and the processor time they used, seen from outside.

In a pid namespace every orphan falls to the init, so what is below the init is everybody. The
walk is no snapshot: who changes parents while it runs may be missed once. That is enough to
measure; to kill, use the namespace or the cgroup.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
_MOST = 10_000  # a walk must end, also one through a tree that forks as fast as we read
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processes(top: int, *, proc: Path = PROC) -> list[int]:
    """Return `top` and every process below it, parents first; it may be gone when it is used."""
    direct = _children if _kernel_lists_children(proc) else _Parents(proc).children
    known, found = {top}, [top]
    for pid in found:  # it grows while it is read
        new = [child for child in direct(proc, pid) if child not in known]
        known.update(new)
        found += new
        if len(found) > _MOST:
            break
    return found


def cpu_seconds(pids: Iterable[int], *, proc: Path = PROC) -> float:
    """Return the processor time of processes and of their children that have ended.

    Over a whole sandbox (`processes` of its init) nothing is lost or counted twice, but for
    children whose parent ignores SIGCHLD: the kernel adds those to nobody.
    """
    return sum(_ticks(stat) for pid in pids if (stat := _stat(proc, pid))) / _TICKS_PER_S


@functools.cache
def _kernel_lists_children(proc: Path) -> bool:
    return (proc / "thread-self" / "children").exists()


def _children(proc: Path, pid: int) -> list[int]:
    found: list[int] = []
    folder = f"{proc}/{pid}/task"
    try:
        threads = os.listdir(folder)
    except OSError:
        return found  # it has ended
    for thread in threads:
        found += [int(child) for child in read_proc(f"{folder}/{thread}/children").split()]
    return found


class _Parents:
    """Who is below whom, from one pass over all processes: for kernels without the list."""

    def __init__(self, proc: Path) -> None:
        self._below: dict[int, list[int]] = {}
        for entry in os.listdir(proc):
            if entry.isdigit() and (stat := _stat(proc, int(entry))):
                self._below.setdefault(int(stat[1]), []).append(int(entry))

    def children(self, _proc: Path, pid: int) -> list[int]:
        return self._below.get(pid, [])


def _stat(proc: Path, pid: int) -> list[bytes]:
    # The second field is the name in parentheses and may hold anything, even ") ".
    return read_proc(f"{proc}/{pid}/stat").rpartition(b")")[2].split()


def _ticks(stat: list[bytes]) -> int:
    return sum(int(ticks) for ticks in stat[11:15])


def read_proc(path: str) -> bytes:
    """Return a file of /proc, b"" if it or its process is gone or closed to us."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall() or b""
    except OSError:
        return b""


def number_inside(pid: int, *, proc: Path = PROC) -> int:
    """Return the number of a process in its innermost pid namespace; 0 if it cannot be told."""
    for line in read_proc(f"{proc}/{pid}/status").splitlines():
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return 0
