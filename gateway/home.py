"""The home: the one directory that the platform writes to, and the lock that makes it ours."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_LOCK = "taak.lock"
_RUN = "run.json"


class HomeLockedError(Exception):
    """Another process runs on this home; the message names it."""


class Home:
    """A locked home. Leaving the context gives it back; the kernel does so when we are killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    @property
    def secrets(self) -> Path:
        """Return the folder of the keys."""
        return self.path / "data" / "secrets"

    @property
    def settings(self) -> Path:
        """Return the file of the app settings that are set while the platform runs."""
        return self.path / "data" / "settings" / "settings.json"

    @property
    def function_logs(self) -> Path:
        """Return the folder of what functions print."""
        return self.path / "data" / "functions"

    def __enter__(self) -> Self:
        for folder in ("data", "tmp", "releases", "site/jobs"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 200).decode(errors="replace").strip() or "another process"
            os.close(self._lock)
            raise HomeLockedError(
                f"{self.path} is in use by {owner}; stop it, or give another --home"
            ) from None
        # What a killed process left behind would be taken for ours until we announce ourselves.
        os.ftruncate(self._lock, 0)
        (self.path / _RUN).unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        (self.path / _RUN).unlink(missing_ok=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def announce(self, facts: Mapping[str, object]) -> None:
        """Tell the commands on this machine where the platform listens (run.json)."""
        owner = f"pid {os.getpid()} (instance {facts['instance']}, {facts['management_url']})\n"
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, owner.encode(), 0)
        staged = self.path / f"{_RUN}.new"
        staged.write_text(json.dumps({"pid": os.getpid(), **facts}) + "\n", encoding="utf-8")
        staged.replace(self.path / _RUN)
