"""Are the scripts of jobs programs at all? Their interpreters are asked, before they are to serve.

What a function's first worker finds out by importing, nobody would find out about a job before its
next run. Asked is only about what has changed, each script in a sandbox without network.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.interpreters import find_python
from sandbox.programs import program_mounts
from sandbox.spec import Mount
from scheduler.app_settings import lookup
from scheduler.clock import Clock
from scheduler.file_scan import scan
from scheduler.functions import Problem
from scheduler.isolation import Isolation
from scheduler.job_manifest import choose_script, find_jobs, job_roots
from scheduler.job_program import Launcher
from scheduler.source.build_sandbox import BUILD_USER
from scheduler.source.delivery_log import ProgramOutput

_TIMEOUT_S = 20.0
_PYTHON = (
    "import sys\n"
    "name = sys.argv[1]\n"
    "try:\n"
    "    compile(open(name, 'rb').read(), name, 'exec')\n"
    "except (SyntaxError, ValueError) as error:\n"
    "    line = getattr(error, 'lineno', 0) or 0\n"
    "    sys.exit(f'line {line}: {getattr(error, \"msg\", error)}')\n"
)
#: extension -> program and options; the script's name follows.
_CHECKS: Mapping[str, tuple[str, ...]] = {
    ".py": ("python3", "-I", "-c", _PYTHON),
    ".sh": ("bash", "-n"),
    ".js": ("node", "--check"),
    ".php": ("php", "-l"),
}
_LINE = re.compile(r"(?:\bline |\.(?:js|php|sh|py):)(\d+)")
_WORDS = re.compile(r"(?:[A-Z]\w*Error: |[Pp]arse error: |syntax error|line \d+: ).*")


class ScriptCheck:
    """Asks about the scripts of one home."""

    def __init__(
        self,
        launcher: Launcher,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        environ: Mapping[str, str],
    ) -> None:
        self._launcher = launcher
        self._clock = clock
        self._settings = settings
        self._environ = environ

    async def problems(self, tree: Path, site: Path) -> tuple[Problem, ...]:
        """Return what is wrong with the scripts that are not the same in the site."""
        scripts = await asyncio.to_thread(self._changed, tree, site)
        found = [await self._ask(tree, path, owner) for path, owner in scripts]
        return tuple(filter(None, found))

    def _changed(self, tree: Path, site: Path) -> list[tuple[str, str]]:
        index = scan(tree)
        changed: list[tuple[str, str]] = []
        for job in find_jobs(index, job_roots(tree, self._settings), []):
            script = choose_script(index.files_in(job.folder))
            path = f"{job.folder}/{script}"
            if script and Path(script).suffix.lower() in _CHECKS and _differs(path, tree, site):
                changed.append((path, job.owner))
        return changed

    async def _ask(self, tree: Path, path: str, owner: str) -> Problem | None:
        program, *options = _CHECKS[Path(path).suffix.lower()]
        found = self._program(program)
        if found is None:
            return None  # that it cannot run here is told when the job is read
        file = tree / path
        spec = Isolation().spec(
            BUILD_USER,
            cwd=str(file.parent),
            argv=(found, *options, file.name),
            env={"PATH": self._path, "HOME": "/tmp", "NO_COLOR": "1"},  # noqa: S108
            mounts=dict.fromkeys([*program_mounts(found), Mount.at(tree)]),
        )
        output = ProgramOutput(lambda _: None, self._clock)
        try:
            process = await self._launcher.run(spec, output)
        except SandboxError:
            return None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                ended = await process.wait()
        except TimeoutError:
            return None  # it may be right, so it is not refused
        finally:
            await process.kill()
        return None if ended.ok else _problem(path, owner, output.tail)

    def _program(self, name: str) -> str | None:
        if name != "python3":
            return shutil.which(name, path=self._path)
        return lookup(self._settings, "TAAK_PYTHON") or find_python(self._path)

    @property
    def _path(self) -> str:
        return self._environ.get("PATH", os.defpath)


def _differs(path: str, tree: Path, site: Path) -> bool:
    try:
        return (tree / path).read_bytes() != (site / path).read_bytes()
    except OSError:
        return True


def _problem(path: str, owner: str, tail: list[str]) -> Problem:
    text = "\n".join(tail)
    line = _LINE.search(text)
    words = _WORDS.search(text)
    told = words[0] if words else (tail[-1] if tail else "its interpreter refuses it")
    told = re.sub(r"^line \d+: ", "", told)
    return Problem(path, f"cannot run: {told}", line=int(line[1]) if line else 0, owner=owner)
