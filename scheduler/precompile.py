"""Byte code for the Python files of a release, made before a worker needs it.

Code is compiled, never run. A file that does not compile is left alone: the worker's import says
so, with the user's own traceback.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import py_compile
import subprocess
import sys
from collections.abc import Sequence

_log = logging.getLogger("taak.releases")

#: So many files are compiled here, at about a millisecond each; more go to a process of their own,
#: so that the event loop does not wait for this thread to give up the interpreter lock.
INLINE_FILES = 8
#: Larger files are left to the worker: compiling them would stall the loop.
MAX_INLINE_BYTES = 256 * 1024
#: Bound of the process; what is not compiled by then is compiled by the workers.
PROCESS_TIMEOUT_S = 20.0

_MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH  # a release never changes: nothing to check


def compile_files(files: Sequence[str]) -> None:
    """Write the byte code of these files beside them."""
    if len(files) > INLINE_FILES:
        _compile_in_process(files)
        return
    for path in files:
        if os.path.getsize(path) <= MAX_INLINE_BYTES:
            _compile(path)


def byte_code_path(path: str) -> str:
    """Return where the byte code of a file stands."""
    return importlib.util.cache_from_source(path)


def _compile(path: str) -> None:
    try:
        py_compile.compile(path, doraise=True, quiet=2, invalidation_mode=_MODE)
    except (py_compile.PyCompileError, ValueError, RecursionError, MemoryError, OSError) as error:
        _log.debug("%s is not compiled: %s", path, error)


def _compile_in_process(files: Sequence[str]) -> None:
    command = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-q", "-i", "-"]
    try:
        subprocess.run(
            [*command, "--invalidation-mode", "unchecked-hash"],
            input="\n".join(files).encode("utf-8", "surrogateescape"),
            env={},
            check=False,
            capture_output=True,
            timeout=PROCESS_TIMEOUT_S,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        _log.warning("byte code of %d files was not made ahead: %s", len(files), error)
