"""Which files are isolated together, and the digest that tells whether a sandbox may be kept.

A bundle's digest covers every file that its code can see, and its environment. Two releases whose
bundles have one digest share the sandboxes. Knows nothing of workers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from scheduler.file_index import Entry, Index, digest_of
from scheduler.functions import Bundle, BundleKind
from scheduler.host_manifest import HOST_FILE, SETTINGS_FILE
from scheduler.isolation import Isolation

#: Name of the bundle of all functions of an app.
APP_BUNDLE = "app"
DISABLE_FILE = "disable.job"
#: Files of an app that its code never sees: what they say reaches it in other ways.
PRIVATE_FILES = frozenset({HOST_FILE, SETTINGS_FILE})

# An environment belongs to the app; a vendored folder may also be one function's own.
_PACKAGES = re.compile(
    r"(?P<folder>(?:[^/]+/)?)\.python_packages/lib/(?:python3\.\d+/)?site-packages"
    r"|(?:\.venv|venv|antenv)/lib/python3\.\d+/site-packages"
)
#: What our preloaded library consists of: an app that brings any of it never meets ours.
_PRELOADED = ("azure", "azure_functions", "werkzeug", "markupsafe")


class BundleMaker:
    """Makes the bundles of one release."""

    def __init__(
        self,
        root: Path,
        index: Index,
        *,
        functions: Iterable[str],
        jobs: Iterable[str],
        environment: Mapping[str, str],
        isolation: Isolation,
        homes: Mapping[str, Path] | None = None,
    ) -> None:
        """Take the folders of the app's functions, and those that hold jobs, at any depth.

        `homes` has the roots of folders that stand elsewhere than in `root`, each with the shared
        files beside it if it is a function's.
        """
        self._root = root
        self._homes = homes or {}
        self._index = index
        self._functions = frozenset(functions)
        self._jobs = frozenset(jobs)
        self._above_jobs = frozenset(folder for job in self._jobs for folder in _above(job))
        self._environment = json.dumps([dict(environment), str(isolation)], sort_keys=True)
        self._isolation = isolation
        self._shared_paths = tuple(self._seen_in(""))
        self._shared = digest_of(self._shared_files())
        candidates = (folder for folder in index.folders if folder.endswith("site-packages"))
        found = map(_PACKAGES.fullmatch, sorted(candidates))
        self._packages = [(match["folder"] or "", match[0]) for match in found if match]

    @property
    def shared(self) -> tuple[str, str]:
        """Return what the digest of every function depends on besides its own folder."""
        return (self._shared, self._environment)

    @property
    def environment(self) -> str:
        """Return what the digest of every job depends on besides its own folder."""
        return self._environment

    def function(self, folder: str) -> Bundle:
        """Return the bundle of one function: its folder and everything that is no function."""
        facts = (self._shared, self._environment)
        digest = digest_of(self._index.below(folder), "function", *facts)
        return self._bundle(folder, BundleKind.FUNCTION, digest, (folder, ""))

    def app(self) -> Bundle:
        """Return the one bundle of all functions."""
        files = (e for folder in sorted(self._functions) for e in self._index.below(folder))
        digest = digest_of(files, "app", self._shared, self._environment)
        return self._bundle(APP_BUNDLE, BundleKind.APP, digest, (*sorted(self._functions), ""))

    def job(self, name: str, folder: str) -> Bundle:
        """Return the bundle of a job: its folder, without the mark that only switches it off."""
        files = (e for e in self._index.below(folder) if not e.path.endswith(f"/{DISABLE_FILE}"))
        digest = digest_of(files, "job", self._environment)
        root = self._homes.get(folder, self._root)
        return Bundle(name, BundleKind.JOB, digest, root, isolation=self._isolation)

    def _bundle(self, name: str, kind: BundleKind, digest: str, folders: tuple[str, ...]) -> Bundle:
        paths = tuple(path for folder in folders for path in self._package_paths(folder))
        tops = (*paths, *folders)
        return Bundle(
            name,
            kind,
            digest,
            self._homes.get(name, self._root) if kind is BundleKind.FUNCTION else self._root,
            own_packages=any(self._brings_preloaded(folder) for folder in tops),
            package_paths=paths,
            visible=(*(folder for folder in folders if folder), *self._shared_paths),
            isolation=self._isolation,
        )

    def _shared_files(self) -> Iterator[Entry]:
        """Yield what every function of the app can see besides its own folder, in order."""
        return shared_files(self._index, self._functions, self._jobs)

    def _seen_in(self, folder: str) -> Iterator[str]:
        """Yield the fewest paths that hold the shared files and nothing else."""
        start = f"{folder}/" if folder else ""
        names = {*self._index.folders_in(folder), *self._index.files_in(folder)}
        for path in sorted(f"{start}{name}" for name in names):
            if path in self._functions or path in PRIVATE_FILES or path in self._jobs:
                continue
            if path in self._above_jobs:
                yield from self._seen_in(path)
            else:
                yield path

    def _package_paths(self, folder: str) -> list[str]:
        """Return the package folders directly in a folder, in the order in which they win."""
        start = f"{folder}/" if folder else ""
        return [path for owner, path in self._packages if owner == start]

    def _brings_preloaded(self, folder: str) -> bool:
        start = f"{folder}/" if folder else ""
        for name in _PRELOADED:
            if (
                f"{start}{name}" in self._index.folders
                or f"{start}{name}.py" in self._index.entries
            ):
                return True
        return False


def shared_files(
    index: Index, functions: Collection[str], jobs: Collection[str]
) -> Iterator[Entry]:
    """Yield the files that are of no function and no job, in the order of their paths."""
    for path in index.outside({*functions, *jobs}):
        # What these two say reaches a function as its environment and its definition.
        if path not in PRIVATE_FILES:
            yield index.entries[path]


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
