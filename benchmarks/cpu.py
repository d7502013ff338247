"""Processor time of a process and everything below it, from /proc; and which cores it may use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """Return user and system time of a tree; time of reaped children counts with their parent."""
    table = _processes()
    return sum(sum(table[pid][1]) for pid in descendants(root, table)) * _TICK_S


def descendants(root: int, table: dict[int, tuple[int, list[int]]] | None = None) -> set[int]:
    """Return the process and all below it."""
    table = _processes() if table is None else table
    found = {root} & table.keys()
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


@contextmanager
def on_core(core: int, roots: Iterable[int]) -> Iterator[None]:
    """Keep these trees on one core; what they start meanwhile stays there, too."""
    before: dict[int, set[int]] = {}
    for thread in (t for root in roots for pid in descendants(root) for t in _threads(pid)):
        with suppress(OSError):  # it ended meanwhile
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, {core})
    try:
        yield
    finally:
        for thread, cores in before.items():
            with suppress(OSError):
                os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _processes() -> dict[int, tuple[int, list[int]]]:
    """Return pid -> (parent, [utime, stime, children's utime, children's stime])."""
    table: dict[int, tuple[int, list[int]]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        # The name in parentheses may hold blanks and parentheses of its own.
        fields = stat.rpartition(")")[2].split()
        table[int(folder.name)] = (int(fields[1]), [int(field) for field in fields[11:15]])
    return table
