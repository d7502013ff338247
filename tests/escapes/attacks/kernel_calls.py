"""System calls that Python has no words for, by ctypes."""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)

# Only calls without a wrapper in libc, or with one that is younger than the libc of this machine.
_NUMBERS = {
    "x86_64": {
        "add_key": 248, "bpf": 321, "clone": 56, "finit_module": 313, "getpid": 39,
        "init_module": 175, "delete_module": 176, "kcmp": 312, "kexec_load": 246, "keyctl": 250,
        "mq_open": 240, "mq_timedreceive": 243, "mq_timedsend": 242, "mq_unlink": 241,
        "perf_event_open": 298, "pivot_root": 155, "userfaultfd": 323,
    },
    "aarch64": {
        "add_key": 217, "bpf": 280, "clone": 220, "finit_module": 273, "getpid": 172,
        "init_module": 105, "delete_module": 106, "kcmp": 272, "kexec_load": 104, "keyctl": 219,
        "mq_open": 180, "mq_timedreceive": 183, "mq_timedsend": 182, "mq_unlink": 181,
        "perf_event_open": 241, "pivot_root": 41, "userfaultfd": 282,
    },
}  # fmt: skip
# From 424 on all machines agree.
_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
}  # fmt: skip

_RETURN_LONG = {"shmat", "msgrcv", "process_vm_readv", "process_vm_writev", "ptrace"}

MACHINE = os.uname().machine

Argument = int | bytes | None | ctypes.Array[ctypes.c_char] | ctypes.Structure


def syscall(name: str, *arguments: Argument) -> int:
    """Make a system call by its name.

    Raises:
        OSError: it failed, or has no number on this machine.
    """
    number = _COMMON.get(name) or _NUMBERS.get(MACHINE, {}).get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name} has no number here")
    return syscall_number(number, *arguments, name=name)


def syscall_number(number: int, *arguments: Argument, name: str = "") -> int:
    """Make a system call by its number; see `syscall`."""
    _libc.syscall.restype = ctypes.c_long
    return _checked(name or str(number), _libc.syscall(*map(_native, (number, *arguments))))


def libc(name: str, *arguments: Argument) -> int:
    """Call a function of libc that returns -1 and sets errno when it fails."""
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"libc has no {name}")
    # Read as long, the -1 of a function that returns int would be a large number.
    function.restype = ctypes.c_long if name in _RETURN_LONG else ctypes.c_int
    return _checked(name, function(*map(_native, arguments)))


def _checked(name: str, result: int) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _native(value: Argument) -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    return value  # bytes, None and arrays are pointers already


class IoVec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))
