"""Unpacking an archive that a client has sent into an empty folder: all of it, inside, bounded.

Each refusal names the entry and what is wrong with it. Blocks.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from scheduler.errors import BadRequestError

MAX_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024
MAX_ENTRIES = 100_000


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive. Raises BadRequestError with the entry that is to blame."""
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            _check(entries)
            for entry in entries:
                _unpack_entry(source, entry, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise BadRequestError(f"the upload is no zip archive that can be read: {error}") from error


def _check(entries: list[zipfile.ZipInfo]) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or size > MAX_UNPACKED_BYTES:
        raise BadRequestError(
            f"the archive holds {len(entries)} entries of {size} bytes; the most is"
            f" {MAX_ENTRIES} entries of {MAX_UNPACKED_BYTES} bytes"
        )
    for entry in entries:
        parts = PurePosixPath(_name(entry)).parts
        if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
            raise BadRequestError(f"the archive's entry {entry.filename!r} leads out of the app")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadRequestError(
                f"the archive's entry {entry.filename!r} is a symbolic link; put the file itself in"
            )


def _unpack_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / _name(entry)
    try:
        if entry.is_dir() or entry.filename.endswith("\\"):
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(entry) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        told = f"the archive's entry {entry.filename!r} is a file and a folder at once"
        raise BadRequestError(told) from error
    if entry.external_attr >> 16 & 0o111:
        target.chmod(0o755)


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.replace("\\", "/")
