"""Which debugger a script has, and how it is started under it; refusals say why there is none.

Every debugger here listens itself, at one port of the loopback that the program is in, and lets a
client go and come back. Whoever gets at the port can do what the program can: that only the
platform does is the sandbox's network's work, or whoever lets it run elsewhere has to know.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sandbox.errors import SandboxError
from sandbox.interpreters import Command

#: Runs a Python script under debugpy, inside the sandbox, by the job's own Python.
STARTER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "debugpy_start.py")


class NoDebuggerError(SandboxError):
    """A script of this kind cannot be debugged; the message says why, `hint` what to do instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class DebugStart:
    """A start under a debugger: where it listens, and whether the program waits for a client."""

    port: int
    wait: bool = False

    @property
    def address(self) -> str:
        """Return the address as debuggers take it."""
        return f"127.0.0.1:{self.port}"


_DEBUGGERS: Final = {".py": "debugpy", ".js": "node", ".jar": "jdwp"}
_NATIVE = "It has no debugger that could be reached over TCP."
_WHY: Final[Mapping[str, tuple[str, str]]] = {
    ".php": (
        "Xdebug connects from the program to the editor, and nothing gets out of the sandbox.",
        "Run the script where the editor is.",
    ),
    ".ps1": (
        "PowerShell's debugger is reached through a pipe in the file system of the sandbox.",
        "Run the script where the editor is.",
    ),
    ".fsx": ("The .NET debugger attaches by ptrace, which the sandbox forbids.", ""),
    ".exe": ("A program's own debugger attaches by ptrace, which the sandbox forbids.", ""),
}


def debugger_of(script: str) -> str:
    """Return the name of the debugger for a script: debugpy, node or jdwp.

    Raises:
        NoDebuggerError: there is none.
    """
    extension = os.path.splitext(script)[1].lower()
    if extension not in _DEBUGGERS:
        why, hint = _WHY.get(extension, (_NATIVE, ""))
        can = "Python (.py), Node (.js) and Java (.jar) jobs can be debugged."
        raise NoDebuggerError(f"{script}: {why}", f"{hint} {can}".strip())
    return _DEBUGGERS[extension]


def under_debugger(start: Command, script: str, debug: DebugStart) -> Command:
    """Return how to start the script under its debugger.

    Raises:
        NoDebuggerError: there is none, or it is not installed.
    """
    return _STARTS[debugger_of(script)](start, debug)


def debugpy_folder() -> str:
    """Return where debugpy is; nothing of it is loaded here. NoDebuggerError if it is absent."""
    spec = importlib.util.find_spec("debugpy")
    if spec is None or spec.origin is None:
        raise NoDebuggerError("debugpy is not installed.", "pip install debugpy, beside Taak.")
    return str(Path(spec.origin).parent)


def _python(start: Command, debug: DebugStart) -> Command:
    program, *script = start.argv
    folder = debugpy_folder()
    waits = "wait" if debug.wait else "go"
    # Frozen modules hide from a debugger; and it would say so at each start.
    argv = (program, "-X", "frozen_modules=off", STARTER, folder, str(debug.port), waits, *script)
    return replace(start, argv=argv, shows=(*start.shows, STARTER, folder))


def _node(start: Command, debug: DebugStart) -> Command:
    program, *script = start.argv
    flag = "--inspect-brk" if debug.wait else "--inspect"
    return replace(start, argv=(program, f"{flag}={debug.address}", *script))


def _java(start: Command, debug: DebugStart) -> Command:
    program, *rest = start.argv
    suspend = "y" if debug.wait else "n"
    options = f"transport=dt_socket,server=y,suspend={suspend},address={debug.address}"
    return replace(start, argv=(program, f"-agentlib:jdwp={options}", *rest))


_STARTS: Final[Mapping[str, Callable[[Command, DebugStart], Command]]] = {
    "debugpy": _python,
    "node": _node,
    "jdwp": _java,
}
