"""Capabilities, the user, and whether others may look inside: what a process is allowed to be.

Everything here is about the calling thread alone, so it belongs in a process that has one. As root
the order is `seal`, `change_user`, `drop`: the set-up of the user needs the capabilities, and
changing the user loses the one that `seal` needs. In a user namespace `drop` alone does it all.

Contract: capabilities(7), credentials(7) and prctl(2) of the Linux manual.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NoReturn

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28

#: Each securebit that counts, and whether it is on for good; the bit above it locks it.
_SECUREBITS = {
    1 << 0: True,  # NOROOT
    1 << 4: False,  # KEEP_CAPS
    1 << 6: True,  # NO_CAP_AMBIENT_RAISE
}

_VERSION_3 = 0x20080522
#: Of both 32-bit halves: effective, permitted, inheritable.
_SETS = struct.Struct("=6I")

_is_sealed = False
_libc = ctypes.CDLL(None, use_errno=True)


def current() -> int:
    """Return the effective capabilities as a mask, bit n for capability number n."""
    return _read()[0]


def seal() -> None:
    """Make it impossible that a later exec, as whatever user, gains a capability.

    What is locked and empty stays so, here and in every fork: a second time, nothing is asked of
    the kernel, which would be 80 calls.

    Raises OSError with the step: EPERM without CAP_SETPCAP, unless there is nothing left to do.
    """
    global _is_sealed
    if not _is_sealed:
        _lock_securebits()
        _empty_bounding()
        _is_sealed = True


def drop() -> None:
    """Give up every capability in all five sets, for good; nothing to do when there is none.

    Without any, the bounding set stays as it is when it may not be emptied: only no_new_privs then
    keeps a set-user-id program from what it names, so set that too, as is right in any case.

    Raises OSError with the step.
    """
    if _read()[1]:
        seal()
    _write_none()  # takes the ambient set along: it is never more than permitted and inheritable
    if any(_read()):
        raise OSError(errno.EPERM, "capabilities: some are left after the drop")


def change_user(uid: int) -> None:
    """Become this user and the group of the same number, with no further group and no way back.

    The process is not dumpable afterwards, and its parent's death signal is cleared: both are for
    the caller to set again.

    Raises OSError with the step, also when the identity is not what was asked for, and EINVAL for
    0 and below: a limit on processes does not hold for root, and -1 would mean "leave it".
    """
    step = "uid"
    try:
        if uid <= 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        # The user last: it takes the right to the other two away.
        step = "setgroups"
        os.setgroups([])
        step = "setresgid"
        os.setresgid(uid, uid, uid)
        step = "setresuid"
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise OSError(error.errno, f"{step}: {error.strerror}", str(uid)) from error
    if (os.getresuid(), os.getresgid(), os.getgroups()) != ((uid,) * 3, (uid,) * 3, []):
        raise OSError(errno.EPERM, "the user is another one after the change", str(uid))


def set_dumpable(on: bool) -> None:
    """Say whether others of the same user may trace this process and read its /proc files.

    It is also what makes a process's own /proc/self/environ and mem readable to it.
    """
    _prctl("dumpable", _PR_SET_DUMPABLE, int(on))


def _lock_securebits() -> None:
    """Lock what would give capabilities back; whoever locked a bit before us keeps his say.

    NOROOT is for uid 0, which a process that is root in its own user namespace still has: without
    it, whatever uid 0 executes starts with the whole bounding set. That set is emptied as well;
    this is the second lock on the same door, so that one mistake does not open it. The other two
    close the remaining ways to carry capabilities over a change of user and over an exec.
    """
    bits = wanted = _prctl("read the securebits", _PR_GET_SECUREBITS)
    for bit, on in _SECUREBITS.items():
        lock = bit << 1
        if not bits & lock:
            wanted = (wanted | bit if on else wanted & ~bit) | lock
    if wanted != bits:
        _prctl("lock the securebits", _PR_SET_SECUREBITS, wanted)


def _empty_bounding() -> None:
    for capability in range(64):
        try:
            held = _prctl("read the bounding set", _PR_CAPBSET_READ, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the kernel knows no more
                return
            raise
        if held:
            _prctl(f"drop {capability} of the bounding set", _PR_CAPBSET_DROP, capability)


def _read() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable sets."""
    sets = ctypes.create_string_buffer(_SETS.size)
    if _libc.capget(_header(), sets) != 0:
        _fail("read")
    low_e, low_p, low_i, high_e, high_p, high_i = _SETS.unpack(sets.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def _write_none() -> None:
    if _libc.capset(_header(), bytes(_SETS.size)) != 0:
        _fail("empty the sets")


def _header() -> ctypes.Array[ctypes.c_char]:
    """Return a header for the calling thread; the kernel writes to it when it knows better."""
    return ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0), 8)


def _prctl(step: str, option: int, *arguments: int) -> int:
    # The kernel refuses some options when an unused argument is not zero.
    wide = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(_libc.prctl(ctypes.c_int(option), *wide))
    if result < 0:
        _fail(step)
    return result


def _fail(step: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, f"capabilities: {step}: {os.strerror(code)}")
