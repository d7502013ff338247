"""A folder -> AppDefinition: every function and job in it, and everything that is wrong.

One bad function never stops the others. Reads files only; whether the result may serve is decided
by `deployments.py`.
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
from scheduler.functions import AppDefinition, Function, Job, Problem
from scheduler.host_manifest import read_host
from scheduler.job_manifest import JobFolder, JobRoot, find_jobs, job_roots, read_job

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
    index: Index | None = None,
) -> AppDefinition:
    """Read the app in `root`.

    Args:
        root: what is read: a release, or the site itself for a mere check.
        live_root: the folder that people edit, of which `root` is a copy.
        settings: app settings; they win over local.settings.json.
        extra_job_roots: job folders from outside of the app, with their places in `root`.
        index: the files of `root`, with digests; left out, they are read.
    """
    index = index or with_digests(scan(root))
    return _Reader(root, live_root, settings, extra_job_roots, index).app()


class _Reader:
    """One reading of one app."""

    def __init__(
        self,
        root: Path,
        live_root: Path,
        settings: Mapping[str, str],
        extra_job_roots: Sequence[JobRoot],
        index: Index,
    ) -> None:
        self._root = root
        self._index = index
        self._host = read_host(root, settings)
        self._problems = [*index.problems, *self._host.problems]
        roots = [*job_roots(live_root, settings), *extra_job_roots]
        self._jobs = find_jobs(index, roots, self._problems)
        self._folders = self._function_folders()
        self._bundles = BundleMaker(
            root,
            index,
            functions=self._folders,
            jobs=[place.folder for place in self._jobs],
            environment=self._host.environment,
            isolation=self._host.isolation,
        )
        self._settings = settings

    def app(self) -> AppDefinition:
        functions = self._functions()
        jobs = [self._job(place) for place in self._jobs]
        self._warn_shadowing()
        return AppDefinition(
            digest=self._index.digest,
            root=self._root,
            host=self._host.host,
            functions=tuple(functions),
            jobs=tuple(jobs),
            problems=tuple(self._problems),
        )

    def _function_folders(self) -> list[str]:
        """Return the folders with a function.json, in the order in which routes are tried."""
        folders = [
            name
            for name in self._index.folders_in("")
            if f"{name}/{FUNCTION_FILE}" in self._index.entries
        ]
        return sorted(folders, key=lambda name: (name.casefold(), name))

    def _functions(self) -> list[Function]:
        if not self._host.usable or self._is_v2():
            return []
        app = AppView(self._root, self._index, self._host)
        shared = self._bundles.app() if self._host.one_bundle else None
        read = (
            read_function(app, folder, shared or self._bundles.function(folder), self._problems)
            for folder in self._folders
        )
        functions = [function for function in read if function is not None]
        return without_conflicts(functions, self._problems)

    def _is_v2(self) -> bool:
        """Note that an app of the decorator model is not served; its function.json never counts."""
        name = lookup(self._settings, "PYTHON_SCRIPT_FILE_NAME") or _V2_FILE
        if name not in self._index.entries:
            return False
        told = (
            "the Python v2 programming model (decorators) is not served by this version; give each "
            "function a folder with a function.json and remove or rename this file"
        )
        self._problems.append(Problem(name, told))
        return True

    def _job(self, place: JobFolder) -> Job:
        return read_job(
            self._root,
            self._index,
            place,
            bundle=self._bundles.job(place.name, place.folder),
            app=self._host,
            problems=self._problems,
        )

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
