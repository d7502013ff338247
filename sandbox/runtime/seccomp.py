"""Seccomp: which system calls the calling thread, and all that it starts, may still make.

A list of refusals with looks at arguments, not a list of permissions: node, the JVM, php and what
users bring along would break on the latter. What is newer than the list is refused by its number.

How a call is answered:
  entered as another architecture   SIGSYS kills the process: 32-bit and x32 numbers mean others
  refused                           EPERM
  not checkable, or too new         ENOSYS, like an older kernel: libraries have another way
  protocols and flags of sockets    EPROTONOSUPPORT, EOPNOTSUPP, like a kernel without them
  all else                          allowed; set-group-id bits too, for folders that are shared

From Linux 5.11 on the kernel asks no filter about calls that are allowed whatever their arguments
are. It must be able to see that: only architecture and number are looked at before it is said.

An argument is a register of 64 bits, of which the kernel uses the low 32 when the parameter is an
int; then the filter must not look further either, or the high half would hide a refused value.
Strings and structures are out of a filter's sight: nothing is decided by them.

Contract: seccomp(2), `linux/seccomp.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from functools import cache
from typing import NoReturn

from .bpf import Code, any_bit, by_range, equal, keep, load, one_of, verdict
from .syscalls import ABSENT, CHECKED, MACHINES, NEWEST, NO_CALL, REFUSED, STRICT, Machine, Numbers

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2

_KILL_PROCESS = 0x8000_0000
_ERRNO = 0x0005_0000
_ALLOW = 0x7FFF_0000

# struct seccomp_data: number, architecture, instruction pointer, six arguments.
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16

_NEW_NAMESPACE = 0x7E02_0000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_HARMLESS_UNSHARE = 0x0005_0F00  # CLONE_{VM,FS,FILES,SIGHAND,THREAD,SYSVSEM}
_PERSONALITIES = (
    0xFFFF_FFFF,  # only asks
    0x0000_0000,  # PER_LINUX
    0x0004_0000,  # ADDR_NO_RANDOMIZE: `setarch -R`, debuggers, Lisps; weakens the caller alone
)
_TERMINAL_TRICKS = (
    0x5412,  # TIOCSTI types into the terminal for whoever reads it next
    0x541C,  # TIOCLINUX, the same through the console's selection
    0x5423,  # TIOCSETD loads line disciplines, kernel code that nobody else exercises
)
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0  # what getaddrinfo and getifaddrs ask
_SOCKET_KIND = 0xF
_STREAM_OR_DATAGRAM = (1, 2)
# 0, ICMP, TCP, UDP, ICMPv6. Not MPTCP (262) and SMC (256): they reach every plain TCP server, and
# Landlock's rules for TCP ports do not see them. Not SCTP, DCCP, L2TP: modules loaded on demand.
_PROTOCOLS = (0, 1, 6, 17, 58)
_TCP, _TCP_ULP = 6, 31  # makes TCP something else on the way: SMC, TLS in the kernel
_MSG_FASTOPEN = 0x2000_0000  # connects by sending, unseen by Landlock
_MAKES_FILE = 0x0040_0040  # O_CREAT | __O_TMPFILE, without which the kernel ignores the mode
_KINDS = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)  # of mknod; the others are devices

_OLD = "Linux 4.14 or newer, built with CONFIG_SECCOMP_FILTER, is needed"
_HINTS = {
    errno.ENOSYS: "the kernel has no seccomp, or a container's profile hides it",
    errno.EINVAL: _OLD,
    errno.EOPNOTSUPP: _OLD,
    errno.EPERM: "a container's profile forbids it: allow seccomp(2) there",
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def available() -> str:
    """Return "" if a filter can be installed here, else "STEP: ERROR: hint". Changes nothing."""
    try:
        machine = _machine(os.uname().machine)
        kill = struct.pack("=I", _KILL_PROCESS)
        _seccomp("SECCOMP_GET_ACTION_AVAIL", machine, _GET_ACTION_AVAIL, kill)
        try:
            _seccomp("SECCOMP_SET_MODE_FILTER", machine, _SET_MODE_FILTER, None)
        except OSError as error:
            # There is no program at no address: to say so is as far as it can get, and enough.
            if error.errno != errno.EFAULT:
                raise
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        return f"{error.filename}: {name}: {error.strerror}"
    return ""


def install(*, strict: bool = False) -> None:
    """Set no_new_privs, and filter the calls of this thread and of all that it starts, for good.

    strict: refuse also new sockets (except pairs) and starting programs.
    Raises OSError with the step; nothing is filtered then. A parent that called `program` before
    it forked saves the child the assembling.
    """
    machine = _machine(os.uname().machine)
    code = _assemble(machine, strict)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _fail("no_new_privs")
    memory = ctypes.create_string_buffer(code, len(code))
    order = struct.pack("HP", len(code) // 8, ctypes.addressof(memory))  # struct sock_fprog
    _seccomp("SECCOMP_SET_MODE_FILTER", machine, _SET_MODE_FILTER, order)


def program(machine: str, *, strict: bool = False) -> Code:
    """Return the filter for an architecture as `uname -m` names it.

    Raises OSError for an architecture that has no table.
    """
    return _assemble(_machine(machine), strict)


@cache
def _assemble(about: Machine, strict: bool) -> Code:
    ranges = {0: _allow, about.unused[0]: _absent, about.unused[1]: _allow, NEWEST + 1: _absent}
    if about.foreign:
        ranges |= {about.foreign: _kill, NO_CALL: _absent}
    for number, answer in _answers(about, strict=strict).items():
        ranges[number] = answer
        ranges.setdefault(number + 1, _allow)
    calls = load(_NUMBER, by_range(ranges))
    return load(_ARCHITECTURE, equal(about.audit, yes=calls, no=_kill))


def _answers(machine: Machine, *, strict: bool) -> dict[int, Code]:
    """Return the number of each call that is not simply allowed, and what is said to it."""
    checks = _checks()
    tables: list[tuple[dict[str, Numbers], Code | None]] = [
        *((calls, _refuse) for calls in REFUSED.values()),
        (ABSENT, _absent),
        (CHECKED, None),
    ]
    if strict:
        tables.append((STRICT, _refuse))
    return {
        number: answer or checks[name]
        for calls, answer in tables
        for name, numbers in calls.items()
        if (number := numbers[machine.column]) is not None
    }


def _checks() -> dict[str, Code]:
    """Return what is decided by arguments: the name of the call -> the decision."""
    return {
        # The low byte is a signal, the high half is nothing.
        "clone": _argument(0, any_bit(_NEW_NAMESPACE, yes=_refuse, no=_allow)),
        # Said the other way round than clone, whose flags are all given out: new ones come here.
        "unshare": _high_half(0, equal(0, yes=_unshare, no=_refuse)),
        "personality": _argument(0, one_of(_PERSONALITIES, yes=_allow, no=_refuse)),
        "prlimit64": _argument(0, equal(0, yes=_allow, no=_query)),
        "ioctl": _argument(1, one_of(_TERMINAL_TRICKS, yes=_refuse, no=_allow)),
        "socket": _argument(0, _socket()),
        "socketpair": _argument(0, equal(_UNIX, yes=_allow, no=_refuse)),
        "setsockopt": _argument(1, equal(_TCP, yes=_argument(2, _ulp), no=_allow)),
        "sendto": _argument(3, _fast_open),
        "sendmsg": _argument(2, _fast_open),
        "sendmmsg": _argument(3, _fast_open),
        "open": _argument(1, _creates(_argument(2, _mode))),
        "openat": _argument(2, _creates(_argument(3, _mode))),
        "creat": _argument(1, _mode),
        "mknod": _argument(1, _node),
        "mknodat": _argument(2, _node),
        "chmod": _argument(1, _mode),
        "fchmod": _argument(1, _mode),
        "fchmodat": _argument(2, _mode),
        "fchmodat2": _argument(2, _mode),
    }


def _argument(index: int, then: Code) -> Code:
    """Look at the low half of an argument: all of it for the kernel when it is an int."""
    return load(_ARGUMENTS + 8 * index, then)


def _high_half(index: int, then: Code) -> Code:
    return load(_ARGUMENTS + 8 * index + 4, then)


def _answer(code: int) -> Code:
    return verdict(_ERRNO | code)


def _creates(then: Code) -> Code:
    return any_bit(_MAKES_FILE, yes=then, no=_allow)


def _socket() -> Code:
    protocol = one_of(_PROTOCOLS, yes=_allow, no=_answer(errno.EPROTONOSUPPORT))
    kind = keep(_SOCKET_KIND, one_of(_STREAM_OR_DATAGRAM, yes=_argument(2, protocol), no=_refuse))
    route = _argument(2, equal(_NETLINK_ROUTE, yes=_allow, no=_refuse))
    others = equal(_NETLINK, yes=route, no=_refuse)
    inet = one_of((_INET, _INET6), yes=_argument(1, kind), no=others)
    return equal(_UNIX, yes=_allow, no=inet)


_allow = verdict(_ALLOW)
_kill = verdict(_KILL_PROCESS)
_refuse = _answer(errno.EPERM)
_absent = _answer(errno.ENOSYS)
_unshare = _argument(0, any_bit(0xFFFF_FFFF & ~_HARMLESS_UNSHARE, yes=_refuse, no=_allow))
_ulp = equal(_TCP_ULP, yes=_refuse, no=_allow)
# Limits of other processes may be read: a user could end all that run as the same user with them.
_null = _high_half(2, equal(0, yes=_allow, no=_refuse))
_query = _argument(2, equal(0, yes=_null, no=_refuse))
_fast_open = any_bit(_MSG_FASTOPEN, yes=_answer(errno.EOPNOTSUPP), no=_allow)
# A set-user-id file in a data folder gives the sandbox's user to whoever runs it on the host.
_mode = any_bit(stat.S_ISUID, yes=_refuse, no=_allow)
_node = any_bit(stat.S_ISUID, yes=_refuse, no=keep(0xF000, one_of(_KINDS, yes=_allow, no=_refuse)))


def _machine(name: str) -> Machine:
    if name not in MACHINES or sys.maxsize < 2**32:
        known = " and ".join(MACHINES)
        told = f"the calls of 64-bit {known} are known, not those of {name} as it is used here"
        raise OSError(errno.ENOEXEC, told, "seccomp architecture")
    return MACHINES[name]


def _seccomp(step: str, machine: Machine, operation: int, pointer: bytes | None) -> None:
    # As wide as a register each: plain ints would be passed as 32 bits.
    numbers = (ctypes.c_long(each) for each in (machine.seccomp, operation, 0))
    if _libc.syscall(*numbers, ctypes.c_char_p(pointer)) != 0:
        _fail(step)


def _fail(step: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, _HINTS.get(code, os.strerror(code)), step)
