"""Which files a program needs to run at all, beyond the system's own that every sandbox shows.

An interpreter that was installed by hand or by a version manager brings a tree of its own; so does
a virtual environment, which points to another one.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Final

from sandbox.spec import Mount

_SYSTEM: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
_PROGRAM_FOLDERS: Final = ("bin", "sbin", "shims", "libexec")


def program_mounts(program: str) -> list[Mount]:
    """Return what must be shown so that this program, given by its whole path, can start."""
    trees = {_tree(Path(path)) for path in _steps(program) if not path.startswith(_SYSTEM)}
    return [Mount.at(tree) for tree in sorted(trees)]


def _steps(program: str) -> list[str]:
    """Return the path and every link's target on the way to the file itself."""
    path, steps = os.path.abspath(program), [os.path.abspath(program)]
    while os.path.islink(path) and len(steps) < 40:
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        steps.append(path)
    return [*steps, os.path.realpath(path)]


def _tree(file: Path) -> Path:
    """Return the tree that a program was installed in; never somebody's whole home."""
    folder = file.parent
    prefix = folder.parent if folder.name in _PROGRAM_FOLDERS else folder
    if prefix == Path("/") or str(prefix) in _homes():
        return file if folder == prefix else folder
    return prefix


def _homes() -> set[str]:
    return {entry.pw_dir for entry in pwd.getpwall()} | {"/home", "/root", "/opt"}
