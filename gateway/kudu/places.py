"""Which file a path of /api/vfs and /api/zip means: below HOME, `site/wwwroot` being the site.

What the platform owns is not shown: its keys are no file among others, and a store that is read
while it is written is no copy. A job can put links into folders that it writes, so nothing is
believed about where a path leads until it is resolved, and of an open file not even then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.shared_file import shared_opener

WEB_ROOT = ("site", "wwwroot")
#: Below HOME, what these interfaces do not touch.
_PRIVATE = (
    ("data", "secrets"),
    ("data", "settings"),
    ("data", "users.jsonl"),
    ("releases",),
    ("tmp",),
    ("builds",),
    ("logs",),
    ("site", "deployments"),
    ("site", "repository"),  # its hooks and its configuration are programs to git
)
_PRIVATE_FILES = ("taak.db", "taak.lock", "run.json")
_FIXED = {(), WEB_ROOT, WEB_ROOT[:1], ("data",)}


def parts_of(relative: str) -> tuple[str, ...]:
    """Return the segments of a path below HOME."""
    return tuple(part for part in relative.split("/") if part not in {"", "."})


def locate(platform: Platform, relative: str, *, write: bool = False) -> Path:
    """Return the file that a path below HOME means; what leaves HOME or the site is refused."""
    parts = parts_of(relative)
    if ".." in parts or "\0" in relative:
        raise BadRequestError(f"the path {relative!r} may not contain '..'")
    if is_private(parts):
        raise NotFoundError(f"{relative} belongs to the platform and is not shown here")
    if write and parts in _FIXED:
        raise ConflictError(f"{relative or '/'} cannot be replaced or removed")
    root = platform.home
    if parts[: len(WEB_ROOT)] == WEB_ROOT:
        root, parts = platform.site, parts[len(WEB_ROOT) :]
    path = root.joinpath(*parts)
    _refuse_outside(platform, path.resolve(), relative)
    return path


def open_inside(platform: Platform, path: Path, relative: str) -> BinaryIO:
    """Open a located file for reading; OSError if it is none.

    A job may have swapped a folder for a link since: what counts is where the descriptor leads.
    """
    file = open(path.resolve(), "rb", buffering=0, opener=shared_opener)  # noqa: SIM115
    try:
        _refuse_outside(platform, Path(os.readlink(f"/proc/self/fd/{file.fileno()}")), relative)
    except BaseException:
        file.close()
        raise
    return file


def names_in(platform: Platform, parts: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Return what a folder shows, by name."""
    names = {name: folder / name for name in os.listdir(folder)}
    if parts == WEB_ROOT[:1]:
        names[WEB_ROOT[1]] = platform.site
    return {name: names[name] for name in sorted(names) if not is_private((*parts, name))}


def is_private(parts: tuple[str, ...]) -> bool:
    """Tell whether a path below HOME is the platform's own."""
    if len(parts) == 1 and parts[0].startswith(_PRIVATE_FILES):
        return True
    return any(parts[: len(private)] == private for private in _PRIVATE)


def is_shown(platform: Platform, resolved: Path) -> bool:
    """Tell whether a path without links may be read: inside of HOME or the site, and not ours."""
    home, site = platform.home.resolve(), platform.site.resolve()
    if resolved.is_relative_to(home):
        return not is_private(resolved.relative_to(home).parts)
    return resolved.is_relative_to(site)


def _refuse_outside(platform: Platform, resolved: Path, relative: str) -> None:
    if is_shown(platform, resolved):
        return
    if resolved.is_relative_to(platform.home.resolve()):
        raise NotFoundError(f"{relative} belongs to the platform and is not shown here")
    raise BadRequestError(f"the path {relative!r} leads out of the home and the site")
