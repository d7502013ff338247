"""Commands that show files: type, more, dir, where."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from .errors import CommandError
from .output import complain, say, write_bytes
from .paths import has_wildcard, matching
from .programs import find
from .shell import FAILED, GOOD, Shell, Status
from .words import take_switches, unquote

_CHUNK = 65536


def show_file(shell: Shell, text: str) -> Status:
    """Show files; without a name, what comes through a pipe (`more`)."""
    _, words = take_switches("type", text, "")
    if not words and not shell.has_input:
        raise CommandError("The syntax of the command is incorrect.")
    for word in words:
        path = shell.native(word)
        paths = matching(path) if has_wildcard(path) else [path]
        for each in paths:
            if os.path.isdir(each):
                raise CommandError("Access is denied.")
            if not os.path.exists(each):
                raise CommandError("The system cannot find the file specified.")
            with open(each, "rb") as file:
                _show(file.fileno())
    if not words:
        _show(0)
    return GOOD


def _show(descriptor: int) -> None:
    while data := os.read(descriptor, _CHUNK):
        write_bytes(data)


def list_folder(shell: Shell, text: str) -> Status:
    """List a folder: /b names only, /s all below, /ad folders, /a-d files, /od by date."""
    switches, words = take_switches("dir", text, "b s a ad a-d a:d a:-d on o n od o:n o:d")
    pattern = shell.native(words[0]) if words else os.getcwd()
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "*")
    folder, name = os.path.split(pattern)
    folders = [folder or "."]
    if "s" in switches:
        folders = [each for each, _, _ in os.walk(folder or ".")]
    entries = [path for each in folders for path in _entries(os.path.join(each, name), switches)]
    if switches & {"od", "o:d"}:
        entries.sort(key=os.path.getmtime)
    if not entries:
        complain("File Not Found")
        return FAILED
    for path in entries:
        shown = os.path.abspath(path) if "s" in switches else os.path.basename(path)
        say(shown if "b" in switches else f"{_details(path)} {shown}")
    return GOOD


def _entries(pattern: str, switches: set[str]) -> Iterator[str]:
    for path in matching(pattern):
        is_folder = os.path.isdir(path)
        if switches & {"ad", "a:d"} and not is_folder:
            continue
        if switches & {"a-d", "a:-d"} and is_folder:
            continue
        yield path


def _details(path: str) -> str:
    when = time.strftime("%m/%d/%Y  %I:%M %p", time.localtime(os.lstat(path).st_mtime))
    size = "<DIR>         " if os.path.isdir(path) else f"{os.lstat(path).st_size:14,}"
    return f"{when}    {size}"


def where(shell: Shell, text: str) -> Status:
    """Show which programs the names are."""
    switches, words = take_switches("where", text, "q")
    status = GOOD
    for word in words:
        program = find(word, shell)
        if program is None:
            complain("INFO: Could not find files for the given pattern(s).")
            status = FAILED
        elif "q" not in switches:
            say(program.batch or program.argv[-1])
    if not words:
        raise CommandError(f"The syntax of the command is incorrect: where {unquote(text)}")
    return status
