"""A /proc in a folder: processes with parents, memory and processor time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


class FakeProc:
    """Write the files that are read of a process; `lists_children` is a kernel's option."""

    def __init__(self, path: Path, *, lists_children: bool = True) -> None:
        self.path = path
        self._lists_children = lists_children
        if lists_children:
            (path / "thread-self").mkdir(parents=True)
            (path / "thread-self" / "children").write_text("")

    def process(
        self,
        pid: int,
        parent: int = 0,
        *,
        rss: int = 0,
        pss: int | None = None,
        ticks: tuple[int, int, int, int] = (0, 0, 0, 0),
        threads: tuple[int, ...] = (),
        by_thread: int = 0,
    ) -> None:
        """Add a process; its parent's thread `by_thread` (the first, if 0) has forked it."""
        folder = self.path / str(pid)
        for thread in (pid, *threads):
            (folder / "task" / str(thread)).mkdir(parents=True)
            if self._lists_children:
                (folder / "task" / str(thread) / "children").write_text("")
        after = " ".join(map(str, ticks))
        (folder / "stat").write_text(f"{pid} (a ) b) S {parent} 0 0 0 -1 0 0 0 0 0 {after} 20 0")
        self.memory(pid, rss=rss, pss=pss)
        if parent and self._lists_children:
            thread = by_thread or parent
            with (self.path / str(parent) / "task" / str(thread) / "children").open("a") as file:
                file.write(f"{pid} ")

    def memory(self, pid: int, *, rss: int, pss: int | None = None) -> None:
        """Set the memory of a process, in bytes; without PSS it is closed to us."""
        folder = self.path / str(pid)
        (folder / "statm").write_text(f"999999 {rss // PAGE} 1 1 0 1 0\n")
        (folder / "smaps_rollup").unlink(missing_ok=True)
        if pss is not None:
            lines = f"Rss: {rss // 1024} kB\nPss: {pss // 1024} kB\nPss_Anon: 1 kB\n"
            (folder / "smaps_rollup").write_text(f"5500-7ffd ---p 0 0 [rollup]\n{lines}")

    def end(self, pid: int) -> None:
        """Let a process be gone."""
        shutil.rmtree(self.path / str(pid))
