"""Where sandboxes get their cgroups: found once at start, best first, and never by force.

Order: v2 if our own cgroup's subtree is ours to divide, then v1 for each controller that is left,
then none. Everything stands below our OWN cgroup, as `taak/INSTANCE/LEAF`: a limit that somebody
set around the platform holds for its sandboxes too, and nobody else's cgroup is touched. In a
hybrid layout, where v2 has no controllers, v1 limits and a v2 folder beside it kills and counts
processor time: both need no controller.

v2 lets a cgroup hold processes or divide its resources, not both. So the platform, which stands
in the cgroup that is to be divided, moves itself into `taak-platform` in it; only when it is
alone there, for nobody else's process is ours to move.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from sandbox.cgroup_files import CgroupFiles
from sandbox.cgroup_leaf import Leaf, Place
from sandbox.cgroup_mounts import CgroupMount, cgroup_mounts

CONTROLLERS = ("memory", "pids", "cpu")
_OURS = "taak"
_PLATFORM = "taak-platform"
_MAKE_TRIES = 5

_ROOT = "run as root, or start the machine with cgroup v2 only"
_DELEGATE = "run as a systemd unit with Delegate=yes (or systemd-run --scope -p Delegate=yes)"
_HINTS = {
    errno.EROFS: "the cgroup file system is read-only here: have the container mount it writable",
    errno.EBUSY: f"other processes share this cgroup: {_DELEGATE}",
}
_SAFE = re.compile(r"(?!tasks$|release_agent$|notify_on_release$)[A-Za-z0-9_-]{1,64}")


class Swept(NamedTuple):
    """What a sweep found: leaves that are gone now, and leaves that would not go."""

    removed: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The folders that leaves are made in.

    Attributes:
        kind: "v2" or "v1": who keeps the limits ("v2" also if it can only kill); "none".
        reason: why a limit is missing, as "WHAT: PATH: ERROR: hint"; "" if all are there.
        places: one for each hierarchy in use, v2 first.
    """

    kind: Literal["v2", "v1", "none"]
    reason: str
    places: tuple[Place, ...]
    files: CgroupFiles = field(default_factory=CgroupFiles, repr=False)

    @classmethod
    def discover(
        cls,
        instance: str,
        *,
        root: Path = Path("/sys/fs/cgroup"),
        own: Path = Path("/proc/self/cgroup"),
        mounts: Path = Path("/proc/self/mountinfo"),
        files: CgroupFiles | None = None,
    ) -> Cgroups:
        """Find and make our folders. Never raises; blocks for a millisecond or two.

        `instance` must be this platform's alone on this machine, for `sweep` kills what it finds
        below that name: the home that we hold the lock of belongs into it.
        """
        files = files or CgroupFiles()
        search = _Search(safe_name(instance), files)
        found = cgroup_mounts(root, own, mounts)
        for mount in sorted(found, key=lambda each: -each.version):
            search.take(mount)
        return cls(search.kind, search.reason(root), tuple(search.places), files)

    @property
    def controllers(self) -> frozenset[str]:
        """Return which of memory, pids and cpu can be limited."""
        return frozenset().union(*(place.controllers for place in self.places))

    def leaf(self, name: str) -> Leaf:
        """Make the cgroup of one sandbox; FileExistsError if there is one of this name.

        Any name will do; one that is no plain word gets a digest. Blocks for half a millisecond.
        """
        leaf = self._leaf(safe_name(name))
        leaf.make()
        return leaf

    def sweep(self, within_s: float = 2.0) -> Swept:
        """Kill and remove what an earlier platform of this instance left; call it at start.

        Blocks for up to `within_s` for each leaf whose processes will not end.
        """
        names = {path.name for place in self.places for path in self.files.below(place.path)}
        removed: list[str] = []
        left: list[str] = []
        for name in sorted(names):
            leaf = self._leaf(name)
            leaf.kill()
            (removed if leaf.remove(within_s) else left).append(name)
        return Swept(tuple(removed), tuple(left))

    def close(self) -> None:
        """Remove our own folders where they are empty; call it when all leaves are removed."""
        for place in self.places:
            for path in (place.path, place.path.parent):
                with contextlib.suppress(OSError):  # another instance's stands beside ours
                    self.files.remove(path)

    def _leaf(self, name: str) -> Leaf:
        return Leaf(name, tuple(place.below(name) for place in self.places), self.files)


def safe_name(text: str) -> str:
    """Return a text as the name of a cgroup: never a path, never one of the kernel's own files."""
    if _SAFE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', text)[:48]}-{digest}"


