"""What this machine has and lacks, as far as users of the platform meet it.

Looks, never changes. `taak doctor` and the start screen show the same list.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

MIN_FREE_BYTES = 512 * 1024 * 1024
MIN_WATCHES = 8192

#: program -> (what of an app needs it, how to get it on Debian)
_PROGRAMS = {
    "bash": (".bash jobs", "apt-get install bash"),
    "php": (".php jobs", "apt-get install php-cli"),
    "node": (".js jobs", "apt-get install nodejs"),
    "java": (".jar jobs", "apt-get install default-jre-headless"),
    "pwsh": (".ps1 jobs", "install PowerShell 7 and put pwsh on the PATH"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `needed` tells a failure that stops the platform from one that limits it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def inspect_machine(home: Path) -> list[Check]:
    """Return everything that is looked at, good or bad."""
    programs = [_program(name, use, fix) for name, (use, fix) in _PROGRAMS.items()]
    return [_python(), _disk(home), _writable(home), _watches(), _namespaces(), *programs]


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in [path, *path.parents] if folder.exists())


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(_nearest_existing(home)).free
    detail = f"{free // (1024 * 1024)} MiB free at {home}"
    fix = f"free space, or move the home with --home; {MIN_FREE_BYTES >> 20} MiB is the least"
    return Check("disk", free >= MIN_FREE_BYTES, detail, fix)


def _writable(home: Path) -> Check:
    place = _nearest_existing(home)
    ok = os.access(place, os.W_OK | os.X_OK)
    detail = f"{place} is {'writable' if ok else 'not writable'}"
    return Check("home", ok, detail, "run as its owner, or choose another with --home")


def _watches() -> Check:
    limit = _number("/proc/sys/fs/inotify/max_user_watches")
    detail = f"{limit} directories can be watched" if limit else "the kernel does not say"
    fix = "sysctl fs.inotify.max_user_watches=524288; until then changes are seen by rescans"
    return Check("inotify", limit is None or limit >= MIN_WATCHES, detail, fix, needed=False)


def _namespaces() -> Check:
    limit = _number("/proc/sys/user/max_user_namespaces")
    ok = bool(limit) or os.geteuid() == 0
    detail = "namespaces can be made" if ok else "user namespaces are switched off"
    fix = "sysctl user.max_user_namespaces=15000, or run as root; else processes only"
    return Check("namespaces", ok, detail, fix, needed=False)


def _program(name: str, use: str, fix: str) -> Check:
    found = shutil.which(name)
    return Check(name, found is not None, found or f"not found; {use} need it", fix, needed=False)


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text("ascii"))
    except (OSError, ValueError):
        return None
