"""Which program a name means, and how it is started on Linux."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import CommandError
from .paths import actual
from .shell import Shell
from .variables import search_path
from .words import unquote

_BATCH = {".cmd", ".bat"}
_EXTENSIONS = ("", ".com", ".exe", ".bat", ".cmd")
#: Names that a program has on Windows, and what it is called here.
_ALIASES = {
    "python": ("python", "python3"),
    "py": ("python3", "python"),
    "pip": ("pip", "pip3"),
    "node": ("node", "nodejs"),
    "powershell": ("pwsh",),
}
#: What runs a file that is started by its name.
_SCRIPTS = {
    ".py": ("python3",),
    ".js": ("node",),
    ".php": ("php",),
    ".sh": ("bash",),
    ".jar": ("java", "-jar"),
    ".ps1": ("pwsh", "-NoProfile", "-File"),
}
#: What a fixed path of Windows is looked up as on PATH when there is no such file.
_RUNTIMES = {*_ALIASES, "python3", "php", "java", "dotnet", "pwsh", "bash", "npm", "npx", "git"}


@dataclass(frozen=True, slots=True)
class Program:
    """How to start it; `batch` is the path of a batch file, `note` what the job should know."""

    argv: tuple[str, ...] = ()
    batch: str = ""
    note: str = ""


def find(name: str, shell: Shell) -> Program | None:
    """Return the program of a name; None if there is none, CommandError if it cannot run here."""
    name = unquote(name)
    if any(mark in name for mark in "\\/:"):
        return _at(shell.native(name), shell) or _instead(name, shell)
    return _at(os.path.join(os.getcwd(), name), shell) or _on_path(name, shell)


def hint(name: str) -> str:
    """Return a line on what to install, where that has another name than on Windows."""
    base = unquote(name).lower().removesuffix(".exe")
    is_powershell = base in {"powershell", "pwsh"}
    return "\nInstall PowerShell 7 so that `pwsh` is on PATH." if is_powershell else ""


def _at(path: str, shell: Shell) -> Program | None:
    """Return what stands at a path, with or without its extension; a .exe may have lost it."""
    for candidate in _candidates(path):
        found = actual(candidate)
        if os.path.isfile(found):
            program = _start(found, shell)
            if program:
                return program
    return None


def _candidates(path: str) -> Iterator[str]:
    stem, extension = os.path.splitext(path)
    yield from (path + each for each in _EXTENSIONS)
    if extension.lower() == ".exe":
        yield stem
        yield stem + ".dll"


def _on_path(name: str, shell: Shell) -> Program | None:
    folders = os.pathsep.join(search_path(shell.lookup("PATH") or os.defpath, shell.places))
    plain = name[:-4] if name.lower().endswith((".exe", ".com")) else name
    names = [name, *_ALIASES.get(plain.lower(), (plain, plain.lower()))]
    for each in names:
        found = shutil.which(each, path=folders)
        if found:
            return _start(found, shell) or Program((found,))
    for folder in folders.split(os.pathsep):
        program = _at(os.path.join(folder, name), shell)
        if program:
            return program
    return None


def _instead(name: str, shell: Shell) -> Program | None:
    base = name.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
    program = _on_path(base, shell) if base in _RUNTIMES else None
    if program is None or not program.argv:
        return None
    return Program(program.argv, "", f"{name} is not here; {program.argv[0]} runs instead.")


def _start(path: str, shell: Shell) -> Program | None:
    extension = os.path.splitext(path)[1].lower()
    if extension in _BATCH:
        return Program(batch=path)
    if extension == ".dll":
        return Program((_needed("dotnet", path, shell), path))
    head = _head(path)
    if head.startswith(b"\x7fELF"):
        _allow_execution(path)
        return Program((path,))
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].decode("utf-8", "replace").split(maxsplit=1)
        return Program((*(word.strip() for word in words), path)) if words else None
    if head.startswith(b"MZ"):
        return _managed(path, shell)
    if extension in _SCRIPTS:
        runner, *options = _SCRIPTS[extension]
        return Program((_needed(runner, path, shell), *options, path))
    return None


def _managed(path: str, shell: Shell) -> Program:
    library = actual(os.path.splitext(path)[0] + ".dll")
    if os.path.isfile(library):
        return Program((_needed("dotnet", path, shell), library))
    return Program((_needed("mono", path, shell), path))


def _needed(program: str, path: str, shell: Shell) -> str:
    folders = os.pathsep.join(search_path(shell.lookup("PATH") or os.defpath, shell.places))
    for each in (program, *_ALIASES.get(program, ())):
        found = shutil.which(each, path=folders)
        if found:
            return found
    windows = " is a Windows program and" if program == "mono" else ""
    raise CommandError(
        f"{os.path.basename(path)}{windows} needs `{program}`, which is not on PATH. Install it, "
        "or publish the program for linux-x64."
        if windows
        else f"{os.path.basename(path)} needs `{program}`, which is not on PATH."
    )


def _allow_execution(path: str) -> None:
    """Make a program executable: archives made on Windows do not say so."""
    if os.access(path, os.X_OK):
        return
    try:
        os.chmod(path, os.stat(path).st_mode | 0o100)
    except OSError:
        name = os.path.basename(path)
        raise CommandError(
            f"{name} is a Linux program without permission to execute: run chmod +x {name}."
        ) from None


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(256)
    except OSError:
        return b""  # may be executed all the same
