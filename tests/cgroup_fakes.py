"""A kernel's cgroups in a folder: the rules that matter to us, without a kernel or root."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from sandbox.cgroup_files import CgroupFiles
from sandbox.cgroups import Cgroups

V2_FILES = {
    "memory": {
        "memory.max": "max",
        "memory.swap.max": "max",
        "memory.oom.group": "0",
        "memory.current": "4096",
        "memory.peak": "8192",
        "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1",
    },
    "pids": {"pids.max": "max"},
    "cpu": {"cpu.max": "max 100000"},
}
V1_FILES = {
    "memory": {
        "memory.limit_in_bytes": str(1 << 60),
        "memory.memsw.limit_in_bytes": str(1 << 60),
        "memory.swappiness": "60",
        "memory.usage_in_bytes": "4096",
        "memory.max_usage_in_bytes": "8192",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
    },
    "pids": {"pids.max": "max"},
    "cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    "cpuacct": {"cpuacct.usage": "1500000000"},
}
DIVIDE = "cgroup.subtree_control"
GONE = 5_000_001  # above the most that a pid can be: a signal to it reaches nobody


class FakeKernel(CgroupFiles):
    """Mounted hierarchies below a folder, our process in each, and who may write where."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup root"  # a blank, as the kernel writes it in mountinfo
        self.root.mkdir()
        self.own = folder / "own"
        self.mounts = folder / "mounts"
        self.closed: dict[Path, int] = {}  # folder -> the error of every change below it
        self.holding: dict[Path, int] = {}  # folder -> how many removals are refused yet
        self.absent: set[str] = set()  # control files that this kernel does not have
        self.calls: list[tuple[str, str]] = []
        self._hierarchies: list[tuple[Path, frozenset[str]]] = []
        self._own_lines: list[str] = []
        self._mount_lines = ["1 0 0:1 / / rw - ext4 /dev/vda rw", "2 1 0:2 / /proc rw - proc x rw"]

    def mount(self, name: str, own: str, *controllers: str, shown: str = "/") -> Path:
        """Mount v2 (no name of a v1 file system has a dot) or v1; return our own folder."""
        point = self.root / name if name else self.root
        version2 = name in {"", "unified"}
        kind = "cgroup2 cgroup2 rw" if version2 else f"cgroup cgroup rw,{','.join(controllers)}"
        text = str(point).replace(" ", "\\040")
        number = len(self._hierarchies)
        self._mount_lines.append(f"{30 + number} 1 0:9 {shown} {text} rw shared:7 - {kind}")
        self._own_lines.append(
            f"0::{own}" if version2 else f"{number + 1}:{','.join(controllers)}:{own}"
        )
        self._hierarchies.append((point, frozenset() if version2 else frozenset(controllers)))
        self.own.write_text("\n".join(self._own_lines) + "\n")
        self.mounts.write_text("\n".join(self._mount_lines) + "\n")
        folder = point / own.removeprefix(shown).lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        self._fill(folder, frozenset(controllers) if version2 else None)
        self.put(folder, os.getpid())
        return folder

    def put(self, folder: Path, *pids: int) -> None:
        """Let processes stand in a folder."""
        now = (folder / "cgroup.procs").read_text().split()
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in [*now, *pids]))

    def discover(self, instance: str = "here") -> Cgroups:
        """Return what is found in this kernel."""
        return Cgroups.discover(
            instance, root=self.root, own=self.own, mounts=self.mounts, files=self
        )

    def read(self, path: Path) -> str:
        if path.name in self.absent:
            raise FileNotFoundError(errno.ENOENT, "absent", str(path))
        return super().read(path)

    def write(self, path: Path, text: str) -> None:
        self.calls.append((path.name, text))
        self._check(path)
        if path.name in self.absent:
            raise FileNotFoundError(errno.ENOENT, "absent", str(path))
        if path.name == DIVIDE:
            self._divide(path, text.removeprefix("+"))
        elif path.name == "cgroup.procs":
            self._leave(int(text))
            self.put(path.parent, int(text))
        elif path.name == "cgroup.kill":
            for procs in path.parent.rglob("cgroup.procs"):
                procs.write_text("")
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
            os.write(descriptor, text.encode())
            os.close(descriptor)

    def make(self, path: Path) -> None:
        self._check(path)
        super().make(path)
        above = path.parent / DIVIDE
        self._fill(path, frozenset(above.read_text().split()) if above.exists() else None)

    def remove(self, path: Path) -> None:
        self.calls.append(("remove", path.name))
        self._check(path)
        busy = self.below(path) or (path / "cgroup.procs").read_text().split()
        self.holding[path] = self.holding.get(path, 0) - 1
        if busy or self.holding[path] >= 0:
            raise OSError(errno.EBUSY, "busy", str(path))
        shutil.rmtree(path)

    def _divide(self, path: Path, controller: str) -> None:
        folder, hierarchy = path.parent, {point for point, _ in self._hierarchies}
        if controller not in (folder / "cgroup.controllers").read_text().split():
            raise FileNotFoundError(errno.ENOENT, "no such controller", str(path))
        if (folder / "cgroup.procs").read_text().split() and folder not in hierarchy:
            raise OSError(errno.EBUSY, "it holds processes", str(path))
        now = {*path.read_text().split(), controller}
        path.write_text(" ".join(sorted(now)))
        for below in self.below(folder):
            self._fill(below, frozenset(now))

    def _leave(self, pid: int) -> None:
        for procs in self.root.rglob("cgroup.procs"):
            if self._hierarchy(procs)[1] == frozenset():  # only v2 is needed exact
                kept = [each for each in procs.read_text().split() if int(each) != pid]
                procs.write_text("".join(f"{each}\n" for each in kept))

    def _hierarchy(self, path: Path) -> tuple[Path, frozenset[str]]:
        inside = [each for each in self._hierarchies if path.is_relative_to(each[0])]
        return max(inside, key=lambda each: len(each[0].parts))

    def _check(self, path: Path) -> None:
        for folder, number in self.closed.items():
            if path.is_relative_to(folder):
                raise OSError(number, os.strerror(number), str(path))

    def _fill(self, folder: Path, controllers: frozenset[str] | None) -> None:
        files = {"cgroup.procs": ""}
        if controllers is None:
            for controller in self._hierarchy(folder)[1]:
                files |= V1_FILES[controller]
        else:
            (folder / "cgroup.controllers").write_text(" ".join(sorted(controllers)))
            files |= {DIVIDE: "", "cgroup.kill": "", "cgroup.freeze": "0"}
            files |= {"cpu.stat": "usage_usec 2500000\nuser_usec 2000000"}
            for controller in controllers & V2_FILES.keys():
                files |= V2_FILES[controller]
        for name, text in files.items():
            if not (folder / name).exists():
                (folder / name).write_text(text)
