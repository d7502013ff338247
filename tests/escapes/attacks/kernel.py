"""Attacks on the kernel: doors that are wide, new or forgotten, and ways around a filter."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pty
import stat
from functools import partial
from itertools import islice

from .facts import Facts
from .kernel_calls import MACHINE, libc, syscall, syscall_number
from .registry import Stopped, Way, attack, first_reached

_TIOCSTI, _TIOCSETD = 0x5412, 0x5423
_READ_IMPLIES_EXEC = 0x0400000
_LOG_READ_ALL = 3
_LINES = (("SLIP", 1), ("PPP", 3), ("X25", 6), ("HDLC", 13), ("SLCAN", 17), ("GSM", 21))


@attack
def io_uring(facts: Facts) -> str:
    """Make system calls that no filter sees."""
    syscall("io_uring_setup", 1, ctypes.create_string_buffer(120))
    return "io_uring_setup"


class _MapAttributes(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 112),
    )


@attack
def bpf(facts: Facts) -> str:
    """Give the kernel memory for programs of one's own."""
    attributes = _MapAttributes(2, 4, 8, 1)
    syscall("bpf", 0, attributes, ctypes.sizeof(attributes))
    return "a map"


class _PerfAttributes(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("unused", ctypes.c_uint64 * 3),
        ("flags", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 64),
    )


@attack
def perf_events(facts: Facts) -> str:
    """Measure what the processor does."""
    exclude_kernel_and_hypervisor = 0b1100000
    attributes = _PerfAttributes(1, 112, 0)
    attributes.flags = exclude_kernel_and_hypervisor
    os.close(syscall("perf_event_open", attributes, 0, -1, -1, 0))
    return "a software event"


@attack
def userfaultfd(facts: Facts) -> str:
    """Hold up page faults, which makes races in the kernel easy to win."""
    user_mode_only = 1
    os.close(syscall("userfaultfd", user_mode_only | os.O_CLOEXEC))
    return "userfaultfd"


@attack
def personality(facts: Facts) -> str:
    """Ask for memory in which all data can be run."""
    libc("personality", _READ_IMPLIES_EXEC)
    return "READ_IMPLIES_EXEC"


@attack
def kernel_log(facts: Facts) -> str:
    """Read the kernel's log, which tells addresses and what others do."""
    buffer = ctypes.create_string_buffer(4096)
    length = libc("klogctl", _LOG_READ_ALL, buffer, 4096)
    return f"{length} bytes"


@attack
def kernel_memory(facts: Facts) -> str:
    """Read the kernel's memory, or where its functions lie in it."""
    ways: dict[str, Way] = {
        "/proc/kcore": partial(_first_bytes, "/proc/kcore"),
        "/proc/kmsg": partial(_opens_file, "/proc/kmsg"),
        "/proc/kallsyms": _addresses,
    }
    return first_reached(ways)


def _opens_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise Stopped(f"{path} is covered")


def _first_bytes(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        if not file.read(64):
            raise Stopped("empty")


def _addresses() -> None:
    with open("/proc/kallsyms", encoding="ascii") as file:
        if not any(line.split()[0].strip("0") for line in islice(file, 50)):
            raise Stopped("no address is told")


@attack
def type_on_terminal(facts: Facts) -> str:
    """Put words into a terminal that its owner's shell then reads as typed."""
    ways: dict[str, Way] = {
        f"descriptor {fd}": partial(fcntl.ioctl, fd, _TIOCSTI, b"\0") for fd in range(3)
    }
    ways["/dev/tty"] = partial(_type, "/dev/tty")
    ways[facts.terminal] = partial(_type, facts.terminal)
    return first_reached(ways)


def _type(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.ioctl(fd, _TIOCSTI, b"\0")
    finally:
        os.close(fd)


@attack
def line_discipline(facts: Facts) -> str:
    """Load a line discipline onto a terminal of one's own: kernel code that hardly anybody runs."""
    here, there = pty.openpty()
    ways = {n: partial(fcntl.ioctl, there, _TIOCSETD, bytes([k, 0, 0, 0])) for n, k in _LINES}
    try:
        return first_reached(ways)
    finally:
        os.close(here)
        os.close(there)


@attack
def read_terminal(facts: Facts) -> str:
    """Open a terminal of the host: what its owner types can then be taken."""
    os.close(os.open(facts.terminal, os.O_RDWR | os.O_NOCTTY))
    return facts.terminal


# --- around a filter ------------------------------------------------------------------------------


@attack
def x32_calls(facts: Facts) -> str:
    """Make a system call by the numbers of the x32 machine."""
    if MACHINE != "x86_64":
        raise Stopped("this machine has one kind of numbers")
    pid = syscall_number(0x40000000 + 39)
    if pid != os.getpid():
        raise Stopped(f"getpid() is {pid}")
    return "getpid"


# mov eax, ebx = 310, CLONE_NEWUSER (unshare of i386); int 0x80; ret
_I386_UNSHARE = bytes.fromhex("53 b8 36010000 bb 00000010 cd80 5b c3")


@attack
def i386_calls(facts: Facts) -> str:
    """Make a user name space by the gate of 32-bit programs, with its other numbers."""
    if MACHINE != "x86_64":
        raise Stopped("this machine has no such gate")
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as m:
        m.write(_I386_UNSHARE)
        code = ctypes.c_char.from_buffer(m)
        result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(code))()
        del code
    if result < 0:
        raise OSError(-result, f"unshare: {os.strerror(-result)}")
    return "unshare"
