"""Folders that earlier builds have made, by the digest of what they were made of.

Taking one costs a link a file. Blocks; knows nothing of package managers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

#: So many results are kept, those that were used last.
KEPT_RESULTS = 20


class KeptResults:
    """The results of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, key: str, target: Path) -> bool:
        """Put a kept result in its place; tell whether there was one.

        A link that the tree has there, which could lead anywhere, is not followed.
        """
        source = self._folder / key
        if not source.is_dir() or not _is_free(target):
            return False
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
        os.utime(source)
        return True

    def keep(self, key: str, made: Path) -> None:
        """Keep what a build has made."""
        if not made.is_dir() or os.path.realpath(made) != os.path.abspath(made):
            return  # a link, here or on the way here, may lead anywhere
        draft = self._folder / ".new"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(made, draft, symlinks=True, copy_function=_link)
        _take_over(draft)
        with contextlib.suppress(OSError):  # another build was faster
            os.rename(draft, self._folder / key)
        self._prune()

    def _prune(self) -> None:
        names = [name for name in os.listdir(self._folder) if not name.startswith(".")]
        names.sort(key=lambda name: -(self._folder / name).stat().st_mtime_ns)
        for name in names[KEPT_RESULTS:]:
            shutil.rmtree(self._folder / name, ignore_errors=True)


def _is_free(target: Path) -> bool:
    """Tell whether nothing is at the place, and no link on the way there from the tree."""
    if os.path.lexists(target):
        return False
    return os.path.realpath(target.parent) == os.path.abspath(target.parent)


def _link(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    del follow_symlinks
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # too many links, or another file system
        shutil.copy2(source, target, follow_symlinks=False)


def _take_over(folder: Path) -> None:
    """Have the files belong to the platform: no later build may write to them."""
    if os.geteuid() != 0:
        return
    for base, names, files in os.walk(folder):
        for path in (base, *(os.path.join(base, name) for name in (*names, *files))):
            os.lchown(path, 0, 0)
