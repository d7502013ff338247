r"""Paths of Windows in a file system of Linux: drives, backslashes, names without case, wildcards.

`D:\home` is HOME, as it is on Azure; any other drive is the root folder. A name is looked for as
it is written, and then without regard to case: the batch file comes from where case did not matter.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass

_DRIVE = re.compile(r"([A-Za-z]):(?=[\\/]|$)")
_AZURE = (
    (re.compile(r"[cd]:[\\/]home(?=[\\/]|$)", re.IGNORECASE), "home"),
    (re.compile(r"[cd]:[\\/]local[\\/]temp(?=[\\/]|$)", re.IGNORECASE), "temp"),
)
_NULL = re.compile(r"(?:.*[\\/])?nul:?", re.IGNORECASE)
_MAPPED = re.compile(r"[cd]:[\\/](home|local[\\/]temp)(?=[\\/]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the folders are that WebJobs know by a fixed path."""

    home: str = "/home"
    temp: str = "/tmp"  # noqa: S108  private in a sandbox

    def native(self, text: str) -> str:
        """Return the path that is meant, with quotes gone, in the case that exists."""
        text = text.replace('"', "")
        if _NULL.fullmatch(text):
            return os.devnull
        for pattern, place in _AZURE:
            found = pattern.match(text)
            if found:
                text = getattr(self, place) + text[found.end() :]
                break
        else:
            text = _DRIVE.sub("", text, count=1) or "/"
        return actual(re.sub(r"/{2,}", "/", text.replace("\\", "/")))

    def argument(self, text: str) -> str:
        """Return an argument of a program, as a native path if it is surely one of Windows.

        A backslash may as well belong to a pattern or a user's name: it stays unless there is such
        a file, or the folder for one.
        """
        if "\\" not in text and not _DRIVE.match(text):
            return text
        option, equals, value = text.rpartition("=")
        if _MAPPED.match(value):
            return f"{option}{equals}{self.native(value)}"
        if not value or ("\\" not in value and not _DRIVE.match(value)):
            return text
        path = self.native(value)
        folder = os.path.dirname(path.rstrip("/"))
        if os.path.exists(path) or (folder not in {"", "/"} and os.path.isdir(folder)):
            return f"{option}{equals}{path}"
        return text


def actual(path: str) -> str:
    """Return a path in the case in which it exists, as far as it does."""
    if not path or os.path.lexists(path):
        return path
    known, rest = ("/", path[1:]) if path.startswith("/") else ("", path)
    parts = rest.split("/")
    for index, part in enumerate(parts):
        step = os.path.join(known, part)
        if part and not os.path.lexists(step):
            step = _other_case(known, part)
            if not step:
                return os.path.join(known, *parts[index:])
        known = step
    return known


def _other_case(folder: str, name: str) -> str:
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return ""
    found = next((n for n in names if n.casefold() == name.casefold()), "")
    return os.path.join(folder, found) if found else ""


def has_wildcard(text: str) -> bool:
    """Tell whether a name stands for many."""
    return "*" in text or "?" in text


def matching(pattern: str) -> list[str]:
    """Return what a native pattern stands for, in the order of NTFS; folders are among it."""
    folder, name = os.path.split(pattern)
    name = "*" if name == "*.*" else name
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return []
    wanted = re.compile(fnmatch.translate(name.replace("[", "[[]").casefold()))
    found = [n for n in names if wanted.match(n.casefold())]
    return [os.path.join(folder, n) for n in sorted(found, key=str.upper)]
