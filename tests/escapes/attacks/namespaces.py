"""Attacks by new name spaces and mounts, and by changing the root: how containers are left."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import tempfile
from functools import partial

from .facts import Facts
from .kernel_calls import Argument, libc, syscall
from .registry import Stopped, Way, attack, first_reached

_NEWTIME, _NEWNS, _NEWCGROUP = 0x80, 0x20000, 0x2000000
_NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x4000000, 0x8000000, 0x10000000, 0x20000000, 1 << 30
_MS_REMOUNT, _MS_BIND, _MNT_DETACH, _MNT_EXPIRE = 32, 4096, 2, 4
_OPEN_TREE_CLONE = 1
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000


@attack
def user_namespace(facts: Facts) -> str:
    """Become root in a user name space of one's own: the whole kernel then is within reach."""
    libc("unshare", _NEWUSER)
    return "unshare"


@attack
def user_namespace_by_clone(facts: Facts) -> str:
    """The same by clone()."""
    return _cloned(syscall("clone", _NEWUSER | signal.SIGCHLD, None, None, None, None))


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple((f"field{n}", ctypes.c_uint64) for n in range(11))


@attack
def user_namespace_by_clone3(facts: Facts) -> str:
    """The same by clone3(), whose arguments a filter cannot read."""
    arguments = _CloneArguments(_NEWUSER, 0, 0, 0, signal.SIGCHLD)
    return _cloned(syscall("clone3", arguments, ctypes.sizeof(arguments)))


def _cloned(pid: int) -> str:
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return f"child {pid}"


@attack
def mount_namespace(facts: Facts) -> str:
    """Make a mount name space, the first step to new mounts."""
    libc("unshare", _NEWNS)
    return "unshare"


@attack
def other_namespaces(facts: Facts) -> str:
    """Make a name space of another kind."""
    kinds = {
        "net": _NEWNET, "pid": _NEWPID, "ipc": _NEWIPC, "uts": _NEWUTS,
        "cgroup": _NEWCGROUP, "time": _NEWTIME,
    }  # fmt: skip
    return first_reached({name: partial(libc, "unshare", flag) for name, flag in kinds.items()})


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    libc("mount", source.encode(), target.encode(), kind.encode() if kind else None, flags, None)
    libc("umount2", target.encode(), _MNT_DETACH)


@attack
def mount(facts: Facts) -> str:
    """Mount a file system that shows more than there is."""
    target = tempfile.mkdtemp()
    kinds = ("tmpfs", "proc", "sysfs", "cgroup2", "devtmpfs", "mqueue", "overlay", "debugfs")
    return first_reached({kind: partial(_mount, "none", target, kind, 0) for kind in kinds})


@attack
def bind_mount(facts: Facts) -> str:
    """Mount the root a second time, without what covers parts of it."""
    target = tempfile.mkdtemp()
    _mount("/", target, None, _MS_BIND)
    return target


@attack
def mount_by_descriptors(facts: Facts) -> str:
    """Mount by the newer calls, which a filter may have forgotten."""
    ways: dict[str, Way] = {
        "fsopen": partial(syscall, "fsopen", b"tmpfs", 0),
        "open_tree": partial(syscall, "open_tree", _AT_FDCWD, b"/", _OPEN_TREE_CLONE),
        "mount_setattr": partial(_set_attributes),
    }
    return first_reached(ways)


def _set_attributes() -> None:
    nothing = ctypes.create_string_buffer(32)  # asked for nothing, the kernel still asks who asks
    root = os.open("/", os.O_RDONLY)
    syscall("mount_setattr", root, b"", _AT_EMPTY_PATH, nothing, 32)


@attack
def remount_writable(facts: Facts) -> str:
    """Make a mount writable that is for reading only."""
    own = (facts.files["code"], os.path.dirname(facts.files["code"]))
    ways = {t: partial(_remount, t) for t in (*own, "/usr", "/")}
    return first_reached(ways)


def _remount(target: str) -> None:
    arguments: tuple[Argument, ...] = (None, target.encode(), None, _MS_REMOUNT | _MS_BIND, None)
    libc("mount", *arguments)
    if not os.access(target, os.W_OK):
        raise Stopped(f"{target} is as it was")


@attack
def unmount(facts: Facts) -> str:
    """Uncover what lies below a mount: ask for the end of one that is in use."""
    try:
        libc("umount2", b"/proc", _MNT_EXPIRE)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EAGAIN):
            raise
    return "umount2"


@attack
def change_root(facts: Facts) -> str:
    """Change the root, from which one can climb out with a descriptor kept from before."""
    os.chroot(tempfile.mkdtemp())
    return "chroot"


@attack
def pivot_root(facts: Facts) -> str:
    """Exchange the root, with folders that cannot be exchanged."""
    folder = tempfile.mkdtemp().encode()
    try:
        syscall("pivot_root", folder, folder)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EINVAL):  # past the question who asks
            raise
    return "pivot_root"


@attack
def host_name(facts: Facts) -> str:
    """Set the name of the machine (to what it is)."""
    name = socket.gethostname()
    socket.sethostname(name)
    try:
        is_own = os.readlink("/proc/self/ns/uts") != facts.namespaces["uts"]
    except OSError:
        is_own = False
    if is_own:
        raise Stopped("the name is the sandbox's own")
    return name
