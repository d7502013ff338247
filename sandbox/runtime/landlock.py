"""Landlock: which files, TCP ports, sockets and processes the calling process may still reach.

A ruleset is a list of what stays allowed; every right that the kernel can handle and that no rule
grants is refused from then on, in this process and in all that it starts, with or without
capabilities, and cannot be had back. What was open before stays usable.

Not seen by Landlock up to ABI 7, so left to other layers: UDP, which host a port is on, pathname
unix sockets, chmod/chown/stat, and three ways around the TCP rules, all measured: an MPTCP socket
(protocol 262), `MSG_FASTOPEN` in sendto and sendmsg, which connects without a connect, and
`listen` on a socket that was never bound, which takes a free port of the kernel's choice.

Contract: the kernel's own page on user-space Landlock, and its uapi header `linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence
from typing import NoReturn

#: The newest ABI that this file knows rights of; a newer kernel is used as if it were this one.
NEWEST = 7
#: What programs expect to be able to open in any tree.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

BIND_TCP = 1 << 0
CONNECT_TCP = 1 << 1

SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
SCOPE_SIGNAL = 1 << 1

#: The ABI that brought them -> rights.
_FILES_SINCE = {1: REFER - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
_TCP_SINCE = {4: BIND_TCP | CONNECT_TCP}
_SCOPES_SINCE = {6: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL}

_READ = EXECUTE | READ_FILE | READ_DIR
# Execute as well: a job may write a script to its /tmp and start it. Device nodes never: whoever
# makes one opens what it names, past every path rule.
_WRITE = ~(MAKE_CHAR | MAKE_BLOCK)
_DEVICE = READ_FILE | WRITE_FILE
#: The rights that mean something for what is no directory; the kernel refuses a rule with others.
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

# The same numbers on every architecture that Landlock's own headers name, x86_64 and aarch64 too.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def abi() -> int:
    """Return the kernel's Landlock ABI, 0 when it has none. Never raises."""
    try:
        return _version()
    except OSError:
        return 0


def restrict(
    *,
    read: Sequence[str],
    write: Sequence[str],
    connect: Sequence[int] | None,
    bind: Sequence[int] = (),
    look: Sequence[str] = (),
    devices: Sequence[str] = DEVICES,
) -> int:
    """Confine the calling thread, and all that it starts, to these; return the ABI that was used.

    read: files and directories to read and execute. write: the same, to do anything in but making
    device nodes. look: directories to list, with all below. devices: files to read and
    write. connect: the TCP ports that may be connected to, and then none but those of `bind` may
    be bound; None leaves TCP alone, for a network namespace of its own.

    What the used ABI lacks is not restricted: TCP below 4, device ioctls below 5, abstract sockets
    and signals to processes outside below 6. Below 2, renames across directories always fail.

    Raises OSError: ENOSYS or EOPNOTSUPP without Landlock; for a path, with its name; else with the
    step. Nothing is restricted then. Sets no_new_privs.
    """
    version = min(_version(), NEWEST)
    files, tcp, scopes = handled(version, tcp=connect is not None)
    attributes = struct.pack("=QQQ", files, tcp, scopes)  # an older kernel accepts zeros behind
    ruleset = _call("create ruleset", _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        every = ((read, _READ), (write, _WRITE), (look, READ_DIR), (devices, _DEVICE))
        for paths, rights in every:
            for path in paths:
                _allow_path(ruleset, path, rights & files)
        if tcp:
            for port in connect or ():
                _allow_port(ruleset, port, CONNECT_TCP)
            for port in bind:
                _allow_port(ruleset, port, BIND_TCP)
        _forbid_privileges()
        _call("restrict", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def handled(version: int, *, tcp: bool) -> tuple[int, int, int]:
    """Return what a ruleset of an ABI governs: rights on files, rights on TCP ports, scopes."""
    return (
        _until(version, _FILES_SINCE),
        _until(version, _TCP_SINCE) if tcp else 0,
        _until(version, _SCOPES_SINCE),
    )


def fitting(rights: int, mode: int) -> int:
    """Return those of the rights that can be given on a file of this st_mode."""
    return rights if stat.S_ISDIR(mode) else rights & _OF_A_FILE


def _until(version: int, since: dict[int, int]) -> int:
    return sum(rights for first, rights in since.items() if first <= version)


def _version() -> int:
    return _call("version", _CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", fitting(rights, os.fstat(fd).st_mode), fd)
        _call(path, _ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def _allow_port(ruleset: int, port: int, rights: int) -> None:
    rule = struct.pack("=QQ", rights, port)
    _call(f"port {port}", _ADD_RULE, ruleset, _RULE_NET_PORT, rule, 0)


def _forbid_privileges() -> None:
    """Without it, a set-user-id program would be confined by rules that it does not expect."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _fail("no_new_privs")


def _call(step: str, number: int, *arguments: int | bytes | None) -> int:
    # As wide as a register each: as plain ints they would be passed as 32 bits.
    wide = [
        ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each)
        for each in arguments
    ]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        _fail(step)
    return result


def _fail(step: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, f"landlock: {os.strerror(code)}", step)
