"""Building a delivered tree: dependencies, or the app's own command, in a sandbox.

Each step is a command in a sandbox of its own (`build_sandbox.py`), and all together have a limit
of time. What was made of the same inputs before is linked to instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.cpu_time import tree_ticks
from sandbox.interpreters import find_python
from sandbox.spec import Exit
from sandbox.users import Users
from scheduler.app_settings import lookup
from scheduler.clock import Clock
from scheduler.file_index import Index
from scheduler.file_scan import scan
from scheduler.functions import Problem
from scheduler.job_manifest import find_jobs, job_roots
from scheduler.job_program import Launcher
from scheduler.manifest import function_folders
from scheduler.source.build_plan import (
    DEPLOYMENT_FILE,
    EXPORTED,
    HINTS,
    BuildPlanError,
    Custom,
    Step,
    Tool,
    custom,
    steps,
)
from scheduler.source.build_sandbox import BuildSandbox
from scheduler.source.delivery_log import DeliveryLog, ProgramOutput
from scheduler.source.kept_results import KeptResults

#: Of all steps of one delivery together; the app setting TAAK_BUILD_TIMEOUT, seconds.
BUILD_TIMEOUT_S = 1800


class BuildFailedError(Exception):
    """The tree cannot be built; the problems say why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folders of one build: the tree as it came, and an empty one for a command's result."""

    root: Path

    @property
    def tree(self) -> Path:
        """Return where the tree is."""
        return self.root / "tree"

    @property
    def target(self) -> Path:
        """Return where a command of the app's own may put what is to be deployed."""
        return self.root / "target"


class Builder:
    """Builds trees of one home, below HOME/builds.

    Attributes:
        settings: the app settings, read at the moment of use.
    """

    def __init__(
        self,
        launcher: Launcher,
        home: Path,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        environ: Mapping[str, str],
        users: Users | None = None,
        cpu_ticks: Callable[[int], int | None] = tree_ticks,
    ) -> None:
        builds = Path(os.path.realpath(home)) / "builds"
        self._run = builds / "run"
        self._sandbox = BuildSandbox(
            launcher,
            self._run,
            clock,
            settings=settings,
            environ=environ,
            users=users,
            cpu_ticks=cpu_ticks,
        )
        self._clock = clock
        self.settings = settings
        self._kept = KeptResults(builds / "kept")

    def open(self) -> None:
        """Remove what a killed platform left; blocks."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._run):
                if name != "cache":
                    shutil.rmtree(self._run / name, ignore_errors=True)
        shutil.rmtree(self._run.parent / "kept" / ".new", ignore_errors=True)

    def workplace(self, name: str) -> Workplace:
        """Return an empty place for one delivery."""
        place = Workplace(self._run / name)
        place.tree.mkdir(parents=True)
        return place

    async def discard(self, place: Workplace) -> None:
        """Remove a place with all in it, and caches that have grown too large."""
        await asyncio.to_thread(shutil.rmtree, place.root, ignore_errors=True)
        await asyncio.to_thread(self._sandbox.trim)

    async def build(self, place: Workplace, log: DeliveryLog, *, wanted: bool) -> Path:
        """Make what the tree asks for, and return the folder that is to be deployed.

        Raises BuildFailedError. Not `wanted`, the tree is taken as it is.
        """
        try:
            told = await asyncio.to_thread(_read, place.tree / DEPLOYMENT_FILE)
            special = custom(told, self.settings)
        except BuildPlanError as error:
            raise BuildFailedError(error.problem) from error
        tree = _project(place.tree, special)
        # Also what is only checked is read in a sandbox, whatever the umask made of it.
        await asyncio.to_thread(self._sandbox.give, place.tree)
        if not wanted:
            return tree
        limit_s = self._sandbox.seconds("TAAK_BUILD_TIMEOUT", BUILD_TIMEOUT_S)
        try:
            async with asyncio.timeout(limit_s):
                if special.command:
                    tree = await self._custom(place, tree, special, log)
                else:
                    await self._dependencies(tree, log)
        except TimeoutError as error:
            told = f"the build took longer than {limit_s} s; app setting TAAK_BUILD_TIMEOUT"
            raise BuildFailedError(Problem(".", told)) from error
        await asyncio.to_thread(_refuse_link, tree)
        return tree

    async def _dependencies(self, tree: Path, log: DeliveryLog) -> None:
        index = await asyncio.to_thread(scan, tree)
        roots = job_roots(tree, self.settings)
        jobs = [place.folder for place in find_jobs(index, roots, [])]
        planned = list(steps(index, function_folders(index), jobs, job_python=self._job_python))
        if not planned:
            log.say("No dependencies to install.")
            return
        for step in planned:
            await self._step(tree, index, step, log)
        for exported in {tree / step.folder / EXPORTED for step in planned}:
            exported.unlink(missing_ok=True)

    async def _step(self, tree: Path, index: Index, step: Step, log: DeliveryLog) -> None:
        folder = tree / step.folder
        made = folder / step.output
        key = await asyncio.to_thread(self._key, tree, step)
        is_kept = bool(key) and await asyncio.to_thread(self._kept.take, key, made)
        if is_kept:
            log.say(f"{step.asked_by}: unchanged, {step.output} is taken from an earlier build.")
            return
        where = f" in {step.folder}" if step.folder else ""
        log.say(f"Running {step.tool.value} {step.arguments[0]}{where} for {step.asked_by} ...")
        output = ProgramOutput(log.output, self._clock)
        argv = (self._program(step), *step.arguments)
        ended = await self._sandbox.run(
            argv, folder, output, shows=[step.python] if step.python else []
        )
        if not ended.ok:
            raise BuildFailedError(_failed(step, ended, output, index))
        if key:
            await asyncio.to_thread(self._kept.keep, key, made)

    def _key(self, tree: Path, step: Step) -> str:
        """Return a digest of everything that the result depends on; empty if that is not known."""
        if not step.inputs:
            return ""
        total = hashlib.sha256()
        python = os.path.realpath(step.python) if step.python else ""
        for fact in (step.tool.value, *step.arguments, python):
            total.update(fact.encode() + b"\0")
        for path in step.inputs:
            content = _read(tree / path)
            if content is None or _leads_elsewhere(path, content):
                return ""
            total.update(content.encode("utf-8", "surrogateescape") + b"\0")
        return total.hexdigest()

    async def _custom(
        self, place: Workplace, tree: Path, special: Custom, log: DeliveryLog
    ) -> Path:
        """Run a command of the app's own; what it puts into the target is deployed, if anything."""
        step = Step("", DEPLOYMENT_FILE, Tool.SHELL, ("-c", special.command))
        log.say(f"Running the command of {DEPLOYMENT_FILE}: {special.command}")
        place.target.mkdir()
        output = ProgramOutput(log.output, self._clock)
        await asyncio.to_thread(self._sandbox.give, place.target)
        more = {
            "DEPLOYMENT_SOURCE": str(tree),
            "DEPLOYMENT_TARGET": str(place.target),
            "DEPLOYMENT_TEMP": "/tmp",  # noqa: S108  inside it is private
        }
        ended = await self._sandbox.run(
            (self._program(step), *step.arguments), tree, output, environment=more
        )
        if not ended.ok:
            raise BuildFailedError(_failed(step, ended, output, None))
        return place.target if any(place.target.iterdir()) else tree

    def _program(self, step: Step) -> str:
        found = shutil.which(step.tool.value, path=self._sandbox.path)
        if step.tool is Tool.UV:
            found = _own_uv() or found
        if found is None:
            told = f"needs `{step.tool.value}`, which is not on the PATH of the platform"
            raise BuildFailedError(Problem(step.asked_by, f"{told}: {HINTS[step.tool]}"))
        return found

    def _job_python(self) -> str:
        path = self._sandbox.path
        chosen = lookup(self.settings, "TAAK_PYTHON") or ""
        return chosen or find_python(path) or "python3"


