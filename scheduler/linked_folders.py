"""Functions and jobs whose folder is a symbolic link: they are no part of what is isolated.

A sandbox shows the folders of one function or job and nothing else, so a link would name a folder
that does not exist in it; followed, one folder would be two bundles with one set of files. So it is
refused in words. What leads out of the app is left out, and told, by the walk (`file_scan.py`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from scheduler.file_index import Index
from scheduler.function_manifest import FUNCTION_FILE
from scheduler.functions import Problem
from scheduler.job_manifest import JobRoot, kind_folders

_LINKS = 8  # that lead to links; the kernel ends at 40


def linked_folders(index: Index, roots: Sequence[JobRoot]) -> Iterator[Problem]:
    """Yield a problem for each link that stands where a function or job would."""
    for name, target in _links(index, ""):
        if f"{target}/{FUNCTION_FILE}" in index.entries:
            yield _problem(name, target, name, "a function")
    for root in roots:
        for folder, kind in kind_folders(index, root):
            for name, target in _links(index, folder):
                yield _problem(f"{folder}/{name}", target, f"{kind.value}/{name}", "a job")


def _links(index: Index, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the links directly in a folder that lead to a folder of the app, and where to."""
    for name in index.files_in(folder):
        path = posixpath.join(folder, name)
        for _ in range(_LINKS):
            entry = index.entries.get(path)
            if entry is None or not entry.link:
                break
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.link))
        if path in index.folders:
            yield name, path


def _problem(where: str, target: str, owner: str, what: str) -> Problem:
    told = (
        f"is a symbolic link to {target!r}, and the folder of {what} cannot be one: put the folder "
        "here, or a copy; what several share belongs into a folder of its own"
    )
    return Problem(where, told, owner=owner)
