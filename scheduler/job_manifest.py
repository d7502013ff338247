"""A job folder -> Job (webjobs.md 1 and 2).

A job without a runnable script is a Job with an `error`, so that it is seen instead of vanishing.
settings.job is read as Kudu reads it: a value of the wrong type is ignored, with a warning here.
Knows nothing of runs.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.interpreters import ORDER
from scheduler.app_settings import MissingSettingError, expand, lookup
from scheduler.bundles import DISABLE_FILE
from scheduler.file_index import Index
from scheduler.functions import Bundle, Job, JobKind, Problem
from scheduler.host_manifest import HostManifest, read_zone
from scheduler.isolation_fields import ISOLATION_NAMES, read_isolation, warn_idle
from scheduler.job_interpreter import has_interpreter, lack
from scheduler.job_policy_fields import POLICY_NAMES, read_policy
from scheduler.lenient_json import Document, LenientJsonError, parse
from scheduler.log_fields import read_log_limits
from scheduler.manifest_fields import LIMIT_NAMES, Fields, shown
from scheduler.schedule import Schedule, ScheduleError, parse_job

SETTINGS_FILE = "settings.job"
#: Where the jobs that live outside of the app stand in a release; no app can have this folder.
RESERVED = ".taak"

_STOPPING_WAIT_S: Mapping[JobKind, float] = {JobKind.TRIGGERED: 30.0, JobKind.CONTINUOUS: 5.0}
_OWN_KEYS = ("environment", "time_zone", "restart_backoff", "python", "debug", "logs")
_TAAK_KEYS = (*_OWN_KEYS, *POLICY_NAMES, *ISOLATION_NAMES)
_ELSEWHERE = {
    "isolation": "each job has a sandbox of its own",
    **dict.fromkeys(LIMIT_NAMES, "it is for functions"),
}
_KINDS = {kind.value: kind for kind in JobKind}
_JSON_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class JobRoot:
    """A folder that has `triggered/` and `continuous/` in it.

    `folder` is its place in a release, `live` where people edit it.
    """

    folder: str
    live: Path


@dataclass(frozen=True, slots=True)
class JobFolder:
    """One job's folder: its place in a release, and what it is in where people edit it."""

    kind: JobKind
    name: str
    folder: str
    live_parent: Path

    @property
    def live(self) -> Path:
        """Return the folder that people edit."""
        return self.live_parent / self.name

    @property
    def owner(self) -> str:
        """Return the name under which problems of this job are known."""
        return f"{self.kind.value}/{self.name}"


def job_roots(site: Path, settings: Mapping[str, str]) -> list[JobRoot]:
    """Return where jobs are looked for inside the app; the first wins."""
    primary = _primary_root(site, settings)
    inside = [] if os.path.isabs(primary) else [primary]
    return [JobRoot(folder, site / folder) for folder in dict.fromkeys([*inside, "jobs"])]


def outer_job_roots(site: Path, home: Path, settings: Mapping[str, str]) -> list[JobRoot]:
    """Return where jobs are looked for outside of the app, and their places in a release."""
    primary = _primary_root(site, settings)
    live = [Path(primary)] if os.path.isabs(primary) else []
    live.append(home / "site" / "jobs")
    return [JobRoot(f"{RESERVED}/jobs/{number}", path) for number, path in enumerate(live)]


def _primary_root(site: Path, settings: Mapping[str, str]) -> str:
    """Return WEBJOBS_ROOT_PATH, or App_Data/jobs: relative if it is inside the app."""
    text = (lookup(settings, "WEBJOBS_ROOT_PATH") or "").strip()
    if not text:
        return "App_Data/jobs"
    with contextlib.suppress(MissingSettingError):
        text = expand(text, settings)
    if os.path.isdir(text) and os.path.isabs(text):
        absolute = os.path.normpath(text)
    else:
        absolute = os.path.normpath(site / text.strip("/"))
    inside = os.path.relpath(absolute, site)
    return absolute if inside.startswith("..") else inside


def kind_folders(index: Index, root: JobRoot) -> Iterator[tuple[str, JobKind]]:
    """Yield the folders of a root that hold jobs, and of which kind."""
    for name in index.folders_in(root.folder):
        if kind := _KINDS.get(name.casefold()):
            yield f"{root.folder}/{name}", kind


def find_jobs(index: Index, roots: list[JobRoot], problems: list[Problem]) -> list[JobFolder]:
    """Return the job folders below the roots; of two with one name the first root's wins."""
    found: dict[tuple[JobKind, str], JobFolder] = {}
    for root in roots:
        for parent, kind in kind_folders(index, root):
            live_parent = root.live / posixpath.basename(parent)
            for name in index.folders_in(parent):
                folder = f"{parent}/{name}"
                job = JobFolder(kind, name, folder, live_parent)
                first = found.setdefault((job.kind, name.casefold()), job)
                if first is not job:
                    message = f"is hidden by {first.folder}, which has the same name"
                    problems.append(Problem(folder, message, warning=True, owner=first.owner))
    return sorted(found.values(), key=lambda job: (job.kind.value, job.name.casefold()))


