"""Attacks on the memory of others: their variables, their stacks, their descriptors."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import partial

from .facts import Facts
from .kernel_calls import IoVec, libc, syscall
from .registry import Stopped, Way, attack, first_reached

_SEIZE = 0x4206
_KCMP_VM = 1
_MADV_COLD = 20


def _environ(facts: Facts, pid: int | str) -> str:
    with open(f"/proc/{pid}/environ", "rb") as file:
        if facts.secret.encode() + b"=" not in file.read():
            raise Stopped(f"no secret in /proc/{pid}/environ")
    return f"/proc/{pid}/environ"


@attack
def platform_environ(facts: Facts) -> str:
    """Read the environment of the platform and of what it has started."""
    pids = facts.pids.items()
    return first_reached({name: partial(_environ, facts, pid) for name, pid in pids})


@attack
def inherited_environ(facts: Facts) -> str:
    """Find the platform's secret in the start-up environment of any process that can be seen.

    A fork shows its ancestor's, whatever was taken out of `os.environ` since (sandbox.md T1).
    """
    pids = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    return first_reached({pid: partial(_environ, facts, pid) for pid in ("self", *pids)})


@attack
def platform_memory(facts: Facts) -> str:
    """Read the platform's memory with one call."""
    return _read_vm(facts).decode()


@attack
def write_platform_memory(facts: Facts) -> str:
    """Write to the platform's memory with one call: the same bytes that are there."""
    buffer = ctypes.create_string_buffer(facts.token.encode())
    _vm(facts, "process_vm_writev", buffer)
    return "process_vm_writev"


def _read_vm(facts: Facts) -> bytes:
    buffer = ctypes.create_string_buffer(len(facts.token) + 1)
    _vm(facts, "process_vm_readv", buffer)
    if buffer.value != facts.token.encode():
        raise Stopped("another process")
    return buffer.value


def _vm(facts: Facts, name: str, buffer: ctypes.Array[ctypes.c_char]) -> None:
    length = len(facts.token)
    here = IoVec(ctypes.addressof(buffer), length)
    there = IoVec(facts.memory, length)
    if libc(name, facts.pids["platform"], here, 1, there, 1, 0) != length:
        raise Stopped("nothing was moved")


@attack
def platform_memory_file(facts: Facts) -> str:
    """Read the platform's memory through /proc."""
    path = f"/proc/{facts.pids['platform']}/mem"
    with open(path, "rb", buffering=0) as file:
        if os.pread(file.fileno(), len(facts.token), facts.memory) != facts.token.encode():
            raise Stopped("another process")
    return path


def _seize(pid: int) -> None:
    libc("ptrace", _SEIZE, pid, 0, 0)  # the end of this process lets it go, undisturbed


@attack
def trace_platform(facts: Facts) -> str:
    """Trace a process of the platform."""
    ways = {n: partial(_seize, p) for n, p in facts.pids.items() if n != "sibling"}
    return first_reached(ways)


@attack
def trace_sibling(facts: Facts) -> str:
    """Trace a process in the sandbox of another function."""
    _seize(facts.pids["sibling"])
    return "sibling"


@attack
def sibling_environ(facts: Facts) -> str:
    """Read the settings of another function from its processes."""
    return _environ(facts, facts.pids["sibling"])


def _init() -> int:
    """Return the trusted root of the own sandbox: the ancestor that says so, else pid 1."""
    pid = os.getppid()
    while pid > 1:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            head, _, rest = file.read().rpartition(")")
        if head.endswith("(taak-init"):
            return pid
        pid = int(rest.split()[1])
    return 1


@attack
def trace_init(facts: Facts) -> str:
    """Take over the trusted process at the root of the own sandbox."""
    pid = _init()
    ways: dict[str, Way] = {"ptrace": partial(_seize, pid)}
    for name in ("mem", "environ", "maps"):
        ways[name] = partial(_first_byte, f"/proc/{pid}/{name}")
    return first_reached(ways)


def _first_byte(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        if not path.endswith("mem") and not file.read(1):
            raise Stopped(f"{path} is empty")


@attack
def platform_descriptor(facts: Facts) -> str:
    """Take a copy of a descriptor of the platform."""
    pidfd = os.pidfd_open(facts.pids["platform"])
    for number in range(16):
        try:
            os.close(syscall("pidfd_getfd", pidfd, number, 0))
        except OSError as error:
            if error.errno != errno.EBADF:  # else that number is free
                raise
        else:
            return f"descriptor {number}"
    raise Stopped("none of the first descriptors is open")


@attack
def compare_processes(facts: Facts) -> str:
    """Compare the platform with itself: who may do that may look into it."""
    pid = facts.pids["platform"]
    syscall("kcmp", pid, pid, _KCMP_VM, 0, 0)
    return "kcmp"


@attack
def page_out_platform(facts: Facts) -> str:
    """Give advice on the platform's memory, by which it can be paged out."""
    page = facts.memory & ~0xFFF
    vector = IoVec(page, 4096)
    pidfd = os.pidfd_open(facts.pids["platform"])
    syscall("process_madvise", pidfd, vector, 1, _MADV_COLD, 0)
    return "process_madvise"
