"""The environment of a job's process, built from nothing (webjobs.md 3.2).

The platform's own environment holds its secrets, so a job inherits four names of it and no more.
Later rows win: what the platform says about the run cannot be overwritten by an app setting.
"""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.debuggers import DebugStart
from scheduler.errors import BadRequestError
from scheduler.functions import Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.live_settings import laid_over

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")

#: Kudu finds a job's processes by these; tools and scripts look at them too.
_TAGS = {
    JobKind.CONTINUOUS: "WEBSITE_ALWAYS_ON_JOB_RUNNING_NAME",
    JobKind.TRIGGERED: "WEBSITE_TRIGGERED_JOB_RUNNING_NAME",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What is particular to one start of a job's process."""

    run_id: str = ""
    arguments: str = ""
    port: int | None = None
    debug: DebugStart | None = None
    shutdown_file: Path | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the TCP ports that are the job's to listen at."""
        debug = self.debug.port if self.debug else None
        return tuple(port for port in (self.port, debug) if port is not None)


def job_environment(
    job: Job,
    occasion: Occasion,
    *,
    working: Path,
    folders: JobFolders,
    instance: str,
    inherited: Mapping[str, str] = os.environ,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the whole environment of the process; `settings` are the platform's app settings."""
    return {
        "PATH": os.defpath,
        **{name: inherited[name] for name in _INHERITED if name in inherited},
        "HOME": str(folders.home),
        "WEBROOT_PATH": str(folders.site),
        "WEBSITE_INSTANCE_ID": instance,
        **_app_settings(laid_over(job.environment, settings)),
        **_facts(job, occasion, working, folders),
    }


def _app_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return each setting under both names; a name that the kernel would refuse is left out."""
    usable = {
        name: value.replace("\0", "")
        for name, value in settings.items()
        if name and "=" not in name and "\0" not in name
    }
    return {**{f"APPSETTING_{name}": value for name, value in usable.items()}, **usable}


def _facts(job: Job, occasion: Occasion, working: Path, folders: JobFolders) -> dict[str, str]:
    facts = {
        "WEBJOBS_NAME": job.name,
        "WEBJOBS_TYPE": job.kind.value,
        "WEBJOBS_PATH": str(working),
        "WEBJOBS_DATA_PATH": str(folders.data(job)),
        "WEBJOBS_RUN_ID": occasion.run_id,
        "WEBJOBS_COMMAND_ARGUMENTS": occasion.arguments,
        _TAGS[job.kind]: "true",
    }
    if occasion.port is not None:
        facts["WEBJOBS_PORT"] = str(occasion.port)
    if occasion.shutdown_file is not None:
        facts["WEBJOBS_SHUTDOWN_FILE"] = str(occasion.shutdown_file)
    return facts


def split_arguments(text: str) -> list[str]:
    """Split a run's arguments as a POSIX shell would; nothing is expanded."""
    if "\0" in text:
        raise BadRequestError("arguments: a NUL character cannot be passed to a program.")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BadRequestError(
            f"arguments: {str(error).lower()} in {text!r}. Close the quote, or write \\' or \\\" "
            "where a quote itself is meant."
        ) from None


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
