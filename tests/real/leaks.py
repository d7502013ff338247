"""Nothing may be left: what was there before a test, and must be all there is after it.

    with no_leaks():
        ...run and end sandboxes...

In the block, temporary files go to a folder of its own, so that others who use the machine do not
count. What is left may take a moment to go (a killed process until it is reaped, its mounts until
its name space ends): the check waits until all is as before, in bounds, and tells what is not.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from real.processes import name, tree

WAIT_S = 10.0
_PAUSE_S = 0.02
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Standing:
    """What stands at one moment.

    Attributes:
        processes: pids of everything below this process, zombies too.
        mounts: of this process's name space, by what is mounted where.
        cgroups: folders of ours with nobody in them. One with somebody in it is either told by
            its process, or another platform's on the same machine.
        files: in the folder for temporary files.
        descriptors: of this process, by number and what they are.
    """

    processes: frozenset[int]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    files: frozenset[str]
    descriptors: frozenset[str]

    @classmethod
    def now(cls) -> Standing:
        """Look around."""
        return cls(
            frozenset(tree(os.getpid())),
            frozenset(_mounts()),
            frozenset(_empty_cgroups()),
            frozenset(os.listdir(tempfile.gettempdir())),
            frozenset(_descriptors()),
        )

    def since(self, before: Standing) -> list[str]:
        """Return what has come since, in words."""
        kinds = {
            "process": {f"{pid} {name(pid)}" for pid in self.processes - before.processes},
            "mount": self.mounts - before.mounts,
            "cgroup": self.cgroups - before.cgroups,
            "temporary file": self.files - before.files,
            "descriptor": self.descriptors - before.descriptors,
        }
        return [f"{kind}: {each}" for kind, new in kinds.items() for each in sorted(new)]


def left_since(before: Standing) -> list[str]:
    """Wait until all is as before; return what is not, when the time is over."""
    deadline = time.monotonic() + WAIT_S
    while left := Standing.now().since(before):
        if time.monotonic() > deadline:
            return left
        time.sleep(_PAUSE_S)
    return []


@contextlib.contextmanager
def no_leaks() -> Iterator[None]:
    """Assert that leaving the block leaves nothing behind.

    Raises:
        AssertionError: naming each thing that was left.
    """
    with _own_temporary_files():
        before = Standing.now()
        yield
        left = left_since(before)
    assert not left, f"left after {WAIT_S} s:\n" + "\n".join(left)


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[None]:
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # a sandbox's user must come through
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _id, _parent, device, root, target, *_ = line.split()
        yield f"{target} ({device} {root})"


def _empty_cgroups() -> Iterator[str]:
    for own in _own_cgroups():
        for folder, _folders, _files in os.walk(own):
            if _is_ours(Path(folder).relative_to(own)) and not _inhabited(folder):
                yield folder


def _own_cgroups() -> Iterator[Path]:
    """Yield the cgroups that this process stands in: what is made, is made below."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in (controllers,) if controllers else ("unified", ""):
            own = _CGROUPS / mount / path.lstrip("/")
            if (own / "cgroup.procs").exists():
                yield own
                break


def _is_ours(path: Path) -> bool:
    """Tell whether a cgroup is a platform's: TAAK/INSTANCE/LEAF, but for the shared first part."""
    return len(path.parts) > 1 and path.parts[0] == "taak"


def _inhabited(folder: str) -> bool:
    """Tell whether anybody lives in a cgroup or below it."""
    for below, _folders, files in os.walk(folder):
        if "cgroup.procs" in files and Path(below, "cgroup.procs").read_text():
            return True
    return False


def _descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            yield f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}"
        except OSError:
            continue  # the one by which the folder was listed
