"""From arguments and the environment to an interpreter, and its end."""

from __future__ import annotations

import os
import sys

from .interpreter import Interpreter
from .paths import Places
from .processes import exit_code
from .shell import Shell
from .variables import Variables
from .words import quote


def main(arguments: list[str]) -> None:
    """Run a batch file with its arguments and end as it ends."""
    script, *words = arguments
    home = os.environ.get("HOME") or "/home"
    places = Places(home, os.environ.get("TMPDIR", "/tmp"))  # noqa: S108  private in a sandbox
    shell = Shell(Variables(os.environ), places)
    shell.processes.watch()
    sys.setrecursionlimit(20_000)
    os._exit(exit_code(Interpreter(shell).start(script, [quote(word) for word in words])))
