"""A folder as a zip that is made while it is sent: no file of it, and never all of it in memory.

Links that stay inside are links in the zip (our own `archive.py` makes them again), others are left
out, as are sockets, pipes and what vanishes meanwhile. Blocking; each piece is taken in a thread.
"""

from __future__ import annotations

import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from scheduler.shared_file import shared_opener

#: A piece that is sent has about this size.
PIECE_BYTES = 256 * 1024
#: Smaller files need no long form of their sizes.
_LARGE_BYTES = 1024 * 1024 * 1024
_FIRST_YEAR = 1980
_UNIX = 3

#: What a folder shows, by name, given its path below the first one.
Listing = Callable[[tuple[str, ...], Path], dict[str, Path]]


def packed(folder: Path, listing: Listing) -> Iterator[bytes]:
    """Yield the zip of a folder; names in it are relative to the folder."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as target:  # type: ignore[call-overload]
        for name, path in _entries(folder, (), listing):
            for _ in _pack(target, name, path, folder):
                if pipe.size >= PIECE_BYTES:
                    yield pipe.take()
    yield pipe.take()


class _Pipe:
    """What zipfile writes to: it has no place to seek to, so sizes come behind the contents."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing; zipfile asks for it."""

    def take(self) -> bytes:
        taken, self._pieces, self.size = b"".join(self._pieces), [], 0
        return taken


def _entries(folder: Path, parts: tuple[str, ...], listing: Listing) -> Iterator[tuple[str, Path]]:
    try:
        names = listing(parts, folder)
    except OSError:
        return  # gone meanwhile
    for name, path in names.items():
        inner = (*parts, name)
        if path.is_dir() and not path.is_symlink():
            yield "/".join(inner) + "/", path
            yield from _entries(path, inner, listing)
        else:
            yield "/".join(inner), path


def _pack(target: zipfile.ZipFile, name: str, path: Path, root: Path) -> Iterator[None]:
    """Add one entry; yields whenever some of it was written."""
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            link = os.readlink(path)
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
            if inside and not os.path.isabs(link):
                target.writestr(_info(name, facts), os.fsencode(link))
        elif stat.S_ISDIR(facts.st_mode):
            target.writestr(_info(name, facts), b"")
        elif stat.S_ISREG(facts.st_mode):
            yield from _pack_file(target, name, path)
    except OSError:
        return  # gone meanwhile, or closed to us
    yield


def _pack_file(target: zipfile.ZipFile, name: str, path: Path) -> Iterator[None]:
    with open(path, "rb", opener=shared_opener) as source:
        facts = os.fstat(source.fileno())
        left = facts.st_size  # a log that grows is packed as it was
        large = left >= _LARGE_BYTES
        with target.open(_info(name, facts), "w", force_zip64=large) as entry:
            while left > 0 and (chunk := source.read(min(left, PIECE_BYTES))):
                entry.write(chunk)
                left -= len(chunk)
                yield


def _info(name: str, facts: os.stat_result) -> zipfile.ZipInfo:
    moment = time.gmtime(facts.st_mtime)
    date = (
        moment[:6] if _FIRST_YEAR <= moment.tm_year < _FIRST_YEAR + 128 else (1980, 1, 1, 0, 0, 0)
    )
    info = zipfile.ZipInfo(name, date)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = (facts.st_mode & 0xFFFF) << 16 | (0x10 if name.endswith("/") else 0)
    return info
