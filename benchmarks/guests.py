"""Finding a worker from outside: which process of the machine answered a call.

A process in a namespace of its own knows another pid than the machine does. It says that pid and
when it began; both together point to one process below the platform.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cpu import descendants

#: A function that answers who it is, for `worker`.
WHO = """
import os


def main(req):
    with open("/proc/self/stat") as file:
        return f"{os.getpid()} {file.read().rpartition(')')[2].split()[19]}"
"""


def worker(platform: int, answer: str) -> int:
    """Return the pid, as this machine counts, of the process below the platform that said so."""
    pid, began = answer.split()
    found = [other for other in descendants(platform) if _is(other, pid, began)]
    assert len(found) == 1, f"{answer!r} is {found} of the platform's processes"
    return found[0]


def _is(pid: int, inner: str, began: str) -> bool:
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return pids[-1] == inner and stat[19] == began
    return False
