"""What a cold start is compared with: starting processes in the plainest ways, in the same run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from peers.environment import program

#: A bare interpreter that forks whenever it is asked, and says how long fork, exit and wait took.
_FORKER = """
import os, sys, time
for _ in sys.stdin:
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    print(time.perf_counter() - start, flush=True)
"""
_BARE = (sys.executable, "-I", "-S", "-c")

#: Returns the seconds that one start took.
Yardstick = Callable[[], float]


@contextmanager
def forker() -> Iterator[Yardstick]:
    """Give what measures fork, exit and wait of a bare interpreter."""
    command = [*_BARE, _FORKER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield partial(_ask, process)
        assert process.stdin is not None
        process.stdin.close()


def _ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def start_of(command: Sequence[str]) -> float:
    """Return how long a program takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


#: The interpreter without site-packages, doing nothing.
bare_python = partial(start_of, (*_BARE, "pass"))
#: The interpreter of this environment, doing nothing.
python = partial(start_of, (sys.executable, "-c", "pass"))


def import_of(folder: Path, module: str) -> Yardstick:
    """Return what measures a fresh interpreter that imports a module from a folder."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {module}"
    return partial(start_of, (*_BARE, code))


def bubblewrap() -> Yardstick:
    """Return what measures `true` in bubblewrap with six namespaces.

    Raises:
        UnavailableError: there is no bubblewrap.
    """
    program("bwrap", "bubblewrap")
    spaces = [f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts", "cgroup")]
    tree = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    return partial(start_of, ("bwrap", *spaces, *tree, "true"))
