"""App settings that are set while the platform runs: the values of /api/settings (webjobs.md 3.1).

They win over the app settings of the environment and of local.settings.json, are given to jobs, and
hold at the next use: nothing is restarted for them. One file keeps them; it is replaced as a whole
and counts its versions, so that what was set is either all there or not at all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from scheduler.errors import BadRequestError, ConflictError

MAX_SETTINGS = 1000
#: The kernel takes no longer text in an environment (128 KiB), and all have to fit together.
MAX_VALUE_CHARS = 32 * 1024
MAX_TOTAL_CHARS = 512 * 1024

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,255}")


class LiveSettings(Mapping[str, str]):
    """The platform's app settings as they are now: those of its environment and those set since."""

    def __init__(self, environment: Mapping[str, str], path: Path | None = None) -> None:
        """Read what was set before.

        Raises:
            ConflictError: the file is there and cannot be read; it is not replaced by an empty one.
        """
        self._environment = dict(environment)
        self._path = path
        self._turn = threading.Lock()  # writing blocks, so it is done in threads
        self._version, self._chosen = _read(path) if path else (0, {})
        self._all = laid_over(self._environment, self)

    @property
    def chosen(self) -> Mapping[str, str]:
        """Return what was set while the platform ran, in this life or an earlier one."""
        return MappingProxyType(self._chosen)

    def put(self, changes: Mapping[str, str]) -> None:
        """Set some; durable on return. BadRequestError says what is wrong with a name or value.

        OSError: the disk refuses, and nothing has changed.
        """
        for name, value in changes.items():
            _check(name, value)
        names = {name.casefold() for name in changes}
        with self._turn:
            kept = {key: text for key, text in self._chosen.items() if key.casefold() not in names}
            self._replace({**kept, **changes})

    def remove(self, name: str) -> None:
        """Take one back, in any case; what the environment says of it holds again."""
        with self._turn:
            kept = {
                key: text for key, text in self._chosen.items() if key.casefold() != name.casefold()
            }
            if len(kept) < len(self._chosen):
                self._replace(kept)

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        """Be true: `settings or {}` must not let go of what is only empty for now."""
        return True

    def _replace(self, chosen: dict[str, str]) -> None:
        total = sum(len(name) + len(value) for name, value in chosen.items())
        if len(chosen) > MAX_SETTINGS or total > MAX_TOTAL_CHARS:
            raise BadRequestError(
                f"{len(chosen)} settings of {total} characters are too many: {MAX_SETTINGS} of"
                f" {MAX_TOTAL_CHARS} characters are the most; DELETE some"
            )
        if self._path is not None:
            _write(self._path, {"version": self._version + 1, "settings": chosen})
        self._version, self._chosen = self._version + 1, chosen
        self._all = laid_over(self._environment, self)


def laid_over(own: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return an app's own settings with those laid over them that were set while we ran."""
    chosen = settings.chosen if isinstance(settings, LiveSettings) else {}
    names = {name.casefold() for name in chosen}
    return {**{name: own[name] for name in own if name.casefold() not in names}, **chosen}


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadRequestError(
            f"{name[:80]!r} is no name of a setting: letters, digits, _ . : and -, 256 at most"
        )
    if "\0" in value or len(value) > MAX_VALUE_CHARS:
        raise BadRequestError(
            f"the value of {name} has {len(value)} characters; {MAX_VALUE_CHARS} are the most, and"
            " none of them NUL: it becomes a variable of a job's environment"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError(
            f"the value of {name} holds half a surrogate pair: {error}"
        ) from error


def _read(path: Path) -> tuple[int, dict[str, str]]:
    try:
        document = json.loads(path.read_text("utf-8"))
        chosen = {str(name): str(value) for name, value in document["settings"].items()}
        return int(document["version"]), chosen
    except FileNotFoundError:
        return 0, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConflictError(
            f"{path}: the settings set through /api/settings cannot be read ({error}). Mend the"
            " file, or move it away to start without them"
        ) from error


def _write(path: Path, document: dict[str, object]) -> None:
    """Replace the file in one step, for its owner alone, and make it last."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
