"""What runs a job's script on this machine, and what is missing if nothing does.

Asked at each start, and when a job is read: then what is missing is a warning and no mistake,
because somebody may install it later. Starts nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandbox.interpreters import HOSTS, Command, MissingInterpreterError, command, find_python
from scheduler.functions import Job
from scheduler.job_settings import JobSettings, own_setting


def start_command(
    job: Job, script: Path, arguments: Sequence[str], *, settings: Mapping[str, str], path: str
) -> Command:
    """Return how to start the script; MissingInterpreterError if nothing on the path runs it."""
    python = ""
    if script.suffix.lower() == ".py":
        python = _python(job, settings) or find_python(path) or ""
    start = command(script, arguments, which=partial(shutil.which, path=path), python=python)
    return _sized(start, script.suffix.lower(), job.bundle.isolation.memory_mib)


def _sized(start: Command, extension: str, memory_mib: int) -> Command:
    """Return the command with a heap that fits; 0 MiB is no limit.

    Both runtimes size it by what they take for the machine's memory, and see no cgroup in a
    sandbox: a heap of 4 GiB is collected too late for a limit of 2. What the job sets itself wins:
    -Xmx over MaxRAM, which only moves the defaults, and its own NODE_OPTIONS over ours.
    """
    if extension == ".jar" and memory_mib:
        program, *options = start.argv
        return replace(start, argv=(program, f"-XX:MaxRAM={memory_mib}m", *options))
    if extension == ".js" and memory_mib:
        heap = f"--max-old-space-size={memory_mib * 3 // 4}"  # the rest: buffers, code, stacks
        return replace(start, environment={**start.environment, "NODE_OPTIONS": heap})
    return start


def lack(job: Job, *, settings: Mapping[str, str], path: str | None = None) -> str:
    """Return what this machine lacks for the job and what helps; empty if it can start."""
    script = job.folder / job.script
    if script.suffix.lower() == ".exe" and not os.access(script, os.X_OK):
        return ""  # made executable in the copy that it runs in; what it is, its start tells
    path = os.environ.get("PATH", os.defpath) if path is None else path
    try:
        start_command(job, script, (), settings=settings, path=path)
    except MissingInterpreterError as error:
        return str(error).removeprefix(f"{script.name}: ")  # the place says it
    except OSError:
        return ""  # unreadable or gone: that is told when it is started
    return ""


def has_interpreter(extension: str, path: str | None = None) -> bool:
    """Tell whether something on the path runs scripts of this extension, as far as it tells that.

    Batch files, Python scripts and .exe are looked at when they start.
    """
    programs = HOSTS[extension].programs
    path = os.environ.get("PATH", os.defpath) if path is None else path
    return not programs or any(shutil.which(program, path=path) for program in programs)


def _python(job: Job, settings: Mapping[str, str]) -> str:
    chosen = own_setting(job, "python")
    return chosen if isinstance(chosen, str) else JobSettings.of(job, settings).python
