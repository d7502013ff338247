"""A folder -> AppDefinition: every function and job in it, and everything that is wrong.

One bad function never stops the others. What did not change since the reading before is taken over
from it (`reading.py`), so that a reading costs as much as what is new. Reads files only; whether
the result may serve is decided by `deployments.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scheduler.app_settings import lookup
from scheduler.bundles import BundleMaker
from scheduler.conflicts import without_conflicts
from scheduler.file_index import Index, with_digests
from scheduler.file_scan import scan
from scheduler.function_manifest import FUNCTION_FILE, AppView, read_function
from scheduler.functions import AppDefinition, Bundle, Function, Job, Problem
from scheduler.host_manifest import HostManifest, read_host
from scheduler.isolation_fields import idle_keys
from scheduler.job_manifest import JobFolder, JobRoot, find_jobs, read_job
from scheduler.linked_folders import linked_folders
from scheduler.reading import Known, Reading, Source, Told

# Standard library modules that are loaded before user code, so that a file of the same name at the
# top of an app would never be the one that is imported.
_LOADED_FIRST = """
    abc ast asyncio atexit base64 binascii bisect builtins calendar codecs collections concurrent
    contextlib contextvars copy copyreg dataclasses datetime dis email encodings enum errno fnmatch
    functools genericpath hashlib heapq hmac html http importlib inspect io ipaddress itertools json
    keyword linecache locale logging math mimetypes opcode operator os pkgutil posix posixpath
    random re reprlib secrets select selectors shutil signal socket socketserver ssl stat string
    struct subprocess sys tempfile textwrap threading time token tokenize traceback types typing
    unicodedata urllib warnings weakref zipimport zlib
"""
LOADED_FIRST = frozenset(_LOADED_FIRST.split())
_V2_FILE = "function_app.py"


def read_app(
    root: Path,
    live_root: Path,
    *,
    settings: Mapping[str, str],
    extra_job_roots: Sequence[JobRoot] = (),
) -> AppDefinition:
    """Read the app in a folder, which may be the one that people edit (see `Source`)."""
    source = Source(
        root=root,
        live_root=live_root,
        settings=settings,
        extra_job_roots=extra_job_roots,
        index=with_digests(scan(root)),
    )
    return read_again(source, None).definition


def read_again(source: Source, earlier: Reading | None) -> Reading:
    """Read an app, or what of it differs from an earlier reading."""
    return _Reader(source, earlier).reading()


def function_folders(index: Index) -> list[str]:
    """Return the folders with a function.json, in the order in which routes are tried."""
    folders = [name for name in index.folders_in("") if f"{name}/{FUNCTION_FILE}" in index.entries]
    return sorted(folders, key=lambda name: (name.casefold(), name))


class _Reader:
    """One reading of one app."""

    def __init__(self, source: Source, earlier: Reading | None) -> None:
        self._source = source
        self._index = index = source.index
        self._host: HostManifest = read_host(source.root, source.settings)
        self._problems = [*index.problems, *self._host.problems]
        self._jobs = find_jobs(index, source.job_roots, self._problems)
        self._folders = function_folders(index)
        self._bundles = bundles = BundleMaker(
            source.root,
            index,
            functions=self._folders,
            jobs=[place.folder for place in self._jobs],
            environment=self._host.environment,
            isolation=self._host.isolation,
            homes=source.homes,
        )
        self._known = Known(earlier, index, self._host, bundles.shared, bundles.environment)

    def reading(self) -> Reading:
        told = self._functions()
        functions = without_conflicts(
            [one.function for one in told.values() if one.function is not None], self._problems
        )
        jobs = {place.folder: self._job(place) for place in self._jobs}
        self._problems += linked_folders(self._index, self._source.job_roots)
        self._warn_idle([*functions, *jobs.values()])
        self._warn_shadowing()
        definition = AppDefinition(
            digest=self._index.digest,
            root=self._source.root,
            host=self._host.host,
            functions=tuple(functions),
            jobs=tuple(jobs.values()),
            problems=tuple(self._problems),
        )
        return Reading(
            source=self._source,
            host=self._host,
            shared=self._bundles.shared,
            environment=self._bundles.environment,
            functions=told,
            jobs=jobs,
            definition=definition,
        )

    def _functions(self) -> dict[str, Told]:
        if not self._host.usable or self._is_v2():
            return {}
        if self._host.one_bundle:  # a change of one changes all
            shared = self._bundles.app()
            told = {folder: self._function(folder, shared) for folder in self._folders}
        else:
            told = {
                folder: self._known.function(folder)
                or self._function(folder, self._bundles.function(folder))
                for folder in self._folders
            }
        self._problems += (problem for one in told.values() for problem in one.problems)
        return told

    def _function(self, folder: str, bundle: Bundle) -> Told:
        problems: list[Problem] = []
        app = AppView(self._source.home_of(folder), self._index, self._host)
        return Told(read_function(app, folder, bundle, problems), tuple(problems))

    def _is_v2(self) -> bool:
        """Note that an app of the decorator model is not served; its function.json never counts."""
        name = lookup(self._source.settings, "PYTHON_SCRIPT_FILE_NAME") or _V2_FILE
        if name not in self._index.entries:
            return False
        told = (
            "the Python v2 programming model (decorators) is not served by this version; give each "
            "function a folder with a function.json and remove or rename this file"
        )
        self._problems.append(Problem(name, told))
        return True

    def _job(self, place: JobFolder) -> Job:
        return self._known.job(place) or read_job(
            self._source.home_of(place.folder),
            self._index,
            place,
            bundle=self._bundles.job(place.name, place.folder),
            app=self._host,
            problems=self._problems,
        )

    def _warn_idle(self, users: Sequence[Function | Job]) -> None:
        """Tell of keys in host.json that none of those whose default they are makes use of."""
        for name, problem in self._host.idle.items():
            if all(
                name in idle_keys(one.bundle.isolation, program=isinstance(one, Job))
                for one in users
            ):
                self._problems.append(problem)

    def _warn_shadowing(self) -> None:
        for name in self._shadowing():
            message = (
                f"has the name of a standard library module that is loaded first: "
                f"'import {name.removesuffix('.py')}' will not find it; rename it"
            )
            self._problems.append(Problem(name, message, warning=True))

    def _shadowing(self) -> list[str]:
        files = [
            name
            for name in self._index.files_in("")
            if name.endswith(".py") and name.removesuffix(".py") in LOADED_FIRST
        ]
        folders = [
            name
            for name in self._index.folders_in("")
            if name in LOADED_FIRST and name not in self._folders and self._has_python(name)
        ]
        return [*files, *folders]

    def _has_python(self, folder: str) -> bool:
        return any(name.endswith(".py") for name in self._index.files_in(folder))
