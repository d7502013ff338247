"""Building a delivered tree: dependencies, or the app's own command, in a sandbox.

Installers run code of strangers (setup.py, scripts of npm), so each step is a lease like a job's
run: a sandbox of its own that sees the tree, the caches and the tool, has the network for
downloads, a limit for silence and one for the whole. What was made of the same inputs before is
linked to instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sandbox.cpu_time import tree_ticks
from sandbox.interpreters import find_python
from sandbox.programs import program_mounts
from sandbox.spec import MIB, Exit, Mount, Network
from sandbox.users import Users
from scheduler.app_settings import lookup
from scheduler.clock import Clock
from scheduler.file_index import Index
from scheduler.file_scan import scan
from scheduler.functions import Problem
from scheduler.idle_rule import IdleRule
from scheduler.isolation import Isolation
from scheduler.job_manifest import find_jobs, job_roots
from scheduler.job_program import Launcher, Process, watch_over
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
from scheduler.source.delivery_log import DeliveryLog, ProgramOutput
from scheduler.source.kept_results import KeptResults
from scheduler.source.package_index import package_index

#: Of all steps of one delivery together; the app setting TAAK_BUILD_TIMEOUT, seconds.
BUILD_TIMEOUT_S = 1800
#: Silence, without output or processor time, after which a step is looked at, and after as much
#: again ended; SCM_COMMAND_IDLE_TIMEOUT, seconds.
IDLE_TIMEOUT_S = 60
#: Whose builds are, and checks of what they leave.
BUILD_USER = "build"
_LOOK_S = 1.0
#: A build that leaves less of the disk is ended: the store and the logs need some.
LEAST_FREE_BYTES = 256 * MIB
#: Of all package managers together; beyond it their caches are emptied.
CACHE_BYTES = 4096 * MIB
_ISOLATION = Isolation(
    network=Network.OUTBOUND,
    memory_mib=4096,
    processes=1024,
    open_files=4096,
    tmp_mib=4096,
    tmp_files=1_000_000,
)


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
        self._launcher = launcher
        self._clock = clock
        self.settings = settings
        self._environ = environ
        self._users = users
        self._cpu_ticks = cpu_ticks
        # One folder is shown to all steps: links between caches and trees need one mount.
        builds = Path(os.path.realpath(home)) / "builds"
        self._run = builds / "run"
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
        await asyncio.to_thread(self._trim)

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
        await asyncio.to_thread(self._give, place.tree)
        if not wanted:
            return tree
        limit_s = self._seconds("TAAK_BUILD_TIMEOUT", BUILD_TIMEOUT_S)
        try:
            async with asyncio.timeout(limit_s):
                if special.command:
                    return await self._custom(place, tree, special, log)
                await self._dependencies(tree, log)
        except TimeoutError as error:
            told = f"the build took longer than {limit_s} s; app setting TAAK_BUILD_TIMEOUT"
            raise BuildFailedError(Problem(".", told)) from error
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
        ended = await self._run_program(
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
        await asyncio.to_thread(self._give, place.target)
        more = {
            "DEPLOYMENT_SOURCE": str(tree),
            "DEPLOYMENT_TARGET": str(place.target),
            "DEPLOYMENT_TEMP": "/tmp",  # noqa: S108  inside it is private
        }
        ended = await self._run_program(
            (self._program(step), *step.arguments), tree, output, environment=more
        )
        if not ended.ok:
            raise BuildFailedError(_failed(step, ended, output, None))
        return place.target if any(place.target.iterdir()) else tree

    async def _run_program(
        self,
        argv: Sequence[str],
        cwd: Path,
        output: ProgramOutput,
        *,
        environment: Mapping[str, str] | None = None,
        shows: Sequence[str] = (),
    ) -> Exit:
        found = package_index(self.settings, self._environ)
        isolation = replace(_ISOLATION, ports=found.ports)
        path = self._environ.get("PATH", os.defpath)
        programs = [argv[0], *shows, *filter(None, (shutil.which(n, path=path) for n in _ALSO))]
        mounts = [mount for program in programs for mount in program_mounts(program)]
        mounts += [Mount.at(folder) for folder in found.folders]
        spec = isolation.spec(
            BUILD_USER,
            cwd=str(cwd),
            argv=tuple(argv),
            env={**self._environment(path, cwd), **found.environment, **(environment or {})},
            mounts=dict.fromkeys([*mounts, Mount.at(self._run, writable=True)]),
        )
        process = await self._launcher.run(spec, output)
        return await watch_over(process, self._end_when_silent(process, output))

    def _environment(self, path: str, cwd: Path) -> dict[str, str]:
        cache = self._run / "cache"
        home = self._run / cwd.relative_to(self._run).parts[0] / "home"
        home.mkdir(exist_ok=True)
        self._give(home)
        for tool in ("uv", "npm", "pip", "composer"):
            (cache / tool).mkdir(parents=True, exist_ok=True)
        self._give(cache)
        return {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "CI": "true",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "UV_CACHE_DIR": str(cache / "uv"),
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "PIP_CACHE_DIR": str(cache / "pip"),
            "npm_config_cache": str(cache / "npm"),
            "COMPOSER_CACHE_DIR": str(cache / "composer"),
            "COMPOSER_HOME": str(home / "composer"),
        }

    async def _end_when_silent(self, process: Process, output: ProgramOutput) -> None:
        timeout_s = self._seconds("SCM_COMMAND_IDLE_TIMEOUT", IDLE_TIMEOUT_S)
        rule = IdleRule(timeout_s, self._clock.monotonic())
        sample = partial(self._cpu_ticks, process.pid)
        told = (
            f"Command was aborted due to no output nor CPU activity for {timeout_s + 1} seconds. "
            "You can increase the SCM_COMMAND_IDLE_TIMEOUT app setting if needed."
        )
        while not rule.is_hung(self._clock.monotonic(), output.last_write, sample):
            await self._clock.sleep(_LOOK_S)
            if shutil.disk_usage(self._run).free < LEAST_FREE_BYTES:
                told = f"Command was aborted: less than {LEAST_FREE_BYTES >> 20} MiB are free."
                break
        output.abort(told)
        await process.kill()

    def _program(self, step: Step) -> str:
        path = self._environ.get("PATH", os.defpath)
        found = shutil.which(step.tool.value, path=path)
        if step.tool is Tool.UV:
            found = _own_uv() or found
        if found is None:
            told = f"needs `{step.tool.value}`, which is not on the PATH of the platform"
            raise BuildFailedError(Problem(step.asked_by, f"{told}: {HINTS[step.tool]}"))
        return found

    def _job_python(self) -> str:
        path = self._environ.get("PATH", os.defpath)
        chosen = lookup(self.settings, "TAAK_PYTHON") or ""
        return chosen or find_python(path) or "python3"

    def _trim(self) -> None:
        cache = self._run / "cache"
        files = (os.path.join(base, name) for base, _, names in os.walk(cache) for name in names)
        if sum(map(_size, files)) > CACHE_BYTES:
            shutil.rmtree(cache, ignore_errors=True)

    def _give(self, folder: Path) -> None:
        """Let the build's user write to what it builds."""
        uid = self._users.uid(BUILD_USER) if self._users else 0
        if uid and os.lstat(folder).st_uid != uid:
            os.chmod(self._run, 0o711)  # noqa: S103  to be walked through, not to be listed
            for base, names, files in os.walk(folder):
                for path in (base, *(os.path.join(base, name) for name in (*names, *files))):
                    os.lchown(path, uid, uid)

    def _seconds(self, name: str, default: int) -> int:
        value = (lookup(self.settings, name) or "").strip()
        return int(value) if value.isdecimal() else default


_ALSO = ("node", "php", "git")  # what npm and composer start


def _size(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_size
    return 0


def _own_uv() -> str | None:
    """Return the uv that was installed with the platform."""
    return shutil.which("uv", path=sysconfig.get_path("scripts"))


def _project(tree: Path, special: Custom) -> Path:
    project = tree / special.project
    if not special.project:
        return tree
    if not project.is_dir() or not project.resolve().is_relative_to(tree.resolve()):
        told = f"project = {special.project}: there is no such folder in the tree"
        raise BuildFailedError(Problem(DEPLOYMENT_FILE, told))
    return project


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
