"""A vocabulary for processes under the seccomp filter: statements that try, programs that run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_RUNTIME = str(Path(__file__).parents[2] / "sandbox" / "runtime")

#: Loads the filter as a sandbox has it; `found` is what the child tells.
_PRELUDE = """
import ctypes, errno, importlib.util, json, os, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "_runtime", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["_runtime"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from _runtime import bpf, seccomp
found = {}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def tried(call, *arguments):
    # What a call of libc answers: the name of its error, or "done".
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return errno.errorcode[ctypes.get_errno()] if call(*wide) == -1 else "done"

def attempt(function, *arguments):
    # What a call of Python answers.
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""
_EPILOGUE = "\nprint(json.dumps(found))\n"


def _python(code: str, cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    """Run statements after the prelude in a process of their own, isolated like a sandbox's."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", _PRELUDE + code, _RUNTIME],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(cwd)},
        check=False,
    )


def finds(code: str, cwd: Path | str = "/", *, install: str = "seccomp.install()") -> Any:
    """Return what the statements put into `found`, with the filter or what else is installed."""
    done = _python(f"{install}\n{code}{_EPILOGUE}", cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def runs(command: Sequence[str], cwd: Path) -> str:
    """Run a program under the filter and return what it printed; it must succeed."""
    done = _python(f"seccomp.install()\nos.execvp({command[0]!r}, {list(command)!r})", cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
