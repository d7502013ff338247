"""Attacks by privileges: gained by programs or users, kept as capabilities, used on the machine."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import resource
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial

from .facts import Facts
from .kernel_calls import MACHINE, libc, syscall
from .registry import Stopped, Way, attack, first_reached


def _status(key: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(key + ":"):
                return line.split(":", 1)[1].strip()
    raise Stopped(f"/proc/self/status has no {key}")


# --- gained ---------------------------------------------------------------------------------------


@attack
def set_user_id_program(facts: Facts) -> str:
    """Gain root by a program that belongs to root and is set to run as its owner."""
    if _status("NoNewPrivs") == "0":
        return "new privileges are not forbidden"
    if not os.access(facts.files.get("suid", ""), os.X_OK):
        raise Stopped("new privileges are forbidden")
    done = subprocess.run([facts.files["suid"], "-u"], capture_output=True, check=False, text=True)
    if os.geteuid() == 0 or done.stdout.strip() != "0":
        raise Stopped(f"new privileges are forbidden; the program ran as {done.stdout.strip()}")
    return "ran as 0"


@attack
def set_user_id_file(facts: Facts) -> str:
    """Leave a program in the data folder that gives one's user to whoever starts it on the host."""
    fd, path = tempfile.mkstemp(dir=facts.files["data"])
    try:
        os.fchmod(fd, 0o4755)
        if not os.fstat(fd).st_mode & stat.S_ISUID:
            raise Stopped("the bit was dropped")
    finally:
        os.close(fd)
        os.unlink(path)
    return path


@attack
def become_root(facts: Facts) -> str:
    """Become another user."""
    ways: dict[str, Way] = {
        "setuid": partial(os.setresuid, 0, 0, 0),
        "setgid": partial(os.setresgid, 0, 0, 0),
        "setgroups": partial(os.setgroups, [0]),
    }
    if os.getuid() == 0 and _status("CapEff") == "0" * 16:
        del ways["setuid"], ways["setgid"]  # it is what we are already
    return first_reached(ways)


@attack
def host_root(facts: Facts) -> str:
    """Be the host's user 0: its processes and files then are one's own, name space or not."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        maps = [tuple(map(int, line.split())) for line in file]
    uid = os.getuid()
    outside = [o + uid - i for i, o, n in maps if i <= uid < i + n]
    if outside != [0]:
        raise Stopped(f"user {outside or 'of no number'} outside")
    return "user 0 outside"


# --- kept -----------------------------------------------------------------------------------------


@attack
def capabilities(facts: Facts) -> str:
    """Hold a capability."""
    held = [k for k in ("CapEff", "CapPrm", "CapInh", "CapAmb") if int(_status(k), 16)]
    if not held:
        raise Stopped("none")
    return ", ".join(f"{key} {_status(key)}" for key in held)


@attack
def capability_bounds(facts: Facts) -> str:
    """Be able to hold a capability later, by a program that carries it."""
    if not int(_status("CapBnd"), 16):
        raise Stopped("none")
    return f"CapBnd {_status('CapBnd')}"


# --- used -----------------------------------------------------------------------------------------


@attack
def device_node(facts: Facts) -> str:
    """Make a device file for a disk."""
    path = os.path.join(tempfile.mkdtemp(), "disk")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(8, 0))
    os.unlink(path)
    return path


@attack
def devices(facts: Facts) -> str:
    """Open a disk, the machine's memory, its log or its hypervisor."""
    paths = ["/dev/mem", "/dev/kmsg", "/dev/port", "/dev/kvm", "/dev/fuse", "/dev/net/tun"]
    for pattern in ("sd*", "vd*", "xvd*", "nvme*", "dm-*", "loop*", "vhost*", "hw_random"):
        paths += glob.glob(f"/dev/{pattern}")
    return first_reached({path: partial(_open, path) for path in paths})


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


@attack
def raise_limit(facts: Facts) -> str:
    """Raise a resource limit above the hard one."""
    kinds = {"open files": resource.RLIMIT_NOFILE, "processes": resource.RLIMIT_NPROC}
    kinds["core"] = resource.RLIMIT_CORE
    return first_reached({name: partial(_raise, kind) for name, kind in kinds.items()})


def _raise(kind: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY:
        raise Stopped("no limit is set")
    try:
        resource.setrlimit(kind, (hard + 1, hard + 1))
    except ValueError as error:  # what Python makes of EPERM
        raise Stopped(str(error)) from None


class _TimeZone(ctypes.Structure):
    _fields_ = (("minutes_west", ctypes.c_int), ("dst_time", ctypes.c_int))


@attack
def clock(facts: Facts) -> str:
    """Set the machine's clock: its time zone, to what it is."""
    zone = _TimeZone()
    libc("gettimeofday", None, zone)
    libc("settimeofday", None, zone)
    return "settimeofday"


def _past_the_question(call: Callable[[], object]) -> Callable[[], None]:
    """Make a call that must fail; only refusals on the ground of who asks count as stopped."""

    def ask() -> None:
        try:
            call()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                raise

    return ask


@attack
def load_module(facts: Facts) -> str:
    """Load code into the kernel (of which there is none in what is given)."""
    garbage = ctypes.create_string_buffer(64)
    ways = {
        "init_module": _past_the_question(partial(syscall, "init_module", garbage, 64, b"")),
        "finit_module": _past_the_question(partial(syscall, "finit_module", -1, b"", 0)),
        "delete_module": _past_the_question(partial(syscall, "delete_module", b"taak_none", 2048)),
    }
    return first_reached(ways)


@attack
def replace_kernel(facts: Facts) -> str:
    """Load another kernel (with flags that do not exist)."""
    call = partial(syscall, "kexec_load", None, 0, None, 0xFFFF)
    return first_reached({"kexec_load": _past_the_question(call)})


@attack
def administer(facts: Facts) -> str:
    """Use what only an administrator may, with arguments that lead to nothing."""
    ways: dict[str, Way] = {
        "reboot": _past_the_question(partial(libc, "reboot", 1)),
        "swapon": _past_the_question(partial(libc, "swapon", b"/nonexistent", 0)),
        "acct": _past_the_question(partial(libc, "acct", b"/nonexistent/file")),
        "fanotify": partial(libc, "fanotify_init", 0x4, os.O_RDONLY),
    }
    return first_reached(ways)


@attack
def ports_of_hardware(facts: Facts) -> str:
    """Talk to hardware directly."""
    if MACHINE != "x86_64":
        raise Stopped("this machine has no such ports")
    libc("ioperm", 0x80, 1, 1)
    return "ioperm"


@attack
def give_file_away(facts: Facts) -> str:
    """Make a file of one's own belong to another user of the host."""
    fd, path = tempfile.mkstemp(dir=facts.files["data"])
    try:
        os.fchown(fd, 12345, -1)
    finally:
        os.close(fd)
        os.unlink(path)
    return "12345"
