"""Commands about folders, and about files that go: cd, pushd, md, rd, del."""

from __future__ import annotations

import os
import re
import shutil

from .errors import CommandError, RefusedError
from .output import complain, say
from .paths import has_wildcard, matching
from .shell import DONE, GOOD, Shell, Status
from .words import take_switches, unquote

#: `cd /d`, and no folder that begins so.
_TO_DRIVE = re.compile(r"/d(?![^\s\"])\s*", re.IGNORECASE)
_NO_PATH = "The system cannot find the path specified."


def change_folder(shell: Shell, text: str) -> Status:
    """Go to a folder, or show the one that is the current."""
    text = text.strip()
    text = _TO_DRIVE.sub("", text)
    if not text:
        say(os.getcwd())
        return GOOD
    _go(shell, text)
    return GOOD


def _go(shell: Shell, text: str) -> None:
    try:
        os.chdir(shell.native(text))
    except NotADirectoryError:
        raise CommandError("The directory name is invalid.") from None
    except FileNotFoundError:
        raise CommandError(_NO_PATH) from None


def push_folder(shell: Shell, text: str) -> Status:
    """Go to a folder and remember the current one."""
    if not text.strip():
        for folder in reversed(shell.pushed):
            say(folder)
        return GOOD
    here = os.getcwd()
    _go(shell, text.strip())
    shell.pushed.append(here)
    return GOOD


def pop_folder(shell: Shell, _text: str) -> Status:
    """Go back to the folder that was remembered last; nothing if there is none."""
    if shell.pushed:
        _go(shell, shell.pushed.pop())
    return DONE


def make_folder(shell: Shell, text: str) -> Status:
    """Make folders with all that are above."""
    _, words = take_switches("md", text, "")
    if not words:
        raise CommandError("The syntax of the command is incorrect.")
    for word in words:
        try:
            os.makedirs(shell.native(word))
        except FileExistsError:
            raise CommandError(f"A subdirectory or file {unquote(word)} already exists.") from None
    return GOOD


def remove_folder(shell: Shell, text: str) -> Status:
    """Remove folders; with /s all that is in them. A failure leaves ERRORLEVEL, as in cmd."""
    switches, words = take_switches("rd", text, "s q")
    code = 0
    for word in words:
        path = shell.native(word)
        if os.path.isdir(path) and not os.path.islink(path):
            code = max(code, _remove(path, everything="s" in switches))
        else:
            complain("The system cannot find the file specified.")
            code = 2
    return Status(code, None)


def _remove(path: str, *, everything: bool) -> int:
    try:
        if everything:
            shutil.rmtree(path)
        else:
            os.rmdir(path)
    except OSError:
        complain(f"{path}: Access is denied." if everything else "The directory is not empty.")
        return 145
    return 0


def delete(shell: Shell, text: str) -> Status:
    """Delete files by name or pattern, or all of a folder; with /s below it as well."""
    switches, words = take_switches("del", text, "f q s a")
    if not words:
        raise CommandError("The syntax of the command is incorrect.")
    for word in words:
        path = shell.native(word)
        if "\0" in path:
            raise RefusedError("A NUL character stands in a name.")
        found = _files(path, below="s" in switches)
        if not found:
            complain(f"Could Not Find {unquote(word)}")
        for each in found:
            os.unlink(each)
    return GOOD


def _files(path: str, *, below: bool) -> list[str]:
    if os.path.isdir(path):
        path = os.path.join(path, "*")
    folder, pattern = os.path.split(path)
    folders = [folder]
    if below:
        folders = [each for each, _, _ in os.walk(folder or ".")]
    paths = (os.path.join(each, pattern) for each in folders)
    found = (matching(each) if has_wildcard(pattern) else [each] for each in paths)
    return [each for some in found for each in some if os.path.isfile(each) or os.path.islink(each)]
