"""Attacks by plain paths: what belongs to others, and what is only to be read."""

from __future__ import annotations

import os
import tempfile
from functools import partial

from .facts import Facts
from .registry import Stopped, Way, attack, first_reached


def has_token(facts: Facts, path: str, flags: int = os.O_RDONLY) -> str:
    """Open the file and find the token in it: it is the host's, and no other of the same name."""
    fd = os.open(path, flags)
    try:
        if facts.token.encode() not in os.read(fd, 4096):
            raise Stopped(f"{path} is another file")
    finally:
        os.close(fd)
    return path


def _opens(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


# --- what belongs to others -----------------------------------------------------------------------


@attack
def etc_shadow(facts: Facts) -> str:
    """Read the password hashes of the machine."""
    with open("/etc/shadow", "rb") as file:
        if b"root:" not in file.read():
            raise Stopped("/etc/shadow is another file")
    return "/etc/shadow"


@attack
def other_function_code(facts: Facts) -> str:
    """Read the code of another function."""
    return has_token(facts, facts.files["other_code"])


@attack
def other_function_data(facts: Facts) -> str:
    """Open a file of another function's data folder, which anybody may write, for writing."""
    return has_token(facts, facts.files["other_data"], os.O_RDWR)


@attack
def platform_home(facts: Facts) -> str:
    """List the platform's home."""
    found = os.listdir(facts.files["home"])
    if "taak.db" not in found:
        raise Stopped(f"another folder: {found}")
    return ", ".join(sorted(found))


@attack
def keys_file(facts: Facts) -> str:
    """Read the platform's keys."""
    return has_token(facts, facts.files["keys"])


@attack
def store_file(facts: Facts) -> str:
    """Open the platform's store for writing."""
    return has_token(facts, facts.files["store"], os.O_RDWR)


@attack
def outside_folder(facts: Facts) -> str:
    """Make a file in a folder of the host that anybody may write."""
    folder = os.path.dirname(facts.files["canary"])
    has_token(facts, facts.files["canary"])
    fd, path = tempfile.mkstemp(dir=folder)
    os.close(fd)
    os.unlink(path)
    return path


@attack
def host_tmp(facts: Facts) -> str:
    """Open a file in the host's /tmp that anybody may write."""
    return has_token(facts, facts.files["tmp_canary"], os.O_RDWR)


@attack
def host_dev_shm(facts: Facts) -> str:
    """Open a file in the host's /dev/shm that anybody may write."""
    return has_token(facts, facts.files["shm_canary"], os.O_RDWR)


# --- what is only to be read ----------------------------------------------------------------------


@attack
def write_usr(facts: Facts) -> str:
    """Make a file among the machine's programs and libraries."""
    return first_reached(
        {folder: partial(_make_file, folder) for folder in ("/usr", "/usr/lib", "/etc", "/bin")}
    )


def _make_file(folder: str) -> None:
    fd, path = tempfile.mkstemp(dir=folder, prefix="taak-escape-")
    os.close(fd)
    os.unlink(path)


@attack
def write_own_code(facts: Facts) -> str:
    """Open the own code for writing: the next start would run something else."""
    _opens(facts.files["code"], os.O_WRONLY)
    return facts.files["code"]


@attack
def add_to_own_code(facts: Facts) -> str:
    """Make a file beside the own code, or beside its folder."""
    code = os.path.dirname(facts.files["code"])
    return first_reached({f: partial(_make_file, f) for f in (code, os.path.dirname(code))})


@attack
def replace_data_folder(facts: Facts) -> str:
    """Move the own data folder away: the platform would meet what is put in its place."""
    data = facts.files["data"]
    os.rename(data, data + "-moved")
    os.rename(data + "-moved", data)
    return data


@attack
def write_sys(facts: Facts) -> str:
    """Open a setting of the kernel in /sys for writing."""
    paths = (
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/module/printk/parameters/time",
        "/sys/kernel/profiling",
    )
    return first_reached({path: partial(_opens, path, os.O_WRONLY) for path in paths})


@attack
def write_proc_sys(facts: Facts) -> str:
    """Open a setting of the kernel in /proc/sys for writing."""
    names = ("core_pattern", "modprobe", "hostname", "ns_last_pid", "randomize_va_space")
    paths = [f"/proc/sys/kernel/{name}" for name in names]
    paths += ["/proc/sys/vm/overcommit_memory", "/proc/sys/fs/binfmt_misc/register"]
    return first_reached({path: partial(_opens, path, os.O_WRONLY) for path in paths})


@attack
def sysrq(facts: Facts) -> str:
    """Open the file by which the machine can be restarted."""
    _opens("/proc/sysrq-trigger", os.O_WRONLY)
    return "/proc/sysrq-trigger"


@attack
def cgroup_files(facts: Facts) -> str:
    """Open a file for writing that moves processes to another cgroup or sets its limits."""
    ways: dict[str, Way] = {}
    names = ("cgroup.procs", "tasks", "release_agent", "memory.max", "memory.limit_in_bytes")
    for folder, folders, files in os.walk("/sys/fs/cgroup"):
        if folder.count("/") > 6:
            folders.clear()
        for name in set(names) & set(files):
            path = os.path.join(folder, name)
            ways[path] = partial(_opens, path, os.O_WRONLY)
        if len(ways) > 100:
            break
    return first_reached(ways)
