"""Where the cgroup file systems are mounted, and where our own process stands in each.

Formats: proc_pid_mountinfo(5) and cgroups(7). In a container a mount may show a part of the tree
only (its fourth field): our place is then what is left of our path below that part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """One mounted hierarchy.

    Attributes:
        version: 1 or 2.
        point: where it is mounted.
        controllers: what a v1 hierarchy controls; empty for v2, where each folder tells.
        own: the folder of our own cgroup; None when it lies outside of what is mounted.
    """

    version: int
    point: Path
    controllers: frozenset[str]
    own: Path | None


def cgroup_mounts(root: Path, own: Path, mounts: Path) -> list[CgroupMount]:
    """Return the hierarchies mounted at or below `root`; none if /proc does not say."""
    try:
        paths = _own_paths(own.read_text(encoding="utf-8", errors="surrogateescape"))
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = [_mount(line, paths) for line in lines]
    return [mount for mount in found if mount and mount.point.is_relative_to(root)]


def _own_paths(text: str) -> dict[str, str]:
    """Return our path by controller; v2 is the controller without a name."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mount(line: str, own_paths: dict[str, str]) -> CgroupMount | None:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if kind[0] == "cgroup2":
        version, controllers = 2, frozenset({""})
    elif kind[0] == "cgroup":
        version, controllers = 1, frozenset(kind[2].split(",")) & own_paths.keys()
    else:
        return None
    path = next((own_paths[name] for name in controllers if name in own_paths), None)
    point = Path(_plain(fields[4]))
    own = None if path is None else _inside(point, _plain(fields[3]), path)
    return CgroupMount(version, point, controllers - {""}, own)


def _inside(point: Path, shown: str, path: str) -> Path | None:
    if ".." in PurePosixPath(path).parts or not PurePosixPath(path).is_relative_to(shown):
        return None
    return point / PurePosixPath(path).relative_to(shown)


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