def read_job(
    root: Path,
    index: Index,
    place: JobFolder,
    *,
    bundle: Bundle,
    app: HostManifest,
    problems: list[Problem],
) -> Job:
    """Return the job that a folder defines."""
    inner = script_folder(index, place.folder)
    document = _settings_document(root, f"{inner}/{SETTINGS_FILE}", place.owner, problems)
    fields = Fields(document, document.value, problems, owner=place.owner)
    taak = fields.inner("taak", loose=True)
    taak.warn_unknown(_TAAK_KEYS, _ELSEWHERE)
    isolation = read_isolation(taak, bundle.isolation)
    warn_idle(taak, isolation, program=True)
    own = _Settings(document, place.owner, problems)
    script = choose_script(index.files_in(inner), has_interpreter)
    schedule, schedule_error = _schedule(own, place.kind, app, read_zone(taak, app.host.time_zone))
    error = "" if script else _no_script(place, inner)
    if error:
        problems.append(Problem(place.folder, error, owner=place.owner))
    job = Job(
        name=place.name,
        kind=place.kind,
        bundle=replace(bundle, isolation=isolation),
        directory=place.folder,
        live_folder=place.live,
        script=f"{inner}/{script}".removeprefix(f"{place.folder}/") if script else "",
        settings=own.values,
        schedule=schedule,
        schedule_error=schedule_error,
        is_singleton=own.read("is_singleton", bool, default=False),
        is_in_place=own.read("is_in_place", bool, default=script.casefold().endswith(".js")),
        stopping_wait_s=max(
            0.0, own.read("stopping_wait_time", int, default=_STOPPING_WAIT_S[place.kind])
        ),
        disabled=f"{inner}/{DISABLE_FILE}" in index.entries,
        error=error,
        environment={**app.environment, **taak.texts("environment")},
        policy=read_policy(taak, triggered=place.kind is JobKind.TRIGGERED),
        logs=read_log_limits(taak, app.host.logs),
    )
    _warn_types(taak)
    if job.script and (missing := lack(job, settings=app.host.settings)):
        where = f"{place.folder}/{job.script}"
        problems.append(Problem(where, missing, warning=True, owner=place.owner))
    return job


def _warn_types(taak: Fields) -> None:
    """Warn of values that are ignored because they are of another type."""
    for name, kind in (("restart_backoff", bool), ("python", str), ("debug", bool)):
        value = taak.raw(name)
        if value is not None and not isinstance(value, kind):
            told = f"must be {_JSON_WORDS[kind]}, not {shown(value)}; it is ignored"
            taak.complain(told, name, warning=True)


def script_folder(index: Index, folder: str) -> str:
    """Return the folder that counts: a lone folder in a folder is looked through."""
    while not index.files_in(folder):
        inner = index.folders_in(folder)
        if len(inner) != 1:
            break
        folder = f"{folder}/{inner[0]}"
    return folder


def choose_script(files: list[str], usable: Callable[[str], bool] = lambda _extension: True) -> str:
    """Return the entry script: `run.*` beats all, then the order of interpreters decides.

    What this machine has no interpreter for is passed over, unless there is nothing else: then the
    job's start tells what is missing.
    """
    by_extension: dict[str, list[str]] = {}
    for name in sorted(files, key=str.casefold):
        by_extension.setdefault(os.path.splitext(name)[1].casefold(), []).append(name)
    order = [extension for extension in ORDER if extension in by_extension]
    if len(order) > 1:
        order = [extension for extension in order if usable(extension)] or order
    candidates = [name for extension in order for name in by_extension[extension]]
    runs = [name for name in candidates if os.path.splitext(name)[0].casefold() == "run"]
    return next(iter(runs or candidates), "")


def _no_script(place: JobFolder, inner: str) -> str:
    return (
        f"no runnable script: put run.sh or run.py into {inner or place.folder} "
        f"(runnable are {', '.join(ORDER)})"
    )


def _settings_document(root: Path, path: str, owner: str, problems: list[Problem]) -> Document:
    """Return settings.job; anything that is no object is an empty one, as in Kudu."""
    try:
        document = parse((root / path).read_text("utf-8-sig"), path)
    except FileNotFoundError:
        return Document({}, path)
    except LenientJsonError as error:
        problems.append(replace(error.problem, warning=True, owner=owner))
        return Document({}, path)
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 at byte {error.start}; save the file as UTF-8"
        problems.append(Problem(path, message, warning=True, owner=owner))
        return Document({}, path)
    if isinstance(document.value, dict):
        return document
    message = f"must be an object {{…}}, not {shown(document.value)}; it is ignored"
    problems.append(Problem(path, message, document.line(""), warning=True, owner=owner))
    return Document({}, path)


def _is_too_large(value: Any) -> bool:
    """Tell whether a number is none that Kudu could read."""
    return type(value) is int and not -(1 << 31) <= value < 1 << 31


class _Settings:
    """settings.job by its rules: names with case, wrong types ignored (with a warning)."""

    def __init__(self, document: Document, owner: str, problems: list[Problem]) -> None:
        self.values: Mapping[str, Any] = document.value
        self._document = document
        self._owner = owner
        self._problems = problems

    def read(self, name: str, kind: type, *, default: Any) -> Any:
        value = self.values.get(name)
        if value is None or (type(value) is kind and not _is_too_large(value)):
            return default if value is None else value
        self.warn(name, f"must be {_JSON_WORDS[kind]}, not {shown(value)}; it is ignored")
        return default

    def warn(self, name: str, message: str) -> None:
        self._problems.append(
            self._document.problem(message, name, warning=True, owner=self._owner)
        )


def _schedule(
    own: _Settings, kind: JobKind, app: HostManifest, zone: str
) -> tuple[Schedule | None, str]:
    """Return the schedule, or why there is none although one is written."""
    text = own.read("schedule", str, default="").strip()
    if not text or kind is not JobKind.TRIGGERED:
        return None, ""
    try:
        return parse_job(expand(text, app.host.settings), zone=zone), ""
    except MissingSettingError as error:
        message = str(error.args[0])
    except ScheduleError as error:
        message = f"the schedule {shown(text)} cannot be read: {error}"
    own.warn("schedule", f"{message}; the job runs only when it is started by hand")
    return None, message