def _own_uv() -> str | None:
    """Return the uv that was installed with the platform."""
    return shutil.which("uv", path=sysconfig.get_path("scripts"))


def _refuse_link(folder: Path) -> None:
    """Refuse a link that a build has put in the folder's place: we would follow it anywhere."""
    if not folder.is_dir() or os.path.realpath(folder) != os.path.abspath(folder):
        told = "the build has replaced the folder that is deployed by a link, or removed it"
        raise BuildFailedError(Problem(".", told))


def _project(tree: Path, special: Custom) -> Path:
    project = tree / special.project
    if not special.project:
        return tree
    if not project.is_dir() or not project.resolve().is_relative_to(tree.resolve()):
        told = f"project = {special.project}: there is no such folder in the tree"
        raise BuildFailedError(Problem(DEPLOYMENT_FILE, told))
    return project.resolve()


def _read(path: Path) -> str | None:
    """Return a file of the tree; None if there is none, or a link, which may lead anywhere."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return None


_ELSEWHERE = re.compile(r"^\s*(?:-[rce]\b|--(?:requirement|constraint|editable)|\.|file:)|\bfile:")


def _leads_elsewhere(path: str, content: str) -> bool:
    """Tell whether a manifest names further files of the tree."""
    if path.endswith(".json"):
        return '"file:' in content or '"link": true' in content or '"path"' in content
    return any(_ELSEWHERE.search(line) for line in content.splitlines())


def _failed(step: Step, ended: Exit, output: ProgramOutput, index: Index | None) -> Problem:
    told = "\n".join(output.tail[-6:])
    command = (
        step.tool.value if step.tool is Tool.SHELL else f"{step.tool.value} {step.arguments[0]}"
    )
    message = f"`{command}` failed ({ended})" + (f":\n{told}" if told else "")
    line = _line_of(step, index, "\n".join(output.tail)) if index else 0
    return Problem(step.asked_by, message, line=line)


def _line_of(step: Step, index: Index, told: str) -> int:
    """Return the line of a requirements file whose package the failure names; 0 if none."""
    entry = index.entries.get(step.asked_by)
    if entry is None or not step.asked_by.endswith(".txt"):
        return 0
    text = _read(Path(entry.source)) or ""
    for number, line in enumerate(text.splitlines(), 1):
        name = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
        if name and re.search(rf"(?<![\w-]){re.escape(name[1])}(?![\w-])", told, re.IGNORECASE):
            return number
    return 0
