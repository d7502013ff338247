"""Exit codes, which are an interface (scripts rely on them), and the one error that carries one."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What the command ends with; the numbers never change."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    INVALID = 3  # configuration or package
    NOT_FOUND = 4
    CONFLICT = 5  # already running, version changed
    NOT_AUTHORISED = 6
    UNREACHABLE = 7  # no platform, or it is not ready
    RUN_FAILED = 8
    TIMED_OUT = 9
    BUILD_FAILED = 10
    INTERRUPTED = 130


class CliError(Exception):
    """Anything that a verb ends with other than success. `app.py` prints it and exits.

    `hint` tells what to do next; `facts` are added to the JSON form.
    """

    def __init__(
        self, message: str, code: ExitCode, *, hint: str = "", facts: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.facts = facts or {}

    def document(self) -> dict[str, Any]:
        """Return the error as `--json` shows it."""
        name = self.code.name.lower()
        error = {"message": self.message, "exit_code": int(self.code), "name": name, **self.facts}
        return {"error": {**error, "hint": self.hint} if self.hint else error}
