"""Commands that copy, move and rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from .errors import CommandError, RefusedError
from .output import say
from .paths import has_wildcard, matching
from .shell import FAILED, GOOD, Shell, Status
from .words import take_switches, unquote

_NO_FILE = "The system cannot find the file specified."
_BLANKS = " \t,;"  # a + between names is no blank


def copy(shell: Shell, text: str) -> Status:
    """Copy files into a folder or to another name; `a+b` joins them."""
    _, words = take_switches("copy", text, "y b a z v -y", _BLANKS)
    if not 1 <= len(words) <= 2:
        raise CommandError("The syntax of the command is incorrect.")
    target = shell.native(words[1]) if len(words) == 2 else os.getcwd()
    parts = [shell.native(part) for part in words[0].split("+") if part]
    if len(parts) > 1:
        _join(parts, target)
        return _copied(1)
    sources = _sources(parts[0])
    for source in sources:
        shutil.copyfile(source, _inside(target, source))
    if not sources:
        raise CommandError(_NO_FILE)
    return _copied(len(sources))


def _copied(count: int) -> Status:
    say(f"        {count} file(s) copied.")
    return GOOD


def _join(parts: list[str], target: str) -> None:
    data = b""
    for part in parts:
        with open(part, "rb") as file:
            data += file.read()
    with open(_inside(target, parts[0]), "wb") as file:
        file.write(data)


def _sources(path: str) -> list[str]:
    if os.path.isdir(path):
        path = os.path.join(path, "*")
    if has_wildcard(os.path.basename(path)):
        return [each for each in matching(path) if os.path.isfile(each)]
    return [path] if os.path.exists(path) else []


def _inside(target: str, source: str) -> str:
    """Return where a file goes: into the target if that is a folder, else to that name."""
    return os.path.join(target, os.path.basename(source)) if os.path.isdir(target) else target


def move(shell: Shell, text: str) -> Status:
    """Move files or a folder."""
    _, words = take_switches("move", text, "y -y")
    if len(words) != 2:
        raise CommandError("The syntax of the command is incorrect.")
    path, target = shell.native(words[0]), shell.native(words[1])
    sources = _sources(path) if has_wildcard(os.path.basename(path)) else [path]
    if not sources or not os.path.lexists(sources[0]):
        raise CommandError(_NO_FILE)
    for source in sources:
        place = _inside(target, source)
        if os.path.isfile(place):
            os.unlink(place)
        shutil.move(source, place)
    say(f"        {len(sources)} file(s) moved.")
    return GOOD


def rename(shell: Shell, text: str) -> Status:
    """Give a file or folder another name in its folder."""
    _, words = take_switches("ren", text, "")
    if len(words) != 2:
        raise CommandError("The syntax of the command is incorrect.")
    if has_wildcard(words[0]) or has_wildcard(words[1]):
        raise RefusedError("`ren` with * or ? is not supported. Write a loop: for %%f in (*.x) do.")
    source, name = shell.native(words[0]), unquote(words[1])
    if not os.path.lexists(source):
        raise CommandError(_NO_FILE)
    target = os.path.join(os.path.dirname(source), name)
    if os.path.lexists(target):
        raise CommandError("A duplicate file name exists, or the file cannot be found.")
    os.rename(source, target)
    return GOOD


def xcopy(shell: Shell, text: str) -> Status:
    """Copy files, with /s a tree without empty folders, with /e all of it."""
    known = "s e y i q f h r k c d v z b -y"
    switches, words = take_switches("xcopy", text, known)
    if not 1 <= len(words) <= 2:
        raise CommandError("Invalid number of parameters")
    source = shell.native(words[0])
    target = shell.native(words[1]) if len(words) == 2 else os.getcwd()
    is_folder = "i" in switches or words[-1].endswith(("\\", "/")) or os.path.isdir(target)
    if os.path.isfile(source) and not is_folder:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        shutil.copy2(source, target)
        return _xcopied(1)
    copied = found = 0
    for path, relative in _below(source, switches):
        place = os.path.join(target, relative)
        if os.path.isdir(path):
            os.makedirs(place, exist_ok=True)
            continue
        found += 1
        if "d" in switches and _is_newer(place, path):
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copy2(path, place)
        copied += 1
        if "q" not in switches:
            say(path)
    if not found and not os.path.isdir(source):
        say("File not found - " + os.path.basename(source))
        _xcopied(0)
        return Status(4, 4) if not os.path.isdir(os.path.dirname(source) or ".") else FAILED
    return _xcopied(copied)


def _xcopied(count: int) -> Status:
    say(f"{count} File(s) copied")
    return GOOD


def _is_newer(old: str, new: str) -> bool:
    return os.path.exists(old) and os.path.getmtime(old) >= os.path.getmtime(new)


def _below(source: str, switches: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what is to be copied, with its path below the target; a folder only if it is wanted."""
    folder, pattern = (source, "*") if os.path.isdir(source) else os.path.split(source)
    for base, folders, _ in os.walk(folder or "."):
        folders.sort()
        inner = os.path.relpath(base, folder or ".")
        inner = "" if inner == "." else inner
        if "e" in switches and inner:
            yield base, inner
        for path in matching(os.path.join(base, pattern)):
            if os.path.isfile(path):
                yield path, os.path.join(inner, os.path.basename(path))
        if not switches & {"s", "e"}:
            return
