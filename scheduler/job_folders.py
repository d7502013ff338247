"""Where the files of jobs are: paths, run folders and status files of webjobs.md 1.

Tools that were written for Kudu read these files, so names and formats are theirs to the letter.
The store holds the truth about runs; nothing is decided from what is read here, except how a run
ended whose end the store could not take any more.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from scheduler.shared_file import shared_opener

_RUN_ID = re.compile(r"[0-9]{18}")


class NamedJob(Protocol):
    """Anything that says which job is meant: a definition, or a run of it."""

    @property
    def name(self) -> str:
        """Return the job's name."""

    @property
    def kind(self) -> Enum:
        """Return the kind, whose value names the folder."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What `RUNID/status` says; `status` is one of Kudu's words."""

    trigger: str
    status: str
    started_at: datetime
    ended_at: datetime | None = None


class JobFolders:
    """The part of the home directory that belongs to jobs."""

    def __init__(self, home: Path, *, site: Path | None = None) -> None:
        self.home = home
        self.site = site or home / "site" / "wwwroot"
        self._data = home / "data" / "jobs"
        self._temp = home / "tmp"

    # --- Paths

    def data(self, job: NamedJob) -> Path:
        """Return the job's data and log directory (WEBJOBS_DATA_PATH)."""
        return self._data / str(job.kind.value) / job.name

    def working(self, job: NamedJob) -> Path:
        """Return the directory that holds private copies of the job."""
        return self._temp / "jobs" / str(job.kind.value) / job.name

    def job_log(self, job: NamedJob) -> Path:
        """Return a continuous job's log."""
        return self.data(job) / "job_log.txt"

    def scheduler_log(self, job: NamedJob) -> Path:
        """Return the log of a triggered job's schedule."""
        return self.data(job) / "job_scheduler.log"

    def previous_log(self, job: NamedJob) -> Path:
        """Return where either log goes when it is full."""
        return self.data(job) / "job_prev_log.txt"

    def run_folder(self, job: NamedJob, run_id: str) -> Path:
        """Return one run's folder; ValueError if that is no run id."""
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"{run_id!r} is no run id: 18 digits are")
        return self.data(job) / run_id

    def output_log(self, job: NamedJob, run_id: str) -> Path:
        """Return the log that holds a run's output and the platform's lines."""
        return self.run_folder(job, run_id) / "output_log.txt"

    def error_log(self, job: NamedJob, run_id: str) -> Path:
        """Return the file that Kudu's API looks for and nobody writes any more."""
        return self.run_folder(job, run_id) / "error_log.txt"

    def status_file(self, job: NamedJob, instance: str) -> Path:
        """Return the file in which an instance says how its continuous job is."""
        return self.data(job) / f"status_{short_instance(instance)}"

    def new_shutdown_file(self, job: NamedJob) -> Path:
        """Return a fresh path whose appearance tells the job to stop; its directory exists."""
        folder = self._temp / "JobsShutdown" / str(job.kind.value) / job.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / random_name()

    def uses_sdk(self, job: NamedJob) -> bool:
        """Tell whether the WebJobs SDK has left its marker."""
        return (self.data(job) / "webjobssdk.marker").exists()

    # --- Run folders

    def create_run_folder(self, job: NamedJob, now: datetime) -> str:
        """Make the folder of a new run and return its id, unique even within 0.1 ms.

        The id is the time in UTC, so its text order is time order; a taken one moves on by one in
        the last digit. Making the directory is what decides between two that want the same.
        """
        self.data(job).mkdir(parents=True, exist_ok=True)
        moment = now
        while True:
            run_id = f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 100:04}"
            try:
                self.run_folder(job, run_id).mkdir()
            except FileExistsError:
                moment += timedelta(microseconds=100)
            else:
                return run_id

    def has_run(self, job: NamedJob, run_id: str) -> bool:
        """Tell whether a run has its folder in this home; another instance may have another."""
        return bool(_RUN_ID.fullmatch(run_id)) and self.run_folder(job, run_id).is_dir()

    def adopt_run(self, job: NamedJob, run_id: str) -> None:
        """Make the folder of a run that was accepted in another home, if it was."""
        self.run_folder(job, run_id).mkdir(parents=True, exist_ok=True)

    def run_ids(self, job: NamedJob) -> list[str]:
        """Return the ids of the runs that have a folder, newest first.

        A job may keep directories of its own beside them; only 18 digits are a run.
        """
        try:
            names = os.listdir(self.data(job))
        except FileNotFoundError:
            return []
        return sorted(filter(_RUN_ID.fullmatch, names), reverse=True)

    def remove_runs(self, job: NamedJob, run_ids: Sequence[str]) -> None:
        """Remove run folders; one that cannot be removed stays for the next time."""
        for run_id in run_ids:
            shutil.rmtree(self.run_folder(job, run_id), ignore_errors=True)

    # --- Status files

    def write_run_status(self, job: NamedJob, run_id: str, status: RunStatus) -> None:
        """Write `RUNID/status`: one line, what is unset is left out."""
        fields = {
            "Trigger": status.trigger,
            "Status": status.status,
            "StartTime": _time_text(status.started_at),
        }
        if status.ended_at is not None:
            fields["EndTime"] = _time_text(status.ended_at)
        write_atomically(self.run_folder(job, run_id) / "status", _line(fields))

    def read_run_status(self, job: NamedJob, run_id: str) -> RunStatus | None:
        """Return what `RUNID/status` says, None if it is missing or broken."""
        fields = _read_object(self.run_folder(job, run_id) / "status")
        try:
            return RunStatus(
                fields.get("Trigger", ""),
                fields["Status"],
                parse_time(fields["StartTime"]),
                parse_time(fields["EndTime"]) if "EndTime" in fields else None,
            )
        except (KeyError, TypeError, ValueError):
            return None

    def read_status(self, job: NamedJob, instance: str) -> str | None:
        """Return an instance's status of a continuous job, None if nothing says it."""
        status = _read_object(self.status_file(job, instance)).get("Status")
        return status if isinstance(status, str) else None


def short_instance(instance: str) -> str:
    """Return the form of an instance's name that logs and status files show."""
    return instance[:6]


def status_line(status: str) -> str:
    """Return what the status file of a continuous job holds."""
    return _line({"Status": status})


def random_name() -> str:
    """Return a fresh name that looks like Kudu's: eight letters, a dot, three letters."""
    letters = secrets.token_hex(6)
    return f"{letters[:8]}.{letters[8:11]}"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(draft, "x", encoding="utf-8", opener=shared_opener) as file:
            file.write(text)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def parse_time(text: str) -> datetime:
    """Read a time with up to seven fraction digits, as .NET writes it."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00")
    return moment.replace(microsecond=int(rest[:6].ljust(6, "0"))) if rest else moment


def _time_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}0Z"


def _line(fields: dict[str, str]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8", opener=shared_opener) as file:
            value = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
