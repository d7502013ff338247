"""How much processor time a process and everything below it have used, from /proc.

Compared with an earlier value it tells whether a silent process still works.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class _Stat(NamedTuple):
    parent: int
    ticks: int


def tree_ticks(pid: int, *, proc: Path = _PROC) -> int | None:
    """Return the clock ticks used by the tree below and with `pid`; None if it is gone."""
    stats = dict(_all(proc))
    if pid not in stats:
        return None
    children: dict[int, list[int]] = {}
    for child, stat in stats.items():
        children.setdefault(stat.parent, []).append(child)
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        total += stats[process].ticks
        waiting += children.get(process, ())
    return total


def _all(proc: Path) -> Iterable[tuple[int, _Stat]]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            stat = _read(entry / "stat")
            if stat is not None:
                yield int(entry.name), stat


def _read(path: Path) -> _Stat | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None  # it ended while we looked
    # The second field is the name in parentheses and may hold anything, even ") ".
    fields = text.rpartition(")")[2].split()
    return _Stat(int(fields[1]), sum(int(ticks) for ticks in fields[11:15]))
