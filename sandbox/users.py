"""A user of its own for each bundle, when the platform is root: never is user code root.

The numbers come from a range that no account is given, and stay the same for a name as long as the
home lives, because a job's data files belong to them. Without root all sandboxes keep the
platform's user, each in a user namespace of its own.
"""

from __future__ import annotations

import json
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Final

from sandbox.errors import SpawnFailedError

#: The first is left to nobody by systemd's plan of user numbers; the second, which it gives to
#: services with DynamicUser, is all that many containers have.
RANGES: Final = (range(2_000_000_000, 2_001_000_000), range(61184, 65520))


class UsersExhaustedError(SpawnFailedError):
    """There are more bundles than users; the message tells the number."""


class Users:
    """Which user a bundle runs as. One value a platform; `file` keeps what was given out.

    Attributes:
        separate: each bundle has a user of its own.
    """

    def __init__(
        self, file: Path | None, *, root: bool | None = None, numbers: range | None = None
    ) -> None:
        self._range = numbers or _usable() or RANGES[-1]
        self.separate = os.geteuid() == 0 and _usable() is not None if root is None else root
        self._file = file
        self._given: dict[str, int] = {}
        if self.separate and file is not None:
            self._load(file)
        self._next = max(self._given.values(), default=self._range.start - 1) + 1

    def uid(self, name: str) -> int:
        """Return the user of a bundle; 0 where sandboxes keep the platform's own.

        Raises:
            UsersExhaustedError: every number of the range is taken.
            OSError: the choice cannot be kept.
        """
        if not self.separate:
            return 0
        if name not in self._given:
            uid = self._free()
            self._keep(name, uid)
            self._given[name], self._next = uid, uid + 1
        return self._given[name]

    def _free(self) -> int:
        for uid in range(self._next, self._range.stop):
            if not _is_account(uid):
                return uid
        raise UsersExhaustedError(
            f"all {len(self._range)} users for sandboxes are taken; start with a fresh home"
        )

    def _load(self, file: Path) -> None:
        with suppress(FileNotFoundError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError):
                    name, uid = json.loads(line)
                    if uid in self._range and isinstance(name, str):
                        self._given[name] = uid

    def _keep(self, name: str, uid: int) -> None:
        """Add a line: with thousands of bundles the whole would be written thousands of times."""
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, uid]) + "\n")


def _usable() -> range | None:
    """Return the range that this process's user namespace knows whole."""
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return RANGES[0]
    spans = [tuple(map(int, line.split())) for line in lines]
    for numbers in RANGES:
        if any(a <= numbers[0] and numbers[-1] < a + count for a, _, count in spans):
            return numbers
    return None


def _is_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
