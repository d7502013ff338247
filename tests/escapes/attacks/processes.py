"""Attacks on processes of others that do not touch their memory: seeing, signalling, slowing."""

from __future__ import annotations

import os
import resource
from functools import partial

from .facts import Facts
from .kernel_calls import libc, syscall
from .registry import Stopped, attack, first_reached


@attack
def see_processes(facts: Facts) -> str:
    """Find processes of the host in /proc."""
    seen = [name for name, pid in facts.pids.items() if os.path.isdir(f"/proc/{pid}")]
    if not seen:
        raise Stopped(f"{len(os.listdir('/proc'))} entries, none of the host's processes")
    return ", ".join(seen)


@attack
def signal_platform(facts: Facts) -> str:
    """Signal a process of the platform (signal 0: what could be sent is not sent)."""
    ways = {n: partial(os.kill, p, 0) for n, p in facts.pids.items() if n != "sibling"}
    return first_reached(ways)


@attack
def signal_sibling(facts: Facts) -> str:
    """Signal a process in the sandbox of another function."""
    os.kill(facts.pids["sibling"], 0)
    return "sibling"


@attack
def signal_group(facts: Facts) -> str:
    """Signal a process group of the platform; a kill of everything goes the same way."""
    os.killpg(facts.pids["bait"], 0)
    return "bait"


@attack
def signal_by_pidfd(facts: Facts) -> str:
    """Signal a process of the host by a descriptor of it."""
    return first_reached({name: partial(_by_pidfd, pid) for name, pid in facts.pids.items()})


def _by_pidfd(pid: int) -> None:
    syscall("pidfd_send_signal", os.pidfd_open(pid), 0, None, 0)


@attack
def slow_down_platform(facts: Facts) -> str:
    """Set the priority of a process of the host (to what it is)."""
    return first_reached({name: partial(_renice, pid) for name, pid in facts.pids.items()})


def _renice(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


@attack
def pin_platform(facts: Facts) -> str:
    """Set the processors of a process of the host (to what they are)."""
    return first_reached({name: partial(_pin, pid) for name, pid in facts.pids.items()})


def _pin(pid: int) -> None:
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


@attack
def limits_of_platform(facts: Facts) -> str:
    """Set a resource limit of a process of the host (to what it is)."""
    return first_reached({name: partial(_limit, pid) for name, pid in facts.pids.items()})


def _limit(pid: int) -> None:
    old = resource.prlimit(pid, resource.RLIMIT_CORE)
    resource.prlimit(pid, resource.RLIMIT_CORE, old)


@attack
def enter_namespaces(facts: Facts) -> str:
    """Enter a name space of the host, by any process that is in it."""
    ways = {}
    for pid in (1, os.getppid(), *facts.pids.values()):
        for kind, link in facts.namespaces.items():
            path = f"/proc/{pid}/ns/{kind}"
            ways[path] = partial(_enter, path, link)
    return first_reached(ways)


def _enter(path: str, link: str) -> None:
    if os.readlink(path) != link:
        raise Stopped("it is not the host's")
    fd = os.open(path, os.O_RDONLY)
    try:
        libc("setns", fd, 0)
    finally:
        os.close(fd)


@attack
def protect_from_oom(facts: Facts) -> str:
    """Put others before oneself when memory runs out: lower the own score."""
    with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        file.write("-900")
    return "-900"
