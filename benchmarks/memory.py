"""Memory of processes from /proc, in bytes. Shared pages count by their share (PSS)."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def pss(pid: int) -> int:
    """Return the proportional set size; 0 when this user may not read it."""
    return _field(pid, "smaps_rollup", "Pss")


def rss(pid: int) -> int:
    """Return the resident set."""
    return _field(pid, "status", "VmRSS")


def peak_rss(pid: int) -> int:
    """Return the largest resident set since the last `forget_peak`."""
    return _field(pid, "status", "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak start again from what is resident now."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def available() -> int:
    """Return how much memory the machine can still give."""
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _field(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:  # it has ended, or belongs to somebody else
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
