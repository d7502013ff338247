"""The private copy in which a job runs, and the decision to make a new one (webjobs.md 1.4).

A job may change, lock or delete its own files; it does so in a copy, never in the release. The copy
is kept over runs as long as it still equals its source. All of this is blocking file work: callers
run it in a thread.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from scheduler.errors import SchedulerError
from scheduler.job_folders import random_name

_log = logging.getLogger("taak.jobs")

_MISSING = "exists in source directory but not in working directory."
_CHANGED = "timestamp differs between source and working directories."
_DELETED = "has been deleted."
_NAMED = 5
_LASTING = "debugged"
_ATTEMPTS = 3
_PAUSE_S = 0.25
_OWNER_ALL = stat.S_IRWXU


class CopyFailedError(SchedulerError):
    """The private copy could not be made; the run that needs it fails with this message."""


class WorkingCopy:
    """The copy of one job; one value for as long as the platform knows the job.

    Attributes:
        path: where the copy is; None before the first one.
    """

    def __init__(self, folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._sleep = sleep
        self._seen: frozenset[str] = frozenset()

    def prepare(self, source: Path, *, lasting: bool = False) -> tuple[Path, str]:
        """Return a copy that equals the source, and why it is a new one (empty if it is not).

        The first copy of a process is always made afresh: what an earlier one left is unknown.
        `lasting` gives every copy the same path, which a debugger's path mappings know.
        """
        files = file_times(source)
        if not files:
            raise CopyFailedError(f"{source} holds no files.")
        if self.path is None:
            self._remove_all()
            return self._copy(source, files, lasting=lasting), ""
        reason = self._difference(files, file_times(self.path))
        if not reason and (not lasting or self.path.name == _LASTING):
            return self.path, ""
        self._remove_all()
        return self._copy(source, files, lasting=lasting), reason

    def discard(self) -> None:
        """Remove the copy for good."""
        self.path = None
        self._remove_all()

    def _difference(self, source: dict[str, int], copy: dict[str, int]) -> str:
        """Say what differs, a line a file; files that only the copy has do not count.

        The words are Kudu's, which names the first file only: that one is often a mere touch.
        """
        found = [
            f"'{name}' {_MISSING if name not in copy else _CHANGED}"
            for name, modified in source.items()
            if copy.get(name) != modified
        ]
        return _told(
            [*found, *(f"'{name}' {_DELETED}" for name in sorted(self._seen - source.keys()))]
        )

    def _copy(self, source: Path, files: dict[str, int], *, lasting: bool) -> Path:
        for attempt in range(1, _ATTEMPTS + 1):
            # Not the lasting name again if it could not be had: what is there may not go away.
            name = _LASTING if lasting and attempt == 1 else random_name()
            target = self._folder / name
            try:
                _copy_tree(source, target)
            except OSError as error:
                shutil.rmtree(target, ignore_errors=True)
                if attempt == _ATTEMPTS:
                    raise CopyFailedError(f"{source} could not be copied: {error}") from error
                self._sleep(_PAUSE_S)
            else:
                break
        self.path, self._seen = target, frozenset(files)
        return target

    def _remove_all(self) -> None:
        if not self._folder.exists():
            return
        try:
            shutil.rmtree(self._folder)
        except OSError as error:
            _log.warning("an old private copy stays in %s: %s", self._folder, error)


class InPlace:
    """A job that runs in its own folder: nothing is copied, yet changes are told."""

    def __init__(self) -> None:
        self._seen: dict[str, int] | None = None

    def look(self, folder: Path) -> str:
        """Return what has changed since the last start; empty at the first."""
        seen, self._seen = self._seen, file_times(folder)
        if seen is None:
            return ""
        now = self._seen
        found = [
            f"'{name}' {'has been added.' if name not in seen else 'has been changed.'}"
            for name, modified in now.items()
            if seen.get(name) != modified
        ]
        return _told([*found, *(f"'{name}' {_DELETED}" for name in seen if name not in now)])


def _told(changes: list[str]) -> str:
    lines = [f"Job directory change detected: Job file {change}" for change in changes[:_NAMED]]
    if len(changes) > _NAMED:
        lines.append(f"Job directory change detected: {len(changes) - _NAMED} more files.")
    return "\n".join(lines)


def file_times(folder: Path) -> dict[str, int]:
    """Return each file below a folder with its last change; directories do not count."""
    times = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            try:
                times[os.path.relpath(path, folder)] = os.lstat(path).st_mtime_ns
            except FileNotFoundError:
                continue  # removed while we walked
    return dict(sorted(times.items()))


def _copy_tree(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except shutil.Error as error:
        # copytree collects; the first cause names the file.
        raise OSError(str(error.args[0][0][2]) if error.args and error.args[0] else "") from error
    for base, _, names in os.walk(target):
        # A release is read-only; the copy is the job's own.
        os.chmod(base, _OWNER_ALL | stat.S_IMODE(os.stat(base).st_mode))
        for name in names:
            path = os.path.join(base, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IRUSR | stat.S_IWUSR | stat.S_IMODE(mode))
