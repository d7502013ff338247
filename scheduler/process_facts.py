"""What runs below the platform, and which of it belongs to a job: read from /proc, at this moment.

Kudu finds a job's processes by variables of their environment (webjobs.md 3.2), and so do we: who
forges them in a child of its own shows that child under another job's name, no more.
"""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sandbox.process_tree import PROC, processes, read_proc

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TAGS = (b"WEBSITE_ALWAYS_ON_JOB_RUNNING_NAME", b"WEBSITE_TRIGGERED_JOB_RUNNING_NAME")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """One process; `job` is (kind, name) of the job that it belongs to, None for others."""

    pid: int
    parent: int
    name: str
    command: str
    file_name: str
    user: str
    started_at: datetime
    user_s: float
    kernel_s: float
    threads: int
    resident_bytes: int
    virtual_bytes: int
    job: tuple[str, str] | None


def processes_below(top: int) -> list[ProcessFacts]:
    """Return a process and all below it, parents first; what ends meanwhile is left out."""
    booted = _booted_at()
    return [facts for pid in processes(top) if (facts := process_facts(pid, booted))]


def process_facts(pid: int, booted: float | None = None) -> ProcessFacts | None:
    """Return what is known of a process, None if it is gone."""
    head, _, rest = read_proc(f"{PROC}/{pid}/stat").rpartition(b")")
    stat = rest.split()
    if len(stat) < 22:
        return None
    started = (_booted_at() if booted is None else booted) + int(stat[19]) / _TICKS_PER_S
    return ProcessFacts(
        pid=pid,
        parent=int(stat[1]),
        name=head.partition(b"(")[2].decode("utf-8", "replace"),
        command=" ".join(_words(f"{PROC}/{pid}/cmdline")),
        file_name=_file_name(pid),
        user=_user(pid),
        started_at=datetime.fromtimestamp(started, UTC),
        user_s=int(stat[11]) / _TICKS_PER_S,
        kernel_s=int(stat[12]) / _TICKS_PER_S,
        threads=int(stat[17]),
        virtual_bytes=int(stat[20]),
        resident_bytes=int(stat[21]) * _PAGE_BYTES,
        job=_job(pid),
    )


def end_job_process(pid: int, *, top: int) -> bool:
    """Kill a job's process below `top` and everything below it; False if it is none.

    A number may be another process's by the time it is used: what is looked at is what is killed.
    """
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        tree = processes(top)
        if pid == top or pid not in tree or _job(pid) is None:
            return False
        below = [each for each in processes(pid) if each != pid]
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except ProcessLookupError:
        return False  # it has just ended
    finally:
        os.close(held)
    for each in below:
        _kill_orphan(each)
    return True


def _kill_orphan(pid: int) -> None:
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _job(pid) is not None:
            signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return
    finally:
        os.close(held)


def _job(pid: int) -> tuple[str, str] | None:
    found = dict(
        pair.split(b"=", 1)
        for pair in read_proc(f"{PROC}/{pid}/environ").split(b"\0")
        if b"=" in pair
    )
    if not any(tag in found for tag in _TAGS):
        return None
    kind, name = found.get(b"WEBJOBS_TYPE", b""), found.get(b"WEBJOBS_NAME", b"")
    return kind.decode("utf-8", "replace"), name.decode("utf-8", "replace")


def _words(path: str) -> Iterator[str]:
    for word in read_proc(path).split(b"\0"):
        if word:
            yield word.decode("utf-8", "replace")


def _file_name(pid: int) -> str:
    try:
        return os.readlink(f"{PROC}/{pid}/exe")
    except OSError:
        return ""


def _user(pid: int) -> str:
    try:
        uid = Path(f"{PROC}/{pid}").stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _booted_at() -> float:
    for line in read_proc(f"{PROC}/stat").splitlines():
        if line.startswith(b"btime "):
            return float(line.split()[1])
    return 0.0
