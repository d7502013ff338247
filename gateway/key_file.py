"""The key files of HOME/data/secrets: reading with good errors, writing without half states.

The format is the Azure Functions host's (functions.md 7.2). This file knows the format and the
disk; who may do what with a key is decided in `keys.py`.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST_FILE = "host.json"
#: Beside the files of functions, whose names have no dots.
SCOPED_FILE = "taak.keys.json"
#: 40 random bytes are 54 url-safe characters; the contract asks for at least 40.
_KEY_BYTES = 40


class KeyFileError(Exception):
    """A key file cannot be used. Raised at start; a later bad edit keeps the keys in force."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(
            f"{path}:{line}: {problem}. Mend the file, or move it away to have new keys made"
            " (clients that hold the old ones are then refused)"
        )
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One named key; `scope` is our own addition to a system key (a word of `scopes.py`)."""

    name: str
    value: str
    scope: str = ""

    def wire(self) -> dict[str, Any]:
        """Return the entry as the file holds it."""
        entry: dict[str, Any] = {"name": self.name, "value": self.value, "encrypted": False}
        return {**entry, "taak": {"scope": self.scope}} if self.scope else entry


@dataclass(frozen=True, slots=True)
class HostKeys:
    """What host.json holds."""

    master: StoredKey
    function_keys: tuple[StoredKey, ...] = ()
    system_keys: tuple[StoredKey, ...] = ()

    def wire(self) -> dict[str, Any]:
        """Return the file's content."""
        return {
            "masterKey": self.master.wire(),
            "functionKeys": [key.wire() for key in self.function_keys],
            "systemKeys": [key.wire() for key in self.system_keys],
        }


@dataclass(frozen=True, slots=True)
class ScopedKey:
    """A key of management: what it opens, and the digest of a value that nobody keeps."""

    name: str
    scopes: tuple[str, ...]
    digest: str
    created_at: str

    def wire(self) -> dict[str, Any]:
        """Return the entry as the file holds it."""
        return {
            "name": self.name,
            "scopes": list(self.scopes),
            "sha256": self.digest,
            "created_at": self.created_at,
        }


def new_key(name: str, scope: str = "") -> StoredKey:
    """Return a fresh random key."""
    return StoredKey(name, new_value(), scope)


def new_value() -> str:
    """Return the text of a fresh random key."""
    return secrets.token_urlsafe(_KEY_BYTES)


def new_host_keys() -> HostKeys:
    """Return the keys of a new home: a master key and the default function key."""
    return HostKeys(master=new_key("_master"), function_keys=(new_key("default"),))


def read_host_keys(path: Path) -> HostKeys:
    """Read host.json; KeyFileError names file and line of what is wrong."""
    text, document = _read_object(path)
    if "masterKey" not in document:
        raise KeyFileError(path, 1, "masterKey is missing")
    return HostKeys(
        master=_key(path, text, "masterKey", document["masterKey"]),
        function_keys=_keys(path, text, "functionKeys", document.get("functionKeys")),
        system_keys=_keys(path, text, "systemKeys", document.get("systemKeys")),
    )


def read_function_keys(path: Path) -> tuple[StoredKey, ...]:
    """Read `<function>.json`."""
    text, document = _read_object(path)
    return _keys(path, text, "keys", document.get("keys"))


def read_scoped_keys(path: Path) -> tuple[ScopedKey, ...]:
    """Read the keys of management; a file that is not there holds none."""
    if not path.exists():
        return ()
    text, document = _read_object(path)
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise KeyFileError(path, _line_of(text, "keys"), "keys: a list is expected")
    return tuple(_scoped_key(path, text, place, entry) for place, entry in enumerate(entries))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace a key file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_object(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KeyFileError(path, 1, f"not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise KeyFileError(path, 1, f"cannot be read ({error.strerror})") from error
    try:
        document = json.loads(text)
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        told = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise KeyFileError(path, line, f"not valid JSON ({told})") from error
    if not isinstance(document, dict):
        raise KeyFileError(path, 1, "a JSON object is expected")
    return text, document


def _keys(path: Path, text: str, field: str, value: object) -> tuple[StoredKey, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise KeyFileError(path, _line_of(text, field), f"{field}: a list of keys is expected")
    return tuple(_key(path, text, f"{field}[{place}]", entry) for place, entry in enumerate(value))


def _key(path: Path, text: str, field: str, entry: object) -> StoredKey:
    line = _line_of(text, field.partition("[")[0])
    if not isinstance(entry, dict) or not isinstance(entry.get("value"), str) or not entry["value"]:
        raise KeyFileError(path, line, f'{field}: {{"name": …, "value": TEXT}} is expected')
    if entry.get("encrypted"):
        raise KeyFileError(
            path, line, f"{field}: is encrypted for another host; write the plain value"
        )
    ours = entry.get("taak")
    scope = ours.get("scope", "") if isinstance(ours, dict) else ""
    return StoredKey(str(entry.get("name") or "default"), entry["value"], str(scope))


def _scoped_key(path: Path, text: str, place: int, entry: object) -> ScopedKey:
    told = entry if isinstance(entry, dict) else {}
    name, digest, scopes = told.get("name"), told.get("sha256"), told.get("scopes")
    if not (isinstance(name, str) and isinstance(digest, str) and isinstance(scopes, list)):
        form = '{"name": …, "scopes": […], "sha256": TEXT}'
        raise KeyFileError(path, _line_of(text, "keys"), f"keys[{place}]: {form} is expected")
    return ScopedKey(name, tuple(map(str, scopes)), digest, str(told.get("created_at", "")))


def _line_of(text: str, field: str) -> int:
    at = text.find(f'"{field}"')
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
