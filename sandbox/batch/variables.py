"""The environment as batch files see it: names without case, and names that are computed."""

from __future__ import annotations

import os
import platform
import random
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping

from .paths import Places

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Variables:
    """Names and values; a name is found whatever its case, and keeps the case it was made with."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._names: dict[str, str] = {}
        for name in self._values:
            self._names.setdefault(name.upper(), name)

    def copy(self) -> Variables:
        """Return an independent copy."""
        return Variables(self._values)

    def get(self, name: str) -> str | None:
        """Return a value, or None."""
        if name in self._values:
            return self._values[name]
        return self._values.get(self._names.get(name.upper(), name))

    def set(self, name: str, value: str) -> None:
        """Give a variable a value; the empty one removes it."""
        name = self._names.get(name.upper(), name)
        if value:
            self._values[name] = value
            self._names[name.upper()] = name
        else:
            self._values.pop(name, None)
            self._names.pop(name.upper(), None)

    def beginning_with(self, prefix: str) -> list[tuple[str, str]]:
        """Return names and values that begin so, in the order of `set`."""
        found = [(n, v) for n, v in self._values.items() if n.upper().startswith(prefix.upper())]
        return sorted(found, key=lambda item: item[0].upper())

    def exported(self, places: Places) -> dict[str, str]:
        """Return the environment of a program: PATH is in the words of this system."""
        exported = dict(self._values)
        path = self.get("PATH")
        if path is not None:
            exported["PATH"] = os.pathsep.join(search_path(path, places))
            exported.pop("Path", None)
        return exported


def search_path(path: str, places: Places) -> Iterable[str]:
    """Return the folders of a PATH to which a batch file may have added some of Windows."""
    for part in filter(None, path.split(";")):
        if _DRIVE.match(part) or "\\" in part:
            yield places.native(part)
        else:
            yield from filter(None, part.split(os.pathsep))


def _date() -> str:
    return time.strftime("%a %m/%d/%Y")


def _time() -> str:
    now = time.time()
    clock = time.localtime(now)
    hundredths = int(now % 1 * 100)
    return f"{clock.tm_hour:2}:{clock.tm_min:02}:{clock.tm_sec:02}.{hundredths:02}"


def _architecture() -> str:
    return {"x86_64": "AMD64", "aarch64": "ARM64"}.get(platform.machine(), "x86")


#: What Windows has and Linux has not; a variable of that name wins.
COMPUTED: Mapping[str, Callable[[], str]] = {
    "CD": os.getcwd,
    "DATE": _date,
    "TIME": _time,
    "RANDOM": lambda: str(random.randrange(32768)),
    "TEMP": lambda: os.environ.get("TMPDIR", "/tmp"),  # noqa: S108  private in a sandbox
    "TMP": lambda: os.environ.get("TMPDIR", "/tmp"),  # noqa: S108
    "OS": lambda: "Windows_NT",  # "if %OS%==Windows_NT setlocal" is in many a script
    "COMSPEC": lambda: "cmd.exe",
    "PATHEXT": lambda: ".COM;.EXE;.BAT;.CMD",
    "CMDEXTVERSION": lambda: "2",
    "COMPUTERNAME": socket.gethostname,
    "USERPROFILE": lambda: os.environ.get("HOME", "/"),
    "NUMBER_OF_PROCESSORS": lambda: str(os.cpu_count() or 1),
    "PROCESSOR_ARCHITECTURE": _architecture,
}
