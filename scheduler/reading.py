"""What a reading of an app depended on, so that the next one takes over what still holds.

A function says the same as long as its own folder, the app's shared files and the app's settings
do; a job needs only its folder and the settings. Reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.file_index import Index
from scheduler.functions import AppDefinition, Function, Job, Problem
from scheduler.host_manifest import HostManifest
from scheduler.job_manifest import JobFolder, JobRoot, job_roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is read.

    Attributes:
        root: a release, or the site itself for a mere check.
        live_root: the folder that people edit, of which `root` is a copy.
        settings: app settings; they win over local.settings.json.
        extra_job_roots: job folders from outside of the app, with their places in `root`.
        index: the files of `root`, with digests.
        homes: the roots of the folders that do not stand in `root` itself.
    """

    root: Path
    live_root: Path
    settings: Mapping[str, str]
    extra_job_roots: Sequence[JobRoot]
    index: Index
    homes: Mapping[str, Path] = field(default_factory=dict)

    @property
    def job_roots(self) -> list[JobRoot]:
        """Return where jobs are looked for; the first wins."""
        return [*job_roots(self.live_root, self.settings), *self.extra_job_roots]

    def home_of(self, folder: str) -> Path:
        """Return the root under which the folder of a function or job stands."""
        return self.homes.get(folder, self.root)


@dataclass(frozen=True, slots=True)
class Told:
    """What one function's folder says, and what is wrong in it."""

    function: Function | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading; `shared` is what all functions depend on, `environment` what all jobs do.

    `functions` and `jobs` are by their folders.
    """

    source: Source
    host: HostManifest
    shared: tuple[str, str]
    environment: str
    functions: Mapping[str, Told]
    jobs: Mapping[str, Job]
    definition: AppDefinition

    def adopted(self, definition: AppDefinition) -> Reading:
        """Return the reading with the objects of a definition that says the same."""
        functions = {
            function.directory: Told(function, self.functions[function.directory].problems)
            for function in definition.functions
            if function is not self.functions[function.directory].function
        }
        return replace(
            self,
            functions={**self.functions, **functions},
            jobs={job.directory: job for job in definition.jobs},
            definition=definition,
        )


class Known:
    """What of an earlier reading still holds for a new one."""

    def __init__(
        self,
        earlier: Reading | None,
        index: Index,
        host: HostManifest,
        shared: tuple[str, str],
        environment: str,
    ) -> None:
        self._functions: Mapping[str, Told] = {}
        self._jobs: Mapping[str, Job] = {}
        self._touched: set[str] = set()
        self._hurt: set[str] = set()
        if earlier is None or earlier.host != host:
            return
        self._touched = _with_above(index.content_changed_since(earlier.source.index))
        if earlier.shared == shared:
            self._functions = earlier.functions
        if earlier.environment == environment:
            self._jobs = earlier.jobs
            self._hurt = {problem.owner for problem in earlier.definition.problems}

    def function(self, folder: str) -> Told | None:
        """Return what a folder said, if it says so still."""
        told = self._functions.get(folder)
        if told is None or told.function is None or folder in self._touched:
            return None
        # A script elsewhere may have gone, or come.
        return told if told.function.script_file.startswith(f"{folder}/") else None

    def job(self, place: JobFolder) -> Job | None:
        """Return what a folder said, if it says so still; not if the machine may have mended it."""
        job = self._jobs.get(place.folder)
        if job is None or place.folder in self._touched or place.owner in self._hurt:
            return None
        return job


def _with_above(paths: frozenset[str]) -> set[str]:
    """Return the paths with all folders above them."""
    found: set[str] = set()
    for path in paths:
        above = path
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found
