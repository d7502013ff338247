"""Unpacking an archive that a client sent, into a folder that is empty and nobody watches.

An archive is hostile until it is unpacked: it may lead out of its folder, name a file twice, be a
bomb, or hold links that later writes would follow. Everything that its directory tells is judged
before the first byte is written, and a refusal names the entry (webjobs.md 6.3).
"""

from __future__ import annotations

import calendar
import contextlib
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from scheduler.errors import BadRequestError

MAX_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024
MAX_ENTRIES = 100_000
#: An archive that grows by more than this, and to more than that, is a bomb: text shrinks to a
#: tenth, an idle log to a hundredth.
MAX_RATIO = 200
RATIO_FREE_BYTES = 256 * 1024 * 1024
#: The list of entries is read into memory as a whole.
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024

_MAX_LINK_BYTES = 4096
_UNIX = 3  # who made the entry; only then its mode says anything
_ENTRY = b"PK\x01\x02"
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_IN_64 = 0xFFFFFFFF  # "the other record says it"
_TAIL_BYTES = 65_535 + 22 + 20 + 56  # the longest comment, and the three records that end a zip
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,  # a method of compression that nobody has
    RuntimeError,  # encrypted
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into an existing, empty folder; BadRequestError if it may not or cannot be."""
    try:
        with archive.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as source:
                _unpack(source, folder, archive.stat().st_size)
    except _BROKEN as error:
        raise BadRequestError(f"the upload is no zip archive that can be read: {error}") from error


def _unpack(source: zipfile.ZipFile, folder: Path, packed_bytes: int) -> None:
    entries = source.infolist()
    _check_sizes(entries, packed_bytes)
    places = _places(entries)
    links: list[tuple[zipfile.ZipInfo, Path]] = []
    for entry, place in places:
        target = folder / place
        if _is_folder(entry):
            target.mkdir(parents=True, exist_ok=True)
        elif _is_link(entry):
            links.append((entry, target))
        else:
            _write(source, entry, target)
    # Links come last: until here nothing that is written can go through one.
    for entry, target in links:
        _link(source, entry, target)
    for entry, target in links:
        if not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(folder)):
            raise BadRequestError(
                f"the archive's entry {entry.filename!r} is a link that leads out of the folder"
            )


def _check_directory(file: BinaryIO) -> None:
    """Refuse a list of entries that is too long, before it is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise BadRequestError("the upload is no zip archive that can be read: it has no end record")
    told: int = struct.unpack_from("<L", tail, at + 12)[0]
    at_64 = at - 76  # where zipfile looks: before its locator
    is_64 = at_64 >= 0 and tail.startswith(_END_64, at_64)
    if is_64:
        # zipfile believes this record whatever the other one says, so the larger of both counts.
        told_64: int = struct.unpack_from("<Q", tail, at_64 + 40)[0]
        told = max(told_64, 0 if told == _IN_64 else told)
    if told > MAX_DIRECTORY_BYTES:
        raise BadRequestError(
            f"the archive's list of entries takes {told} bytes; the most is {MAX_DIRECTORY_BYTES}"
        )
    # Counted, not believed: each entry becomes an object before anybody can ask how many.
    file.seek(max(0, size - len(tail) + (at_64 if is_64 else at) - told))
    marks = file.read(told).count(_ENTRY)
    file.seek(0)
    if marks > MAX_ENTRIES:
        raise BadRequestError(f"the archive holds {marks} entries; the most is {MAX_ENTRIES}")


def _check_sizes(entries: list[zipfile.ZipInfo], packed_bytes: int) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or size > MAX_UNPACKED_BYTES:
        raise BadRequestError(
            f"the archive holds {len(entries)} entries of {size} bytes; the most is"
            f" {MAX_ENTRIES} entries of {MAX_UNPACKED_BYTES} bytes"
        )
    if size > max(RATIO_FREE_BYTES, packed_bytes * MAX_RATIO):
        raise BadRequestError(
            f"the archive of {packed_bytes} bytes unpacks to {size}; beyond {RATIO_FREE_BYTES}"
            f" bytes the most is {MAX_RATIO} times its own size"
        )


def _places(entries: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return each entry with its path in the folder; what has no place of its own is refused."""
    files: set[str] = set()
    folders: set[str] = set()
    found: list[tuple[zipfile.ZipInfo, str]] = []
    for entry in entries:
        place = _place(entry)
        if not place and _is_folder(entry):
            continue  # "./", the folder itself
        above = place.split("/")[:-1]
        folders |= {"/".join(above[:depth]) for depth in range(1, len(above) + 1)}
        if _is_folder(entry):
            folders.add(place)
        elif place in files:
            raise BadRequestError(f"the archive's entry {entry.filename!r} is there twice")
        else:
            files.add(place)
        found.append((entry, place))
    if both := files & folders:
        raise BadRequestError(f"the archive's entry {min(both)!r} is a file and a folder")
    return found


def _place(entry: zipfile.ZipInfo) -> str:
    name = entry.filename.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    # "C:" is no folder here, but whoever packed it meant a place outside.
    if ".." in parts or name.startswith("/") or (parts and parts[0].endswith(":")):
        raise BadRequestError(f"the archive's entry {entry.filename!r} leads out of the folder")
    if (not parts and not _is_folder(entry)) or any(len(os.fsencode(p)) > 255 for p in parts):
        raise BadRequestError(f"the archive's entry {entry.filename!r} has a name of no file")
    return "/".join(parts)


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(("/", "\\"))


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return entry.create_system == _UNIX and stat.S_ISLNK(entry.external_attr >> 16)


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as packed, target.open("xb") as file:
        shutil.copyfileobj(packed, file)
    mode = entry.external_attr >> 16 & 0o777
    if entry.create_system == _UNIX and mode & 0o111:
        target.chmod(mode | 0o600)
    # A zip has times without a zone; like Kudu's machines we take them as UTC.
    with contextlib.suppress(ValueError, OverflowError):  # such as day 0 of month 0
        packed_at = calendar.timegm((*entry.date_time, 0, 0, 0))
        os.utime(target, (packed_at, packed_at))


def _link(source: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    text = source.read(entry) if entry.file_size <= _MAX_LINK_BYTES else b""
    if not text or text.startswith(b"/") or b"\0" in text:
        raise BadRequestError(
            f"the archive's entry {entry.filename!r} is a link that leads out of the folder"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(os.fsdecode(text), target)
