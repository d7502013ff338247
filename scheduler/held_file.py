"""A small file that says who does something now, and is locked for as long as he lives.

Its text alone proves nothing, it may be left over from a crash; the lock (`flock`) ends with its
holder in whatever way he ends (webjobs.md 4.8). It is told to others, never asked by us: the right
to do something is a lease in the store.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from scheduler.shared_file import shared_opener

_log = logging.getLogger("taak.jobs")


class HeldFile:
    """One file of one owner. No failure of the disk gets out: the file is for others to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def write(self, text: str) -> None:
        """Hold the file with this text; readers see the old text or the new one, locked."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = shared_opener(str(draft), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.path, error)
            return
        try:
            fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fresh, text.encode())
            draft.replace(self.path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.path, error)
            os.close(fresh)
            with suppress(OSError):
                draft.unlink()
            return
        self.let_go()
        self._descriptor = fresh

    def let_go(self) -> None:
        """Unlock the file and leave it where it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Unlock the file and remove it; one that was not written is left alone."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self.path.unlink()
        self.let_go()


def is_held(path: Path) -> bool:
    """Tell whether somebody who lives holds the file."""
    try:
        descriptor = shared_opener(str(path), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_text(operation: str, now: datetime, instance: str) -> str:
    """Return what Kudu writes into a lock file; nobody needs a stack of ours."""
    return json.dumps(
        {
            "OperationName": operation,
            "AcquiredDateTime": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond:06}0Z",
            "InstanceId": instance,
            "StackTrace": "",
        },
        separators=(",", ":"),
    )
