"""The file tree of a sandbox: a root of its own in which only what is listed exists, read-only.

Two steps, because sandboxes are made ahead: `prepare` builds what is the same for all (the system's
programs and libraries, devices, /proc) beside the host's tree, `finish` adds what one bundle sees
and leaves the host's tree for good. Runs as init, with CAP_SYS_ADMIN in its mount namespace.
A source that is missing is an error that names it, never passed over (sandbox.md T3).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Any, Final

_libc: Final = ctypes.CDLL(None, use_errno=True)

_RDONLY: Final = 1
_NOSUID: Final = 2
_NODEV: Final = 4
_NOEXEC: Final = 8
_BIND: Final = 4096
_REC: Final = 16384
_PRIVATE: Final = 1 << 18
_REMOUNT: Final = 32
_DETACH: Final = 2

_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_ATTR_RDONLY_NOSUID_NODEV: Final = 1 | 2 | 4
_ATTR_NOSUID_NODEV: Final = 2 | 4

#: Where the host's tree and the new root are between the two steps.
_BASE: Final = "/tmp"  # noqa: S108  the one directory that every system has
_OLD: Final = "/old"
_NEW: Final = "/new"
_SPACE: Final = "/space"

#: The system's own trees; a link among them stays a link.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
#: Of /etc what programs need to run, name hosts, find time zones and trust certificates.
ETC: Final = frozenset({
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies",
    "debian_version", "dotnet", "ethertypes", "fonts", "gai.conf", "host.conf", "hostname",
    "hosts", "inputrc", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias",
    "locale.conf", "localtime", "magic", "magic.mime", "mime.types", "mono", "networks",
    "nsswitch.conf", "os-release", "perl", "php", "pki", "profile", "profile.d", "protocols",
    "resolv.conf", "rpc", "services", "shells", "ssl", "terminfo", "timezone", "xattr.conf",
})  # fmt: skip
_ETC_VERSIONED: Final = ("java", "python3")
DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_PROC_READ_ONLY: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_PROC_HIDDEN: Final = (
    "kcore", "keys", "key-users", "kmsg", "kallsyms", "timer_list", "sched_debug",
    "latency_stats", "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "slabinfo",
)  # fmt: skip
#: Private, writable, bounded together, gone with the sandbox: directories of one tmpfs.
SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
#: What they are made with ahead; sandbox/spec.py has the same numbers as defaults.
USUAL_BYTES: Final = 256 << 20
USUAL_FILES: Final = 65536


class StepError(OSError):
    """A step of the tree failed; the text names step, path and reason."""


def available() -> bool:
    """Tell whether this machine's system call numbers are known here."""
    return os.uname().machine in _SYS_PIVOT_ROOT


def prepare(extra: Sequence[str]) -> str:
    """Build what all sandboxes share; `extra` are further trees to show at their own paths.

    Returns what could not be had and is not needed: today only a reason why there is no /proc.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", _BASE, "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    for name in (_OLD, _NEW, _SPACE):
        os.mkdir(_BASE + name)
    _pivot(_BASE, _BASE + _OLD)
    os.chdir("/")
    _mount("tmpfs", _NEW, "tmpfs", _NOSUID | _NODEV, "mode=755,size=4m,nr_inodes=65536")
    show([path for path in SYSTEM if os.path.lexists(_OLD + path)])
    show(_of_etc())
    _make_devices()
    _make_scratch()
    # After the scratch folders, which would cover them: the platform itself may lie below /tmp.
    show([path for path in extra if os.path.lexists(_OLD + path)])
    return _make_proc()


def finish(spec: dict[str, Any]) -> None:
    """Show what this sandbox is for, and leave everything else behind.

    spec: "scratch" {"bytes", "files", "paths"}, "mounts" [[source, target, writable], ...],
    "uid", "home".
    """
    _fit_scratch(spec["scratch"], spec["uid"])
    _name_user(spec["uid"], spec["home"])
    for source, target, writable in sorted(spec["mounts"], key=lambda mount: str(mount[1])):
        _show(source, target, writable=writable)
    os.chdir(_NEW)
    _pivot(".", ".")
    if _libc.umount2(b".", _DETACH) != 0:
        raise _failed("umount", "the host's tree")
    os.chdir("/")
    _set_attributes("/", _ATTR_RDONLY_NOSUID_NODEV, recursive=False)


def show(paths: Iterable[str]) -> None:
    """Show trees of the host at their own paths, read-only."""
    for path in paths:
        _show(path, path, writable=False)


def renew_proc() -> None:
    """Mount the /proc of this pid namespace over the host's, in the host's tree."""
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)


def _of_etc() -> list[str]:
    names = os.listdir(f"{_OLD}/etc") if os.path.isdir(f"{_OLD}/etc") else []
    return [f"/etc/{name}" for name in names if name in ETC or name.startswith(_ETC_VERSIONED)]


def _show(source: str, target: str, *, writable: bool) -> None:
    outside, inside = _OLD + source, _NEW + target
    try:
        kind = os.lstat(outside).st_mode
    except OSError as error:
        raise StepError(error.errno, f"mount: {source}: {error.strerror}") from None
    if stat.S_ISLNK(kind) and not writable:
        _keep_link(outside, inside)
        return
    _make_target(inside, is_folder=os.path.isdir(outside))
    _mount(outside, inside, None, _BIND | _REC)
    attributes = _ATTR_NOSUID_NODEV if writable else _ATTR_RDONLY_NOSUID_NODEV
    _set_attributes(inside, attributes, recursive=True)


def _keep_link(outside: str, inside: str) -> None:
    """Make the same link: bound, it would show what it points to, wherever that is."""
    link = os.readlink(outside)
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    # A system's /etc/localtime or /etc/resolv.conf points to what is not there inside.
    shown = _NEW + os.path.normpath(os.path.join(os.path.dirname(inside)[len(_NEW) :], link))
    if os.path.lexists(shown) or not os.path.dirname(inside).startswith(f"{_NEW}/etc"):
        if not os.path.lexists(inside):
            os.symlink(link, inside)
        return
    _make_target(inside, is_folder=False)
    _mount(_resolved(outside), inside, None, _BIND)
    _set_attributes(inside, _ATTR_RDONLY_NOSUID_NODEV, recursive=False)


def _resolved(path: str) -> str:
    """Follow a link of the host's tree as the host would: its "/" is our /old."""
    for _ in range(40):
        if not os.path.islink(path):
            return path
        link = os.readlink(path)
        base = _OLD if link.startswith("/") else os.path.dirname(path) + "/"
        path = os.path.normpath(base + link)
    raise StepError(40, f"mount: {path.removeprefix(_OLD)}: too many links")


