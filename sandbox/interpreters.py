"""Which program runs a script: the table of webjobs.md 1.3, one row a file extension.

It turns a script into an argv and says how to get what is missing. It starts nothing and knows
nothing of jobs; a script that cannot run here is refused in words, never skipped in silence.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sandbox.errors import SandboxError


class MissingInterpreterError(SandboxError):
    """Nothing on this machine runs the script; the message says why, `hint` how to mend it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.hint = hint


class Which(Protocol):
    """`shutil.which`, as far as it is used here."""

    def __call__(self, cmd: str, /) -> str | None:
        """Return the path of a program, or None."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a script.

    Attributes:
        environment: what its interpreter wants on top of the job's.
        shows: folders of ours that a sandbox has to show beside the program and the job.
    """

    argv: tuple[str, ...]
    host_name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    shows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScriptHost:
    """One row: the name that Kudu's log shows, the programs that will do, and the way to get one.

    The first program found wins; the script's bare file name follows the options, because the
    process starts in the script's directory.
    """

    name: str
    programs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    hint: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    shows: tuple[str, ...] = ()


#: The built-in interpreter of batch files: a folder that Python runs, the standard library alone.
BATCH_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "batch")

#: In the order of the walk: among `run.*` files and among other files alike, the first row wins.
HOSTS: dict[str, ScriptHost] = {
    ".cmd": ScriptHost("WindowsScriptHost", shows=(BATCH_FOLDER,)),
    ".bat": ScriptHost("WindowsScriptHost", shows=(BATCH_FOLDER,)),
    ".exe": ScriptHost("WindowsScriptHost"),
    ".ps1": ScriptHost(
        "PowerShellScriptHost",
        ("pwsh",),
        ("-NoProfile", "-File"),
        "Install PowerShell 7 so that `pwsh` is on PATH.",
    ),
    ".sh": ScriptHost(
        "BashScriptHost", ("/bin/bash", "bash"), (), "Install bash: apt install bash."
    ),
    ".py": ScriptHost(
        "PythonScriptHost",
        (),
        (),
        "Install Python 3 so that `python3` is on PATH: apt install python3.",
        {"PYTHONUNBUFFERED": "1"},
    ),
    ".php": ScriptHost("PhpScriptHost", ("php",), (), "Install PHP: apt install php-cli."),
    ".js": ScriptHost(
        "NodeScriptHost", ("node", "nodejs"), (), "Install Node.js: apt install nodejs."
    ),
    ".jar": ScriptHost(
        "JarScriptHost", ("java",), ("-jar",), "Install Java: apt install default-jre-headless."
    ),
    ".fsx": ScriptHost(
        "FSharpScriptHost",
        ("dotnet",),
        ("fsi",),
        "Install the .NET SDK so that `dotnet` is on PATH.",
    ),
}

ORDER: tuple[str, ...] = tuple(HOSTS)

_ELF = b"\x7fELF"


def command(
    script: Path, arguments: Sequence[str], *, which: Which = shutil.which, python: str
) -> Command:
    """Return how to run the script with these arguments.

    `python` is what runs .py files: a path, or a name to look up (`find_python` has one).
    """
    extension = script.suffix.lower()
    if extension not in HOSTS:
        raise MissingInterpreterError(
            f"{script.name}: no interpreter is known for {extension or 'no extension'}.",
            f"Known are {', '.join(ORDER)}.",
        )
    host = HOSTS[extension]
    start = _SPECIAL.get(extension, _interpreted)(script, host, which, python)
    return Command((*start, *arguments), host.name, host.environment, host.shows)


def find_python(path: str, *, own: str = sys.prefix, base: str = sys.base_prefix) -> str | None:
    """Return the first python3 on a PATH that is not the platform's own environment's.

    A job must not meet the platform's packages. If there is no other, the own one is better than
    none.
    """
    fallback = None
    own_bin = os.path.realpath(os.path.join(own, "bin")) if own != base else None
    for directory in filter(None, path.split(os.pathsep)):
        found = shutil.which("python3", path=directory)
        if found and os.path.realpath(directory) != own_bin:
            return found
        fallback = fallback or found
    return fallback


def own_python() -> str:
    """Return the platform's Python without its environment: what a sandbox has to show of it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _interpreted(script: Path, host: ScriptHost, which: Which, _python: str) -> tuple[str, ...]:
    program = _first(host.programs, which)
    if program is None:
        raise MissingInterpreterError(
            f"{script.name} needs `{host.programs[-1]}`, which is not on PATH.", host.hint
        )
    return (program, *host.options, script.name)


def _python_script(script: Path, host: ScriptHost, which: Which, python: str) -> tuple[str, ...]:
    program = which(python) if python else None
    if program is None:
        raise MissingInterpreterError(
            f"{script.name} needs `{python or 'python3'}`, which is not on PATH.", host.hint
        )
    return (program, script.name)


def _batch_script(script: Path, _host: ScriptHost, _which: Which, _python: str) -> tuple[str, ...]:
    # Whatever the locale of the job says, the text of a batch file is UTF-8.
    return (own_python(), "-I", "-S", "-X", "utf8", BATCH_FOLDER, script.name)


def _executable(script: Path, _host: ScriptHost, which: Which, _python: str) -> tuple[str, ...]:
    """Tell by the first bytes what an .exe is: on Linux the extension promises nothing."""
    head = _head(script)
    if head.startswith(_ELF):
        return _direct(script)
    if head.startswith(b"#!"):
        # Not by exec: an unpacked zip has no execute bit, and the line says what is needed.
        return (*_shebang(script, head), script.name)
    if head.startswith(b"MZ"):
        return _managed(script, which)
    raise MissingInterpreterError(
        f"{script.name} is neither a Linux program, nor a script with #!, nor a .NET program.",
        "Publish it for linux-x64, or start it from a run.sh.",
    )


def _direct(script: Path) -> tuple[str, ...]:
    if not os.access(script, os.X_OK):
        raise MissingInterpreterError(
            f"{script.name} is a Linux program without permission to execute.",
            f"Run chmod +x {script.name} in the job's folder.",
        )
    return (str(script),)


def _managed(script: Path, which: Which) -> tuple[str, ...]:
    program = _first(("mono", "dotnet"), which)
    if program is None:
        raise MissingInterpreterError(
            f"{script.name} is a Windows program.",
            "Install mono or .NET if it is a .NET program, or publish it for linux-x64.",
        )
    return (program, script.name)


def _shebang(script: Path, head: bytes) -> list[str]:
    # The kernel passes everything behind the program as one argument; so do we.
    words = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split(maxsplit=1)
    if not words:
        raise MissingInterpreterError(
            f"{script.name} begins with an empty #! line.", "Name its interpreter there."
        )
    return [word.strip() for word in words]


def _head(script: Path) -> bytes:
    with script.open("rb") as file:
        return file.read(256)


def _first(programs: Sequence[str], which: Which) -> str | None:
    return next(filter(None, map(which, programs)), None)


_SPECIAL: dict[str, Callable[[Path, ScriptHost, Which, str], tuple[str, ...]]] = {
    ".cmd": _batch_script,
    ".bat": _batch_script,
    ".exe": _executable,
    ".py": _python_script,
}
