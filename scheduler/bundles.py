"""Which files are isolated together, and the digest that tells whether a sandbox may be kept.

A bundle's digest covers every file that its code can see, and its environment. Two releases whose
bundles have one digest share the sandboxes. Knows nothing of workers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
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
    ) -> None:
        """Take the folders of the app's functions, and those that hold jobs, at any depth."""
        self._root = root
        self._index = index
        self._functions = frozenset(functions)
        self._jobs = tuple(f"{folder}/" for folder in jobs)
        self._environment = json.dumps([dict(environment), str(isolation)], sort_keys=True)
        self._isolation = isolation
        self._shared = digest_of(self._shared_files())
        self._shared_paths = tuple(self._seen_in(""))
        found = map(_PACKAGES.fullmatch, sorted(index.folders))
        self._packages = [(match["folder"] or "", match[0]) for match in found if match]

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
        return Bundle(name, BundleKind.JOB, digest, self._root, isolation=self._isolation)

    def _bundle(self, name: str, kind: BundleKind, digest: str, folders: tuple[str, ...]) -> Bundle:
        paths = tuple(path for folder in folders for path in self._package_paths(folder))
        tops = (*paths, *folders)
        return Bundle(
            name,
            kind,
            digest,
            self._root,
            own_packages=any(self._brings_preloaded(folder) for folder in tops),
            package_paths=paths,
            visible=(*(folder for folder in folders if folder), *self._shared_paths),
            isolation=self._isolation,
        )

    def _shared_files(self) -> Iterator[Entry]:
        """Yield what every function of the app can see besides its own folder."""
        for entry in self._index.below(""):
            top, slash, _ = entry.path.partition("/")
            if slash and (top in self._functions or entry.path.startswith(self._jobs)):
                continue
            # What these two say reaches a function as its environment and its definition.
            if entry.path not in PRIVATE_FILES:
                yield entry

    def _seen_in(self, folder: str) -> Iterator[str]:
        """Yield the fewest paths that hold the shared files and nothing else."""
        start = f"{folder}/" if folder else ""
        names = {*self._index.folders_in(folder), *self._index.files_in(folder)}
        for path in sorted(f"{start}{name}" for name in names):
            below = f"{path}/"
            if path in self._functions or path in PRIVATE_FILES or below in self._jobs:
                continue
            if any(job.startswith(below) for job in self._jobs):
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