def _make_target(inside: str, *, is_folder: bool) -> None:
    try:
        os.makedirs(inside if is_folder else os.path.dirname(inside), exist_ok=True)
        if not is_folder and not os.path.exists(inside):
            os.close(os.open(inside, os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
    except OSError as error:
        path = inside.removeprefix(_NEW)
        raise StepError(error.errno, f"mount: no place for {path}: {error.strerror}") from None


def _make_devices() -> None:
    os.mkdir(f"{_NEW}/dev")
    for name in DEVICES:
        if os.path.exists(f"{_OLD}/dev/{name}"):
            _make_target(f"{_NEW}/dev/{name}", is_folder=False)
            _mount(f"{_OLD}/dev/{name}", f"{_NEW}/dev/{name}", None, _BIND)
    for name, link in _DEV_LINKS.items():
        os.symlink(link, f"{_NEW}/dev/{name}")


def _make_proc() -> str:
    """Mount this pid namespace's own /proc; without it if the kernel forbids (in a container).

    The host's /proc is never shown instead: it tells of all processes.
    """
    os.mkdir(f"{_NEW}/proc")
    try:
        _mount("proc", f"{_NEW}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError as error:
        return (
            f"no /proc inside: {error.strerror}: the container hides parts of its own; "
            "run it with --security-opt systempaths=unconfined"
        )
    for name in _PROC_READ_ONLY:
        path = f"{_NEW}/proc/{name}"
        if os.path.exists(path):
            _mount(path, path, None, _BIND | _REC)
            _set_attributes(path, _ATTR_RDONLY_NOSUID_NODEV, recursive=True)
    for name in _PROC_HIDDEN:
        if os.path.exists(f"{_NEW}/proc/{name}"):
            _mount(f"{_OLD}/dev/null", f"{_NEW}/proc/{name}", None, _BIND)
    return ""


def _make_scratch() -> None:
    """Make the folders that every sandbox has, of the usual size."""
    options = f"mode=755,size={USUAL_BYTES},nr_inodes={USUAL_FILES}"
    _mount("tmpfs", _SPACE, "tmpfs", _NOSUID | _NODEV, options)
    for target in SCRATCH:
        folder = f"{_SPACE}/{target.replace('/', '-')}"
        os.mkdir(folder)
        os.chmod(folder, 0o1777)  # noqa: S103  as every /tmp
        _make_target(_NEW + target, is_folder=True)
        _mount(folder, _NEW + target, None, _BIND)


def _fit_scratch(scratch: dict[str, Any], uid: int) -> None:
    """Add the folders of this sandbox, and change the size if it is not the usual one."""
    if (scratch["bytes"], scratch["files"]) != (USUAL_BYTES, USUAL_FILES):
        options = f"size={scratch['bytes']},nr_inodes={scratch['files']}"
        _mount(None, _SPACE, None, _REMOUNT | _NOSUID | _NODEV, options)
    for number, target in enumerate(scratch["paths"]):
        folder = f"{_SPACE}/{number}"
        os.mkdir(folder)
        if uid:
            os.chown(folder, uid, uid)
        _make_target(_NEW + target, is_folder=True)
        _mount(folder, _NEW + target, None, _BIND)


def _name_user(uid: int, home: str) -> None:
    """Give the sandbox's user a name, so that programs that ask who they are get an answer."""
    uid, gid = (uid, uid) if uid else (os.geteuid(), os.getegid())
    os.makedirs(f"{_NEW}/etc", exist_ok=True)
    nobody = "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    for name, text in {
        "passwd": f"root:x:0:0:root:/:/bin/sh\n{nobody}taak:x:{uid}:{gid}:taak:{home}:/bin/sh\n",
        "group": f"root:x:0:\nnogroup:x:65534:\ntaak:x:{gid}:\n",
    }.items():
        fd = os.open(f"{_NEW}/etc/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(fd, text.encode())  # 300 bytes into memory: they are taken at once
        finally:
            os.close(fd)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str = ""
) -> None:
    code = _libc.mount(
        source.encode() if source else None,
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    if code != 0:
        raise _failed("mount", target)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    """Add mount attributes; below the path too if `recursive`."""
    wanted = _Attributes(attributes, 0, 0, 0)
    code = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        path.encode(),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )
    if code != 0:
        raise _failed("mount_setattr", path)


def _pivot(new: str, old: str) -> None:
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    if _libc.syscall(ctypes.c_long(number), new.encode(), old.encode()) != 0:
        raise _failed("pivot_root", new)


def _failed(call: str, path: str) -> StepError:
    code = ctypes.get_errno()
    shown = path.removeprefix(_NEW).removeprefix(_OLD) or "/"
    return StepError(code, f"{call}({shown}): {os.strerror(code)}")
