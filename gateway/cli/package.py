"""Packing an app for `taak deploy`: which files, and the archive of them.

What `.funcignore` names stays here, in the way of .gitignore, as do repositories, caches, virtual
environments and local.settings.json, which is of this machine. Reads files only.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scheduler.file_scan import is_part

IGNORE_FILE = ".funcignore"
_NEVER = frozenset({"local.settings.json", IGNORE_FILE})
_NEVER_FOLDERS = frozenset({".venv", "antenv", ".vscode", ".idea"})
_OLDEST = (1980, 1, 1, 0, 0, 0)  # what a zip archive can say


class IgnoreRules:
    """The lines of one .funcignore; the last that matches decides."""

    def __init__(self, text: str) -> None:
        self._rules = [rule for line in text.splitlines() if (rule := _rule(line))]

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a file or folder stays here; `path` is relative with "/"."""
        verdict = False
        for pattern, kept, folders_only in self._rules:
            if (is_folder or not folders_only) and pattern.fullmatch(path):
                verdict = not kept
        return verdict


def files(root: Path) -> Iterator[str]:
    """Yield the files of an app that are deployed, sorted, relative with "/"."""
    told = root / IGNORE_FILE
    rules = IgnoreRules(told.read_text("utf-8") if told.is_file() else "")
    for base, folders, names in os.walk(root):
        inside = os.path.relpath(base, root).replace(os.sep, "/")
        at = "" if inside == "." else f"{inside}/"
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER_FOLDERS
            and is_part(f"{at}{name}")
            and not rules.leaves_out(f"{at}{name}", is_folder=True)
        )
        for name in sorted(names):
            path = f"{at}{name}"
            if path in _NEVER or not is_part(path) or rules.leaves_out(path, is_folder=False):
                continue
            if os.path.isfile(os.path.join(base, name)):
                yield path


def pack(root: Path, paths: list[str], target: BinaryIO) -> None:
    """Write an archive of these files; the same files make the same archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in paths:
            file = root / path
            entry = zipfile.ZipInfo(path, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if os.access(file, os.X_OK) else 0o100644) << 16
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
                while chunk := source.read(1 << 20):
                    packed.write(chunk)


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """Return a line's pattern, whether it takes back (`!`), and whether it is for folders only."""
    text = line.rstrip()
    if not text or text.startswith("#"):
        return None
    kept = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    body = _expression(text.lstrip("/"))
    return re.compile(body if anchored else f"(?:.*/)?{body}"), kept, folders_only


def _expression(glob: str) -> str:
    parts = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^\]]+\])", glob)
    meaning = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        meaning.get(part)
        or (
            part.replace("[!", "[^", 1) if part[:1] == "[" and part[-1:] == "]" else re.escape(part)
        )
        for part in parts
    )
