"""Ending a process tree. Pid 1 of a pid namespace does it with one call that nothing escapes.

Without a pid namespace everything is stopped first, then killed: killing one process at a time
loses against a tree that forks (sandbox.md T6), but a stopped process cannot fork, so a scan that
finds nothing new has found all. The caller must be a subreaper then, or orphans would leave the
tree between two scans.
"""

from __future__ import annotations

import contextlib
import os
import signal

_ROUNDS = 1000  # a bound for the loop, far above what any tree needed


def children(pid: int) -> list[int]:
    """Return the direct children of a process, by the kernel's list or by a scan of /proc."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as listing:
                found.extend(int(child) for child in listing.read().split())
    except OSError:
        return _scan(pid)
    return found


def _scan(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry))
    return found


def descendants(pid: int) -> set[int]:
    """Return every process below `pid`, not `pid` itself."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children(todo.pop()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def signal_all(pids: set[int], number: int) -> None:
    """Send a signal to each; one that is gone is passed over."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def signal_below(number: int) -> None:
    """Send a signal to everything below the calling init."""
    if os.getpid() == 1:
        with contextlib.suppress(OSError):
            os.kill(-1, number)
    else:
        signal_all(descendants(os.getpid()), number)


def freeze(pid: int) -> set[int]:
    """Stop every process below `pid` until a scan finds no new one; return them."""
    stopped: set[int] = set()
    for _ in range(_ROUNDS):
        new = descendants(pid) - stopped
        if not new:
            break
        signal_all(new, signal.SIGSTOP)
        stopped |= new
    return stopped


def kill_under(pid: int) -> None:
    """Kill `pid` and everything below it."""
    signal_all({pid}, signal.SIGSTOP)
    signal_all(freeze(pid) | {pid}, signal.SIGKILL)


def kill_all() -> dict[int, int]:
    """Kill and reap everything below the calling process; return the wait statuses by pid."""
    statuses: dict[int, int] = {}
    for _ in range(_ROUNDS):
        if not _reap(statuses, os.WNOHANG):
            break  # nothing is below us: the usual case, found with one call
        if os.getpid() != 1:
            freeze(os.getpid())
        signal_below(signal.SIGKILL)
        while _reap(statuses, 0):
            pass
    return statuses


def _reap(statuses: dict[int, int], flags: int) -> bool:
    try:
        pid, status = os.waitpid(-1, flags)
    except ChildProcessError:
        return False
    if pid:
        statuses[pid] = status
    return True
