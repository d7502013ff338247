"""Descriptors that point elsewhere while a command runs, and back again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .errors import CommandError, RefusedError
from .paths import Places
from .syntax import Redirect

_FLAGS = {
    "<": os.O_RDONLY,
    ">": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    ">>": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}
_ABOVE = 10  # where the originals wait: out of reach of the digits that a file may redirect


@contextmanager
def redirected(redirects: Iterable[Redirect], places: Places) -> Iterator[None]:
    """Point descriptors elsewhere; CommandError if a file cannot be opened."""
    originals: list[tuple[int, int | None]] = []
    try:
        for redirect in redirects:
            originals.append((redirect.descriptor, _keep(redirect.descriptor)))
            _point(redirect, places)
        yield
    finally:
        for descriptor, original in reversed(originals):
            if original is None:
                os.close(descriptor)
            else:
                os.dup2(original, descriptor)
                os.close(original)


def _keep(descriptor: int) -> int | None:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # something to close, should the new one not open
        return None


def _point(redirect: Redirect, places: Places) -> None:
    if redirect.operator == ">&":
        os.dup2(int(redirect.target), redirect.descriptor)
        return
    path = places.native(redirect.target)
    if path.lower() in {"con", "con:", "prn", "lpt1", "com1"}:
        raise RefusedError(f"`{redirect.target}` is a device of Windows. Name a file, or nul.")
    try:
        opened = os.open(path, _FLAGS[redirect.operator], 0o666)
    except FileNotFoundError:
        what = "file" if redirect.operator == "<" else "path"
        raise CommandError(f"The system cannot find the {what} specified.") from None
    except OSError:
        raise CommandError("Access is denied.") from None
    os.dup2(opened, redirect.descriptor)
    if opened != redirect.descriptor:
        os.close(opened)