class _Search:
    """One discovery: takes what each hierarchy gives, and remembers why another gave nothing."""

    def __init__(self, instance: str, files: CgroupFiles) -> None:
        self._instance = instance
        self._files = files
        self._failures: dict[str, str] = {}
        self.places: list[Place] = []

    @property
    def kind(self) -> Literal["v2", "v1", "none"]:
        limiting = [place.version for place in self.places if place.controllers]
        version = next(iter(limiting or [place.version for place in self.places]), 0)
        return "v2" if version == 2 else "v1" if version == 1 else "none"

    def reason(self, root: Path) -> str:
        missing = [name for name in CONTROLLERS if name not in self._held()]
        if not missing:
            return ""
        why = self._failures.get(missing[0]) or f"{root}: ENOENT: no cgroups are mounted there"
        return f"{', '.join(missing)}: {why}"

    def take(self, mount: CgroupMount) -> None:
        """Use a mounted hierarchy for what is still missing, if it lets us."""
        missing = frozenset(CONTROLLERS) - self._held()
        wanted = missing if mount.version == 2 else missing & mount.controllers
        if not wanted or (mount.version == 2 and self.places):
            return  # nothing to win, or a second view of the one v2 tree
        if mount.own is None:
            self._fail(wanted, f"{mount.point}: ENOENT: our own cgroup is not visible there")
            return
        try:
            place = self._v2(mount.own, wanted) if mount.version == 2 else self._v1(mount, wanted)
        except OSError as error:
            self._fail(wanted, _told(error, mount.own, _DELEGATE if mount.version == 2 else _ROOT))
        else:
            self.places.append(place)

    def _v1(self, mount: CgroupMount, wanted: frozenset[str]) -> Place:
        assert mount.own is not None
        return Place(1, self._folder(mount.own), wanted)

    def _v2(self, own: Path, wanted: frozenset[str]) -> Place:
        # A platform that has moved before (a restart by exec) divides the same cgroup again.
        base = own.parent if own.name == _PLATFORM else own
        folder = self._folder(base)  # first: where this is refused, nothing is moved either
        given = wanted & set(self._files.read(base / "cgroup.controllers").split())
        self._fail(wanted - given, f"{base}/cgroup.controllers: ENOENT: {_DELEGATE}")
        for level in (base, folder.parent, folder):
            given = frozenset(name for name in sorted(given) if self._divides(level, name))
        return Place(2, folder, given)

    def _divides(self, level: Path, controller: str) -> bool:
        """Give a controller to the children of a cgroup; tell whether they have it."""
        switch = level / "cgroup.subtree_control"
        try:
            if controller not in self._files.read(switch).split():
                self._switch_on(switch, controller)
        except OSError as error:
            self._fail({controller}, _told(error, switch, _DELEGATE))
            return False
        return True

    def _switch_on(self, switch: Path, controller: str) -> None:
        try:
            self._files.write(switch, f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY or not self._moved_aside(switch.parent):
                raise
            self._files.write(switch, f"+{controller}")

    def _moved_aside(self, base: Path) -> bool:
        if self._files.read(base / "cgroup.procs").split() != [str(os.getpid())]:
            return False
        with contextlib.suppress(FileExistsError):
            self._files.make(base / _PLATFORM)
        self._files.write(base / _PLATFORM / "cgroup.procs", str(os.getpid()))
        return True

    def _folder(self, base: Path) -> Path:
        """Make `taak/INSTANCE`, again if another instance tidies `taak` away in between."""
        folder = base / _OURS / self._instance
        for _ in range(_MAKE_TRIES):
            with contextlib.suppress(FileExistsError):
                self._files.make(folder.parent)
            try:
                self._files.make(folder)
            except FileNotFoundError:
                continue
            except FileExistsError:
                pass
            return folder
        raise FileNotFoundError(errno.ENOENT, "it vanished again and again", str(folder))

    def _held(self) -> frozenset[str]:
        return frozenset().union(*(place.controllers for place in self.places))

    def _fail(self, controllers: frozenset[str] | set[str], why: str) -> None:
        self._failures.update(dict.fromkeys(controllers, why))  # the last tried is the way to go


def _told(error: OSError, path: Path, refused: str) -> str:
    number = error.errno or 0
    hint = refused if number in {errno.EACCES, errno.EPERM} else _HINTS.get(number, "")
    name = errno.errorcode.get(number, type(error).__name__)
    return f"{error.filename or path}: {name}: {hint or error.strerror}"
