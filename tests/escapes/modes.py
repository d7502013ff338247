"""The kinds of runs: who the platform is, what the machine refuses, what is left out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from real.unprivileged import ROOT

from .attacks import ALONE, ATTACKS, USES
from .bait import SECRET
from .outer import UNABLE

#: The user of the attacker's sandbox where the platform is root, and the next is its sibling's. Not
#: the first of the range: what other platforms run as the same user would count for its limits.
ATTACKER = 62_000 + 2 * (os.getpid() % 1000)
#: The platform's user where it is not root, for the same reason not simply nobody.
PLATFORM = 64_000 + os.getpid() % 1000
_SECONDS = 90


class ImpossibleError(Exception):
    """This machine, or the user of the tests, cannot have such a run."""


@dataclass(frozen=True)
class Mode:
    """One kind of run.

    Attributes:
        name: as tests and tables show it.
        root: the platform runs as root, else as a user without any right.
        refuse: the machine refuses name spaces, as containers do.
        bare: without a sandbox.
        without: the layer that is left out, "" for none.
    """

    name: str
    root: bool
    level: str = "standard"
    network: str = "none"
    refuse: bool = False
    bare: bool = False
    without: str = ""

    @property
    def attacks(self) -> list[str]:
        """Return the attacks of the run: what costs a sandbox each is no matter of one layer."""
        return [name for name in ATTACKS if not (self.without and name in ALONE)]

    @property
    def user(self) -> int:
        """Return the platform's user."""
        if self.root:
            return 0
        return os.getuid() or PLATFORM

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What a run printed: verdicts of the attacker as a program and as a function."""

    layers: dict[str, Any]
    program: dict[str, str]
    worker: dict[str, str]
    left: list[str]
    spoiled: list[str]

    def verdicts(self, name: str) -> dict[str, str]:
        """Return all that is said of one attempt."""
        tables = {"program": self.program, "worker": self.worker}
        return {kind: table[name] for kind, table in tables.items() if name in table}

    @property
    def open(self) -> frozenset[str]:
        """Return the attacks that went through, in whatever part."""
        both = (*self.program.items(), *self.worker.items())
        return frozenset(name for name, said in both if said.startswith("open"))

    @property
    def broken(self) -> dict[str, str]:
        """Return the attempts that have a fault themselves."""
        both = (*self.program.items(), *self.worker.items())
        return {name: said for name, said in both if said.startswith("broken")}


def _both(name: str, **how: Any) -> tuple[Mode, Mode]:
    return Mode(f"{name}-root", root=True, **how), Mode(f"{name}-user", root=False, **how)


BARE = _both("bare", bare=True)
STANDARD = _both("standard")
OUTBOUND = _both("outbound", network="outbound")
STRICT = _both("strict", level="strict")
PROCESS = _both("process", refuse=True)
TRUSTED = _both("trusted", level="trusted", network="host")

LAYERS = ("seccomp", "namespaces", "landlock", "capabilities")
WITHOUT = tuple(mode for layer in LAYERS for mode in _both(f"no-{layer}", without=layer))


@cache
def run(mode: Mode) -> Result | Exception:
    """Run the driver in this mode, once; returns why there is no result, if there is none.

    That is an ImpossibleError when root is needed, or name spaces for what the run happens in.
    """
    try:
        return _run(mode)
    except Exception as error:  # noqa: BLE001 - each who asks is to be told the same
        return error


def _run(mode: Mode) -> Result:
    if mode.root and os.getuid() != 0:
        raise ImpossibleError("the tests do not run as root")
    with _folder(mode) as folder:
        done = subprocess.run(
            _command(mode, folder),
            cwd=ROOT,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": str(folder / "tmp"),
                SECRET: "of the platform",
            },
            capture_output=True,
            text=True,
            timeout=_SECONDS + 10,
            check=False,
        )
    if done.returncode == UNABLE and "unshare" in done.stderr:
        raise ImpossibleError(done.stderr.strip())
    if done.returncode:
        raise AssertionError(f"{mode}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return Result(**json.loads(done.stdout))


def _command(mode: Mode, folder: Path) -> list[str]:
    outer = ["--seconds", str(_SECONDS), "--user", str(mode.user)]
    # Where sandboxes have no file tree of their own, their user must reach the interpreter by
    # itself. As root with one it need not, and must not have to (sandbox.md T3).
    if not mode.root or mode.refuse or mode.level == "trusted" or mode.without == "namespaces":
        outer.append("--reachable")
    if mode.refuse:
        outer.append("--refuse-namespaces")
    driver = [str(folder), "--level", mode.level, "--network", mode.network]
    driver += ["--uid", str(ATTACKER if mode.root else 0), "--without", mode.without]
    driver += ["--bare"] if mode.bare else []
    driver += ["--only", ",".join((*mode.attacks, *USES))]
    python = [sys.executable, "-m"]
    return [*python, "escapes.outer", *outer, "--", *python, "escapes.driver", *driver]


@contextlib.contextmanager
def _folder(mode: Mode) -> Iterator[Path]:
    """Make the folder of a run, which anybody may enter and the platform's user owns."""
    folder = Path(tempfile.mkdtemp(prefix="escape-"))
    try:
        folder.chmod(0o755)
        code = folder / "app" / "f"
        code.mkdir(parents=True)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o777)
        if os.getuid() == 0:
            for path in (folder, folder / "app", code):
                os.chown(path, mode.user, mode.user)
            program = Path(shutil.copy("/usr/bin/id", code / "suid"))
            program.chmod(0o4755)
        yield folder
    finally:
        shutil.rmtree(folder)
